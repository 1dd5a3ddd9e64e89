"""Packaged aerial pictures of trees, turned into YOLO's folders for the example and for tests.

The source is the package ``deepforest``: four pictures from the air, with a box around each crown
in Pascal VOC's XML. They are cut into tiles. Which split a tile is in depends on the seed and on
its pixels alone, so that it is the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sparse_transfer_api.errors import AccessError

PACKAGE = "deepforest"
LICENCE = "packaged with deepforest under MIT; the pictures are of the NEON observatory"
CLASSES = ("tree",)
SIDE = 400
"""Of a tile, in pixels."""
TEST_SHARE, VAL_SHARE = 0.2, 0.15
_SMALLEST = 4.0
"""A crown of which a tile shows less, in pixels, belongs to the tile beside it."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Args:
        picture: RGB, ``SIDE`` pixels on each side.
        boxes: Corners of the crowns that lie in it by their centres, in its pixels.
    """

    picture: Any
    boxes: tuple[Box, ...]

    def rank(self, seed: int) -> str:
        """Returns a digest to order by and to name the file by."""
        return hashlib.sha256(f"{seed}\0".encode() + self.picture.tobytes()).hexdigest()

    def label(self) -> str:
        """Returns the tile's label file: class, centre and size, as shares of its sides."""
        lines = []
        for left, top, right, bottom in self.boxes:
            values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(f"0 {' '.join(f'{value / SIDE:.6f}' for value in values)}\n")
        return "".join(lines)


def tree_splits(seed: int, limit: int | None = None) -> dict[str, list[Tile]]:
    """Splits the tiles that show a tree into test, val and train.

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
    """Yields the tiles of the installed package that show a tree; the module is not executed.

    Raises:
        AccessError: The package does not hold the pictures.
    """
    from PIL import Image

    found = find_spec(PACKAGE)
    places = (found.submodule_search_locations if found else None) or []
    described = [path for place in places for path in sorted(Path(place).glob("data/*.xml"))]
    if not described:
        raise AccessError(f"{PACKAGE} is not installed here, or holds no data/*.xml")
    for path in described:
        with Image.open(path.with_suffix(".png")) as picture:
            whole = picture.convert("RGB")
        boxes = _boxes(path)
        for top in range(0, whole.height - SIDE + 1, SIDE):
            for left in range(0, whole.width - SIDE + 1, SIDE):
                inside = tuple(_inside(boxes, left, top))
                if inside:
                    yield Tile(whole.crop((left, top, left + SIDE, top + SIDE)), inside)


def write_trees(folder: Path, split: str, tiles: Sequence[Tile]) -> None:
    """Writes a split: ``images/SPLIT/NAME.png`` and ``labels/SPLIT/NAME.txt``.

    Raises:
        OSError: The folder cannot be written to.
    """
    images, labels = folder / "images" / split, folder / "labels" / split
    for place in (images, labels):
        place.mkdir(parents=True, exist_ok=True)
    for tile in tiles:
        name = tile.rank(0)[:12]
        tile.picture.save(images / f"{name}.png")
        (labels / f"{name}.txt").write_text(tile.label(), encoding="utf-8")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")


def _boxes(path: Path) -> list[Box]:
    found = []
    for each in ElementTree.parse(path).getroot().iter("bndbox"):
        values = [float(each.findtext(key) or 0) for key in ("xmin", "ymin", "xmax", "ymax")]
        found.append((values[0], values[1], values[2], values[3]))
    return found


def _inside(boxes: Sequence[Box], left: int, top: int) -> Iterator[Box]:
    for x0, y0, x1, y1 in boxes:
        across, down = (x0 + x1) / 2 - left, (y0 + y1) / 2 - top
        if not (0 <= across < SIDE and 0 <= down < SIDE):
            continue
        moved = (x0 - left, y0 - top, x1 - left, y1 - top)
        low_x, low_y, high_x, high_y = (min(SIDE, max(0.0, each)) for each in moved)
        if min(high_x - low_x, high_y - low_y) >= _SMALLEST:
            yield low_x, low_y, high_x, high_y
