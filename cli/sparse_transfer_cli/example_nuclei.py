"""Packaged cell nuclei, as segmentation data for the example and for tests.

The source is the package ``stardist``: a picture from the microscope, and one that numbers the
nuclei pixel by pixel. Both are cut into tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.example_packages import package_folders
from sparse_transfer_cli.example_tiles import Tile, TileSet

PACKAGE = "stardist"
SIDE = 128
"""Of a tile, in pixels."""
_SMALLEST = 12
"""A nucleus of which a tile shows less, in pixels, is left out."""
_RAYS = 32
"""Points of a polygon: nuclei are round enough to be seen whole from within, as StarDist has it."""
_STEP = 0.25
"""Of a ray, in pixels."""


def packaged_tiles() -> Iterator[Tile]:
    """Yields the tiles of the installed package; the module is not executed.

    Raises:
        AccessError: The package does not hold the pictures.
    """
    import numpy as np
    from PIL import Image

    folders = [folder / "data" / "images" for folder in package_folders(PACKAGE)]
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


def _outlines(numbers: Any) -> Iterator[tuple[float, ...]]:
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
        yield tuple(np.clip(ends, 0, SIDE)[:, ::-1].flatten().tolist())


NUCLEI = TileSet(
    package=PACKAGE,
    version="0.9.2",
    licence="packaged with stardist under BSD-3-Clause; "
    "the picture is of the 2018 Data Science Bowl",
    class_name="nucleus",
    labels="annotations",
    shapes="polygons",
    tiles=packaged_tiles,
)
