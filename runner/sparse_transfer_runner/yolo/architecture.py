"""What a YOLO network is built of, as Ultralytics' model YAML says it: checked before it is built.

Ultralytics takes such a description for a program: it looks names up among all that its module has
imported, and evaluates the activation. So only layers that are known are let through, with plain
numbers and words as their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sparse_transfer_api.errors import InputError

DETECT = "Detect"
SEGMENT = "Segment"
HEADS = (DETECT, SEGMENT)
_MASKS = (32, 256)
"""A segmenter's prototypes, and channels before the network's width: those of yolov8-seg.yaml."""
_LAYERS = frozenset(
    {
        *HEADS, "Conv", "DWConv", "Focus", "GhostConv", "Bottleneck", "GhostBottleneck",
        "BottleneckCSP", "C2", "C2f", "C3", "C3x", "C3Ghost", "SPP", "SPPF", "Concat",
        "nn.Upsample", "nn.MaxPool2d", "nn.Identity",
    }
)  # fmt: skip
_WORDS = frozenset({"nc", "nearest", "None", "True", "False"})
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\((inplace=True|inplace=False|0?\.\d+)?\)")
_PLAIN = (
    "nc", "scale", "depth_multiple", "width_multiple", "max_channels", "activation", "channels",
    "ch", "inplace", "reg_max",
)  # fmt: skip


def checked_architecture(told: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Returns the parts of a description that build a network, all of them harmless.

    The anchor-based head of the first YOLOv5 becomes the one that Ultralytics gives YOLOv5 today,
    which has no anchors: backbone and neck are the same.

    Args:
        told: Ultralytics' model YAML.
        place: For messages.

    Raises:
        InputError: It is no such description, or asks for something else than known layers.
    """
    found: dict[str, Any] = {}
    for part in ("backbone", "head"):
        rows = told.get(part)
        if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
            raise InputError(f"{place}: no YOLO architecture: {part} is no list of layers")
        found[part] = [_row(row, f"{place}: {part}[{number}]") for number, row in enumerate(rows)]
    if found["head"][-1][2] not in HEADS:
        raise InputError(
            f"{place}: its last layer is {found['head'][-1][2]}; expected {' or '.join(HEADS)}"
        )
    if told.get("end2end"):
        raise InputError(
            f"{place}: answers without non-maximum suppression (end2end), as YOLOv10 and later do; "
            "expected a YOLOv5 or YOLOv8"
        )
    for key in _PLAIN:
        value = told.get(key)
        if value is None:
            continue
        if key == "activation" and not (isinstance(value, str) and _ACTIVATION.fullmatch(value)):
            raise InputError(f"{place}: activation {value!r}; expected one such as nn.SiLU()")
        if key != "activation" and not _is_plain(value):
            raise InputError(f"{place}: {key} {value!r}; expected a number")
        found[key] = value
    scales = told.get("scales")
    if isinstance(scales, Mapping):
        found["scales"] = {str(name): _numbers(value, place) for name, value in scales.items()}
    return found


def task_of(architecture: Mapping[str, Any]) -> str:
    """Returns the name of the head's class: ``Detect`` or ``Segment``."""
    return str(architecture["head"][-1][2])


def for_task(architecture: Mapping[str, Any], head: str) -> dict[str, Any]:
    """Returns an architecture with a head for a task: a detector's may become a segmenter's.

    What a detector says of boxes and classes is a part of what a segmenter says, under the same
    names; the rest of its head has Ultralytics' sizes. Every other head is left as it is.
    """
    source, repeats, own, arguments = architecture["head"][-1]
    if (own, head) != (DETECT, SEGMENT):
        return dict(architecture)
    row = [source, repeats, SEGMENT, [*arguments, *_MASKS]]
    return {**architecture, "head": [*architecture["head"][:-1], row]}


def head_place(architecture: Mapping[str, Any]) -> int:
    """Returns the number of the head among the layers, with which its parameters' names begin."""
    return len(architecture["backbone"]) + len(architecture["head"]) - 1


def name_of(architecture: Mapping[str, Any]) -> str:
    """Returns what to call an architecture in messages and records, such as ``YOLOv8n``."""
    layers = {row[2] for row in architecture["backbone"]}
    version = "v8" if "C2f" in layers else "v5" if "C3" in layers else ""
    task = "-seg" if task_of(architecture) == SEGMENT else ""
    return f"YOLO{version}{architecture.get('scale') or ''}{task}"


def _row(row: Any, place: str) -> list[Any]:
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 4:
        raise InputError(f"{place}: {str(row)[:80]!r}; expected [from, repeats, layer, arguments]")
    source, repeats, layer, arguments = row
    if layer not in _LAYERS:
        raise InputError(f"{place}: the layer {str(layer)[:60]!r} is not known here")
    sources = source if isinstance(source, list | tuple) else [source]
    if not all(type(each) is int for each in sources) or type(repeats) is not int:
        raise InputError(f"{place}: {row[:2]!r}; expected numbers of layers and repeats")
    if not isinstance(arguments, list | tuple):
        raise InputError(f"{place}: {str(arguments)[:60]!r}; expected a list of arguments")
    kept = [each for each in arguments if each != "anchors" and not isinstance(each, list)]
    if layer not in HEADS and len(kept) != len(arguments):
        raise InputError(f"{place}: {str(arguments)[:60]!r}; expected plain arguments")
    for each in kept:
        if not (_is_plain(each) or each in _WORDS):
            raise InputError(f"{place}: the argument {str(each)[:60]!r} is not known here")
    return [list(source) if isinstance(source, list | tuple) else source, repeats, layer, kept]


def _is_plain(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and re.fullmatch(r"[a-z]?", value) is not None)
    )


def _numbers(value: Any, place: str) -> list[float]:
    if not isinstance(value, Sequence) or not all(isinstance(each, int | float) for each in value):
        raise InputError(f"{place}: scales {value!r}; expected numbers")
    return list(value)
