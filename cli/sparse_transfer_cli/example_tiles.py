"""Tiles of packaged pictures, as YOLO's folders for the examples and for tests.

Which split a tile is in depends on the seed and on its pixels alone, so that it is the same
everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEST_SHARE, VAL_SHARE = 0.2, 0.15


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Args:
        picture: RGB, as high as it is wide.
        objects: What a label says of each object, in pixels: centre, width and height of its box,
            or x and y of its polygon's points.
    """

    picture: Any
    objects: tuple[tuple[float, ...], ...]

    def rank(self, seed: int) -> str:
        """Returns a digest to order by and to name the file by."""
        return hashlib.sha256(f"{seed}\0".encode() + self.picture.tobytes()).hexdigest()

    def label(self) -> str:
        """Returns the tile's label file: of each object its class and shares of the tile's side."""
        side = self.picture.width
        lines = (" ".join(f"{value / side:.6f}" for value in each) for each in self.objects)
        return "".join(f"0 {line}\n" for line in lines)


@dataclass(frozen=True)
class TileSet:
    """Where tiles come from, and what is on them.

    Args:
        package: That holds the pictures; it is read and not executed.
        version: Of the package.
        licence: Of the pictures.
        class_name: Of all objects.
        labels: Folder of the label files.
        shapes: What the labels are, such as ``boxes``.
        tiles: Yields those of the installed package.
    """

    package: str
    version: str
    licence: str
    class_name: str
    labels: str
    shapes: str
    tiles: Callable[[], Iterator[Tile]]

    def splits(self, seed: int, limit: int | None = None) -> dict[str, list[Tile]]:
        """Splits the tiles into test, val and train.

        Args:
            seed: Another seed gives another choice.
            limit: At most so many tiles of each split; all when None.

        Raises:
            AccessError: The package does not hold the pictures.
        """
        tiles = sorted(self.tiles(), key=lambda tile: tile.rank(seed))
        test, val = (round(share * len(tiles)) for share in (TEST_SHARE, VAL_SHARE))
        splits = {
            "train": tiles[test + val :],
            "val": tiles[test : test + val],
            "test": tiles[:test],
        }
        return {name: chosen[:limit] for name, chosen in splits.items()}

    def write(self, folder: Path, split: str, tiles: Sequence[Tile]) -> None:
        """Writes a split: ``images/SPLIT/NAME.png``, and ``SPLIT/NAME.txt`` in the labels' folder.

        Raises:
            OSError: The folder cannot be written to.
        """
        images, labels = folder / "images" / split, folder / self.labels / split
        for place in (images, labels):
            place.mkdir(parents=True, exist_ok=True)
        for tile in tiles:
            name = tile.rank(0)[:12]
            tile.picture.save(images / f"{name}.png")
            (labels / f"{name}.txt").write_text(tile.label(), encoding="utf-8")
        (folder / "classes.txt").write_text(f"{self.class_name}\n", encoding="utf-8")
