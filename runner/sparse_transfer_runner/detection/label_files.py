"""One label file: an object in each line, its class first, then its box or its polygon.

``class x y width height`` is a box by its centre; ``class x1 y1 x2 y2 x3 y3 …`` a polygon. All are
shares of the picture's sides, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.data.findings import shown

MAX_BYTES = 16 << 20
"""A longer label file is taken for something else."""
_BOX = 4
_FEWEST_POINTS = 3
_EDGE = 1e-3
"""Boxes reach beyond their picture by this much when six digits are written of their centres."""

_DIGIT = 1e-6
"""The last one that is written of a share."""

Note = Callable[[str, str, int | None], None]
"""Receives the kind of a problem, its message, and its line."""


@dataclass(frozen=True)
class Objects:
    """What a label file holds.

    Args:
        classes: int64 ``[objects]``.
        boxes: float32 ``[objects, 4]``, centre and size, 0 to 1; those of polygons too.
        polygons: float32 ``[points, 2]`` of each object; empty where boxes were read.
        repeated: Lines that say what another line says, left out.
        reaching: Boxes that reach out of the picture, and are cut at its edge.
        outlined: Polygons of which only the box is used.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    polygons: Sequence[NDArray[np.float32]] = field(default=(), repr=False)
    repeated: int = 0
    reaching: int = 0
    outlined: int = 0


def read_objects(path: Path, classes: int, note: Note, *, polygons: bool = False) -> Objects:
    """Reads a label file; one that is not there holds no object.

    Args:
        path: The file.
        classes: Their number; lines of others are noted and left out.
        note: Receives what is wrong.
        polygons: Expect them; else boxes are expected, and polygons give theirs.
    """
    rows: dict[tuple[float, ...], int] = {}
    repeated = 0
    for number, line in _lines(path, note):
        values = _values(line, classes, number, note, polygons)
        if values is None:
            continue
        if values in rows:
            repeated += 1
        rows.setdefault(values, number)
    found = [_object(values, polygons) for values in rows]
    return Objects(
        classes=np.array([each.label for each in found], np.int64),
        boxes=np.array([each.box for each in found], np.float32).reshape(-1, _BOX),
        polygons=[each.polygon for each in found if each.polygon is not None and polygons],
        repeated=repeated,
        reaching=sum(each.reaches for each in found),
        outlined=0 if polygons else sum(each.polygon is not None for each in found),
    )


def _lines(path: Path, note: Note) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return
    if len(content) > MAX_BYTES:
        note("too long", f"more than {MAX_BYTES >> 20} MiB; expected a line an object", None)
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        note("wrong encoding", "not UTF-8; expected a line of numbers an object", None)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if fields := line.split():
            yield number, fields


def _values(
    fields: list[str], classes: int, line: int, note: Note, polygons: bool
) -> tuple[float, ...] | None:
    """Returns a line's numbers, all as they should be; None where a problem was noted."""
    try:
        label, *rest = map(float, fields)
    except ValueError:
        wrong = next(each for each in fields if not _is_number(each))
        note("malformed line", f"{shown(wrong)} is no number; {_expected(polygons)}", line)
        return None
    if problem := _wrong_count(rest, polygons):
        note("malformed line", f"{problem}; {_expected(polygons)}", line)
        return None
    if not float(label).is_integer() or label < 0:
        note("malformed line", f"class {fields[0]}; expected a whole number from 0 on", line)
        return None
    if label >= classes:
        note(
            "unknown class",
            f"class {int(label)}, but there are {classes} (0 to {classes - 1}): name it in the "
            "list of classes, or correct the label",
            line,
        )
        return None
    outside = [each for each in rest if not 0 <= each <= 1]
    if outside:
        note(
            "outside of the picture",
            f"{outside[0]:g}; expected shares of the picture's sides, 0 to 1 (pixels are divided "
            "by its width and height)",
            line,
        )
        return None
    if len(rest) == _BOX and not all(rest[2:]):
        note("empty box", f"width {rest[2]:g}, height {rest[3]:g}; expected more than 0", line)
        return None
    if len(rest) > _BOX and _is_empty(rest, polygons):
        note("empty polygon", "its points lie on one line; expected an area", line)
        return None
    return (label, *rest)


def _is_empty(rest: Sequence[float], polygons: bool) -> bool:
    """Whether a polygon's points lie on one line; where its box is used, on a level or upright one.

    As far as six digits tell.
    """
    if not polygons:
        return min(np.ptp(rest[0::2]), np.ptp(rest[1::2])) == 0
    points = np.array(rest).reshape(-1, 2) - rest[:2]
    x, y = points[np.abs(points).sum(axis=1).argmax()]
    return bool(np.abs(points[:, 0] * y - points[:, 1] * x).max() <= _DIGIT * (abs(x) + abs(y)))


def _wrong_count(rest: Sequence[float], polygons: bool) -> str | None:
    if not polygons and len(rest) == _BOX:
        return None
    if len(rest) % 2:
        return f"{len(rest) + 1} numbers"
    if len(rest) // 2 < _FEWEST_POINTS:
        points = len(rest) // 2
        what = f"a polygon of {points} points{', or a box' if len(rest) == _BOX else ''}"
        return what if polygons else f"{len(rest) + 1} numbers"
    return None


def _expected(polygons: bool) -> str:
    if polygons:
        return "expected 'class x1 y1 x2 y2 x3 y3 …', three points or more"
    return "expected 'class x_center y_center width height'"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _Object:
    label: int
    box: tuple[float, float, float, float]
    polygon: NDArray[np.float32] | None
    reaches: bool


def _object(values: tuple[float, ...], polygons: bool) -> _Object:
    label, *rest = values
    if len(rest) == _BOX and not polygons:
        x, y, width, height = rest
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        reaches = min(left, top) < -_EDGE or max(right, bottom) > 1 + _EDGE
        return _Object(int(label), _box(left, top, right, bottom), None, reaches)
    points = np.array(rest, np.float32).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return _Object(int(label), _box(left, top, right, bottom), points, False)


def _box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """Returns centre and size of a box, cut at the picture's edges."""
    left, top, right, bottom = (min(1.0, max(0.0, each)) for each in (left, top, right, bottom))
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
