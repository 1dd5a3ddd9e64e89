"""What a result was made with and from, without names of hosts or users.

Paths appear in it only where the experiment itself names them.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import ENV_IMAGE, TEACHER_FOLDER, Stage
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_runner.cores import usable_processors
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.revision import revision

_PACKAGES = (
    "sparse-transfer",
    "torch",
    "transformers",
    "tokenizers",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "numpy",
)

_EVERYWHERE = (
    "python",
    "versions.sparse-transfer",
    *("hardware.machine", "hardware.processor", "hardware.cores", "hardware.memoryBytes"),
    *("experiment.metadata.name", "experiment.spec"),
    *("inputs.data", "inputs.model", "seeds.training"),
)
"""What every stage's provenance must say. Image and revision are not known everywhere."""
_ALSO = {
    Stage.TRAIN: ("earlier.prepare",),
    TEACHER_FOLDER: ("earlier.prepare",),
    Stage.PACKAGE: ("earlier.prepare", "earlier.train", "inputs.weights", "engines", "isa"),
}


def provenance() -> dict[str, Any]:
    """Returns versions, image, revision and hardware of this process, as plain JSON values."""
    return {
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "image": os.environ.get(ENV_IMAGE),
        "revision": revision(),
        "hardware": hardware(),
    }


def stage_provenance(
    experiment: SparseTransferExperiment,
    earlier: Mapping[str, StageFolder],
    found: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns what one stage's result was made with and from, as plain JSON values.

    Args:
        experiment: As it was run.
        earlier: The folders of the stages that led to it, by name.
        found: Digests of inputs that the stage itself looked at first, by name.
    """
    manifests = {name: folder.manifest() for name, folder in earlier.items()}
    inputs = dict(found or {})
    for manifest in manifests.values():
        if manifest is not None and manifest.result is not None:
            inputs |= manifest.result.digests
    return {
        **provenance(),
        "experiment": experiment.to_json_dict(),
        "earlier": {str(name): folder.key for name, folder in earlier.items()},
        "inputs": inputs,
        "seeds": {"training": experiment.spec.training.seed},
    }


def missing_from(recorded: Mapping[str, Any], stage: str) -> list[str]:
    """Returns what a manifest's provenance does not say, by dotted path.

    Args:
        recorded: The provenance.
        stage: The name of the folder that the manifest completes.
    """
    return [path for path in (*_EVERYWHERE, *_ALSO.get(stage, ())) if not _says(recorded, path)]


def _says(recorded: Mapping[str, Any], path: str) -> bool:
    value: Any = recorded
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value not in (None, "", {}, [])


def hardware() -> dict[str, Any]:
    """Returns processor, cores that this process may use, memory in bytes, and accelerators."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": usable_processors(),
        "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerators": list(_accelerators()),
    }


def _accelerators() -> Iterator[dict[str, Any]]:
    # Whoever has not imported PyTorch uses none; importing it to look would take seconds.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield {"name": device.name, "memoryBytes": device.total_memory}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
