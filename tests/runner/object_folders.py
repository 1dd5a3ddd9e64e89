"""Pictures with objects for tests: coloured rectangles on noise, which a small network can find."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "red")
_COLOURS = ((40, 60, 220), (220, 50, 40))


def scene(number: int, side: int = 64) -> tuple[Image.Image, list[tuple[int, list[float]]]]:
    """Returns a picture with one or two rectangles, and class and box (0 to 1) of each."""
    random = np.random.default_rng(number)
    values = random.integers(90, 150, (side, side, 3)).astype(np.uint8)
    objects = []
    for half in range(1 + number % 2):
        label = (number + half) % 2
        size = random.integers(side // 4, side // 2 - 2, 2)
        left = half * side // 2 + int(random.integers(0, side // 2 - size[0]))
        top = int(random.integers(0, side - size[1]))
        values[top : top + size[1], left : left + size[0]] = _COLOURS[label]
        centre = [(left + size[0] / 2) / side, (top + size[1] / 2) / side]
        objects.append((label, [*centre, size[0] / side, size[1] / side]))
    return Image.fromarray(values), objects


def box_line(label: int, box: list[float]) -> str:
    """Returns an object as a line of a detection label."""
    return " ".join([str(label), *(f"{value:.6f}" for value in box)])


def polygon_line(label: int, box: list[float]) -> str:
    """Returns an object's corners as a line of a segmentation label."""
    x, y, width, height = box
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    points = [(x + a * width / 2, y + b * height / 2) for a, b in corners]
    return " ".join([str(label), *(f"{value:.6f}" for point in points for value in point)])


def write_objects(
    root: Path, counts: Mapping[str, int], *, labels: str = "labels", polygons: bool = False
) -> Path:
    """Writes ``images/SPLIT`` and its labels, with ``classes.txt``, and returns the folder."""
    line = polygon_line if polygons else box_line
    for split, count in counts.items():
        first = 1000 * list(counts).index(split)
        for folder in (root / "images" / split, root / labels / split):
            folder.mkdir(parents=True)
        for number in range(count):
            picture, objects = scene(first + number)
            picture.save(root / "images" / split / f"{number}.png")
            text = "".join(f"{line(*each)}\n" for each in objects)
            (root / labels / split / f"{number}.txt").write_text(text)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root
