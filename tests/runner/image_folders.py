"""Image folders for tests: pictures that Pillow draws, whose class a small network can learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "red": (220, 50, 40), "green": (40, 200, 60)}


def picture(label: str, number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Returns a noisy picture of a class's colour, another one for each number."""
    random = np.random.default_rng((number, *label.encode()))
    width, height = size
    noise = random.integers(-35, 36, (height, width, 3))
    values = np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(values)


def write_folder(
    root: Path, counts: Mapping[str, int], labels: tuple[str, ...] = ("blue", "red")
) -> Path:
    """Writes a folder with so many pictures of each class in each split, and returns it."""
    for split, count in counts.items():
        first = 1000 * list(counts).index(split)
        for label in labels:
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                picture(label, first + number).save(folder / f"{number}.png")
    return root
