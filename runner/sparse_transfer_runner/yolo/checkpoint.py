"""Ultralytics' ``.pt``: a pickle of whole modules, read without running any of their code.

With trust, the classes that it names are let in by their names alone: each becomes a stand-in that
keeps what it was given and does nothing. The architecture's description and the weights are then
taken out of these. Only names of PyTorch's layers, of Ultralytics and of the first YOLOv5 are let
in; a pickle that asks for anything else is refused, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.checkpoint import unpickled

from .architecture import checked_architecture, head_place

if TYPE_CHECKING:
    from torch import Tensor

ULTRALYTICS = "ultralytics-pt"
YOLOV5 = "yolov5-pt"
_ALLOWED = re.compile(
    r"(torch\.nn\.modules\.\w+|ultralytics\.(nn|utils|engine|models|yolo)(\.\w+)*"
    r"|models\.(yolo|common|experimental)|utils(\.\w+)*)\.\w+"
)
_FIRST_YOLOV5 = re.compile(r"models\.(yolo|common)\.\w+")
_DEEPEST = 64


@dataclass(frozen=True)
class YoloCheckpoint:
    """What a file holds.

    Args:
        architecture: Checked.
        weights: By the names that Ultralytics' model has for them, in fp32.
        form: ``ultralytics-pt`` or ``yolov5-pt``.
        labels: What the head answers with; None where it has to be replaced.
    """

    architecture: Mapping[str, Any]
    weights: Mapping[str, Tensor] = field(repr=False)
    form: str
    labels: tuple[str, ...] | None


class StandIn:
    """What is made of a module in a pickle: its attributes, and no behaviour."""

    def __setstate__(self, state: object) -> None:
        """Keeps what the pickle holds."""
        if isinstance(state, dict):
            vars(self).update(state)


def read_checkpoint(path: Path, *, trusted: bool) -> YoloCheckpoint:
    """Reads a file that Ultralytics or the first YOLOv5 saved.

    Args:
        path: The file.
        trusted: ``spec.model.trust`` is Pickle.

    Raises:
        InputError: It is not trusted, damaged, would execute code, or holds no YOLO model.
    """
    names = _globals_in(path)
    if names and not trusted:
        raise InputError(
            f"{path}: a pickle of whole modules ({', '.join(names[:3])}, …), as Ultralytics saves "
            "its models; where you trust its origin, set spec.model.trust: Pickle (the classes "
            "are replaced by stand-ins and none of their code is run)"
        )
    loaded = unpickled(path, trusted=trusted, stand_ins=[_stand_in(name) for name in names])
    model = _model_in(path, loaded)
    told = getattr(model, "yaml", None)
    if not isinstance(told, Mapping):
        raise InputError(f"{path}: the model in it does not say what it is built of (no yaml)")
    architecture = checked_architecture(told, str(path))
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in _tensors(model)
    }
    if any(_FIRST_YOLOV5.fullmatch(name) for name in names):
        head = f"model.{head_place(architecture)}."
        kept = {name: value for name, value in weights.items() if not name.startswith(head)}
        return YoloCheckpoint(architecture, kept, YOLOV5, None)
    return YoloCheckpoint(architecture, weights, ULTRALYTICS, _labels(model))


def names_modules(path: Path) -> bool:
    """Whether a file is a pickle that names modules of Ultralytics or of the first YOLOv5."""
    return any(not name.startswith("torch.") for name in _globals_in(path))


def _globals_in(path: Path) -> list[str]:
    """Returns the names that may have stand-ins, of those that a pickle asks for."""
    import torch

    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return []
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, LookupError, EOFError, OSError):
        # Reading it in earnest says what is wrong with it.
        return []
    return sorted(name for name in found if _ALLOWED.fullmatch(name))


def _stand_in(name: str) -> tuple[type[StandIn], str]:
    return type(name.rpartition(".")[2], (StandIn,), {}), name


def _model_in(path: Path, loaded: object) -> StandIn:
    content = loaded.get("ema") or loaded.get("model") if isinstance(loaded, dict) else loaded
    if not isinstance(content, StandIn):
        raise InputError(
            f"{path}: holds no YOLO model; expected a checkpoint as Ultralytics saves it, with "
            "the key model or ema"
        )
    return content


def _tensors(module: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yields parameters and buffers as ``state_dict`` would."""
    from torch import Tensor

    if depth > _DEEPEST:
        raise InputError("modules are nested too deeply for a network; fetch the model again")
    held = vars(module) if isinstance(module, StandIn) else {}
    left_out = held.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, value in dict(held.get(kind) or {}).items():
            if isinstance(value, Tensor) and name not in left_out:
                yield f"{prefix}{name}", value.detach()
    for name, child in dict(held.get("_modules") or {}).items():
        yield from _tensors(child, f"{prefix}{name}.", depth + 1)


def _labels(model: StandIn) -> tuple[str, ...] | None:
    names = getattr(model, "names", None)
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        numbered = {str(number): name for number, name in names.items()}
        names = [numbered[str(number)] for number in range(len(names))]
    return tuple(map(str, names)) if isinstance(names, list) and names else None
