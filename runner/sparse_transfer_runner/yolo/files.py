"""YOLO detectors as files: what they are, and whether they are whole.

Understood are, in a folder or as the weights' file alone:

- ``config.json`` with ``architecture: yolo`` and the network's description, beside
  ``model.safetensors``: what this project writes itself;
- Ultralytics' ``.pt`` of YOLOv8 and YOLOv5, and that of the first YOLOv5, whose anchor-based head
  is replaced: pickles, for which ``spec.model.trust: Pickle`` is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_runner.catalog.checked import CheckedModel, problem_of
from sparse_transfer_runner.catalog.checkpoint import safetensors_in
from sparse_transfer_runner.digests import digest_of_tree

from .architecture import checked_architecture, for_task, head_place, name_of, task_of
from .checkpoint import names_modules, read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
OWN = "yolo-safetensors"
PREFIX = "network."
"""Begins the names of parameters in our own form, which are those of masks and scales too."""
_COUNTER = "num_batches_tracked"
_MAX_PROBLEMS = 20


@dataclass(frozen=True)
class YoloModel:
    """A model's files, read.

    Args:
        architecture: Checked; its ``nc`` is the number of classes of the files' head.
        weights: By the names that Ultralytics' model has for them, in fp32.
        form: Such as ``ultralytics-pt``.
        labels: What the head answers with, in order; None where it has to be replaced.
        place: For messages.
    """

    architecture: Mapping[str, Any]
    weights: Mapping[str, Tensor] = field(repr=False)
    form: str
    labels: tuple[str, ...] | None
    place: str

    @property
    def head(self) -> str:
        """Begins the names of the head's parameters."""
        return f"model.{head_place(self.architecture)}."


def read_yolo(path: Path, *, trusted: bool, head: str | None = None) -> YoloModel:
    """Reads a detector's files; executes nothing that they hold.

    Args:
        path: A folder, or the weights' file alone.
        trusted: ``spec.model.trust`` is Pickle.
        head: What the model is wanted for: a detector gets the head of a segmenter for it, whose
            boxes are its own. None leaves its head as it is.

    Raises:
        InputError: Something is missing, damaged, unknown, or would execute code.
    """
    if path.is_dir() and (path / CONFIG).is_file():
        return _for_task(_own(path), head)
    file = path if path.is_file() else _pickle_in(path)
    found = read_checkpoint(file, trusted=trusted)
    model = YoloModel(found.architecture, found.weights, found.form, found.labels, str(file))
    return _for_task(model, head)


def is_yolo(path: Path) -> bool:
    """Whether a folder, or a file alone, holds a detector; its files are not read for it."""
    if path.is_file():
        return path.suffix == ".pt" and names_modules(path)
    config = path / CONFIG
    if config.is_file():
        try:
            told = json.loads(config.read_bytes())
        except ValueError:
            return False
        return isinstance(told, dict) and told.get("library") == "ultralytics"
    return any(names_modules(entry) for entry in path.glob("*.pt"))


def check_yolo(path: Path, *, trusted: bool, head: str) -> CheckedModel:
    """Checks that files hold a whole, healthy detector, and measures its sparsity.

    A head for other classes is no mistake: it is replaced. Nor is a detector where a segmenter is
    wanted.

    Args:
        path: A folder, or the weights' file alone; only read.
        trusted: ``spec.model.trust`` is Pickle.
        head: Class of the head that the use case needs, ``Detect`` or ``Segment``.

    Raises:
        InputError: Something is missing, damaged, not finite, foreign, or would execute code.
    """
    from sparse_transfer_runner.sparsity.prunable import sparsity_of

    from .network import build_network, prunable_names

    model = read_yolo(path, trusted=trusted, head=head)
    network = build_network(model.architecture, head=head)
    require_whole(model, network)
    names = prunable_names(network)
    return CheckedModel(
        digest=digest_of_tree(path),
        format=model.form,
        architecture=name_of(model.architecture),
        sparsity=sparsity_of({name: model.weights[name] for name in names}),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )


def require_whole(model: YoloModel, network: nn.Module) -> None:
    """Makes sure that a model's weights are those of its network, the head's aside.

    Raises:
        InputError: Weights are missing, foreign, of another shape, or not finite.
    """
    expected = {
        name: value
        for name, value in network.state_dict().items()
        if not name.startswith(model.head)
    }
    own = {name for name in model.weights if not name.startswith(model.head)}
    missing = [name for name in expected if name not in own and not name.endswith(_COUNTER)]
    foreign = sorted(own - expected.keys())
    if missing or foreign:
        fused = any(name.endswith(".conv.bias") for name in foreign)
        what = f"{len(missing)} weights are missing, {len(foreign)} are foreign"
        raise InputError(
            f"{model.place}: not the weights of {name_of(model.architecture)}: {what}, such as "
            f"{[*missing, *foreign][0]}; "
            + (
                "its batch norms were fused for inference: give the checkpoint from before"
                if fused
                else "fetch the model again"
            )
        )
    problems = []
    for name, tensor in model.weights.items():
        shape = expected[name].shape if name in expected else None
        if problem := problem_of(tensor, shape, "its description"):
            problems.append(Problem(name, problem))
    if problems:
        raise InputError(
            f"{model.place}: {len(problems)} weights cannot be used", problems[:_MAX_PROBLEMS]
        )


def save_yolo(
    folder: Path, architecture: Mapping[str, Any], weights: Mapping[str, Tensor], labels: list[str]
) -> None:
    """Writes a detector in the project's own form, which needs no pickle."""
    from safetensors.torch import save_file

    from sparse_transfer_runner.disk import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "architecture": "yolo",
        "library": "ultralytics",
        "yaml": dict(architecture),
        "label_names": labels,
    }
    write_atomically(folder / CONFIG, f"{json.dumps(config, indent=2)}\n".encode())


def _for_task(model: YoloModel, head: str | None) -> YoloModel:
    if head is None or head == task_of(model.architecture):
        return model
    architecture = for_task(model.architecture, head)
    # A head of which a part is new answers with nothing yet.
    labels = model.labels if architecture == model.architecture else None
    return replace(model, architecture=architecture, labels=labels)


def _own(path: Path) -> YoloModel:
    place = path / CONFIG
    try:
        config = json.loads(place.read_bytes())
        told, library = config["yaml"], config.get("library")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{place}: describes no YOLO network; expected architecture, library and yaml as "
            "'sparse-transfer' writes them, or a folder with Ultralytics' .pt alone"
        ) from error
    if library != "ultralytics" or not isinstance(told, dict):
        raise InputError(f"{place}: library {library!r}; expected ultralytics with its yaml")
    labels = config.get("label_names")
    if not (path / WEIGHTS).is_file():
        raise InputError(f"{path}: {CONFIG} without {WEIGHTS}; fetch the model again")
    weights = {
        name.removeprefix(PREFIX): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in safetensors_in(path / WEIGHTS)
    }
    return YoloModel(
        checked_architecture(told, str(place)),
        weights,
        OWN,
        tuple(map(str, labels)) if isinstance(labels, list) and labels else None,
        str(path),
    )


def _pickle_in(path: Path) -> Path:
    found = sorted(entry for entry in path.iterdir() if entry.suffix in (".pt", ".pth"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(entry.name for entry in path.iterdir())[:12]) or "nothing"
    what = f"{len(found)} .pt files, of which spec.model.uri may name one" if found else "no .pt"
    raise InputError(
        f"{path}: {what}; expected Ultralytics' .pt, or {WEIGHTS} beside {CONFIG}; found {names}"
    )
