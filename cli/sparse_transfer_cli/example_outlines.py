"""Packaged cell nuclei, turned into YOLO's folders with polygons for the example and for tests.

The source is the package ``stardist``: a picture from the microscope, and one that numbers the
nuclei pixel by pixel. Both are cut into tiles. Which split a tile is in depends on the seed and on
its pixels alone, so that it is the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import AccessError

PACKAGE = "stardist"
LICENCE = "packaged with stardist under BSD-3-Clause; the picture is of the 2018 Data Science Bowl"
CLASSES = ("nucleus",)
SIDE = 128
"""Of a tile, in pixels."""
TEST_SHARE, VAL_SHARE = 0.2, 0.15
_SMALLEST = 12
"""A nucleus of which a tile shows less, in pixels, is left out."""
_RAYS = 32
"""Points of a polygon: nuclei are round enough to be seen whole from within, as StarDist has it."""
_STEP = 0.25
"""Of a ray, in pixels."""

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tile:
    """A part of the picture.

    Args:
        picture: RGB, ``SIDE`` pixels on each side.
        outlines: Polygons of what it shows of each nucleus, in its pixels.
    """

    picture: Any
    outlines: tuple[Outline, ...]

    def rank(self, seed: int) -> str:
        """Returns a digest to order by and to name the file by."""
        return hashlib.sha256(f"{seed}\0".encode() + self.picture.tobytes()).hexdigest()

    def label(self) -> str:
        """Returns the tile's label file: class and points, as shares of its sides."""
        lines = (
            " ".join(f"{value / SIDE:.6f}" for point in outline for value in point)
            for outline in self.outlines
        )
        return "".join(f"0 {line}\n" for line in lines)


def nucleus_splits(seed: int, limit: int | None = None) -> dict[str, list[Tile]]:
    """Splits the tiles into test, val and train.

    Args:
        seed: Another seed gives another choice.
        limit: At most so many tiles of each split; all when None.

    Raises:
        AccessError: The package does not hold the pictures.
    """
    tiles = sorted(packaged_tiles(), key=lambda tile: tile.rank(seed))
    test, val = (round(share * len(tiles)) for share in (TEST_SHARE, VAL_SHARE))
    splits = {
        "train": tiles[test + val :],
        "val": tiles[test : test + val],
        "test": tiles[:test],
    }
    return {name: chosen[:limit] for name, chosen in splits.items()}


def packaged_tiles() -> Iterator[Tile]:
    """Yields the tiles of the installed package; the module is not executed.

    Raises:
        AccessError: The package does not hold the pictures.
    """
    import numpy as np
    from PIL import Image

    found = find_spec(PACKAGE)
    places = (found.submodule_search_locations if found else None) or []
    folders = [Path(place) / "data" / "images" for place in places]
    folder = next((each for each in folders if (each / "img2d.tif").is_file()), None)
    if folder is None:
        raise AccessError(f"{PACKAGE} is not installed here, or holds no data/images/img2d.tif")
    with Image.open(folder / "img2d.tif") as picture, Image.open(folder / "mask2d.tif") as mask:
        # Its 16 bits hold values of 8.
        grey, numbers = np.asarray(picture).astype(np.uint8), np.asarray(mask)
    for top in range(0, grey.shape[0] - SIDE + 1, SIDE):
        for left in range(0, grey.shape[1] - SIDE + 1, SIDE):
            here = (slice(top, top + SIDE), slice(left, left + SIDE))
            outlines = tuple(_outlines(numbers[here]))
            if outlines:
                yield Tile(Image.fromarray(grey[here]).convert("RGB"), outlines)


def write_nuclei(folder: Path, split: str, tiles: Sequence[Tile]) -> None:
    """Writes a split: ``images/SPLIT/NAME.png`` and ``annotations/SPLIT/NAME.txt``.

    Raises:
        OSError: The folder cannot be written to.
    """
    images, labels = folder / "images" / split, folder / "annotations" / split
    for place in (images, labels):
        place.mkdir(parents=True, exist_ok=True)
    for tile in tiles:
        name = tile.rank(0)[:12]
        tile.picture.save(images / f"{name}.png")
        (labels / f"{name}.txt").write_text(tile.label(), encoding="utf-8")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")


def _outlines(numbers: Any) -> Iterator[Outline]:
    """Yields the polygons of the nuclei in a tile, by the numbers of its pixels, 0 for none."""
    import numpy as np

    for number in range(1, int(numbers.max()) + 1):
        own = numbers == number
        if own.sum() < _SMALLEST:
            continue
        pixels = np.argwhere(own)
        middle = pixels[np.argmin(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1))] + 0.5
        angles = 2 * np.pi * np.arange(_RAYS) / _RAYS
        ways = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        reach = np.arange(0, 2 * SIDE, _STEP)
        places = middle + reach[:, None, None] * ways
        row, column = np.moveaxis(np.floor(places).astype(int), -1, 0)
        inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < SIDE)
        clipped = (np.clip(each, 0, SIDE - 1) for each in (row, column))
        within = np.logical_and.accumulate(inside & own[tuple(clipped)], axis=0)
        ends = middle + (within.sum(axis=0) * _STEP)[:, None] * ways
        yield tuple((float(x), float(y)) for y, x in np.clip(ends, 0, SIDE))
