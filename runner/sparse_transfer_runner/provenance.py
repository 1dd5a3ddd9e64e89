"""What a result was made with: versions and hardware, without names of hosts or users."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
_ENV_IMAGE = "STE_IMAGE"
_ENV_REVISION = "STE_REVISION"


def provenance() -> dict[str, Any]:
    """Returns versions, image and hardware of this process, as plain JSON values."""
    return {
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "image": os.environ.get(_ENV_IMAGE),
        "revision": os.environ.get(_ENV_REVISION),
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """Returns the processor, its cores that this process may use, and the memory in bytes."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


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
