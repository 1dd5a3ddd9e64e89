"""Packaged aerial pictures of trees, as detection data for the example and for tests.

The source is the package ``deepforest``: four pictures from the air, with a box around each crown
in Pascal VOC's XML. They are cut into tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.example_packages import package_folders
from sparse_transfer_cli.example_tiles import Tile, TileSet

PACKAGE = "deepforest"
SIDE = 400
"""Of a tile, in pixels."""
_SMALLEST = 4.0
"""A crown of which a tile shows less, in pixels, belongs to the tile beside it."""

Box = tuple[float, float, float, float]


def packaged_tiles() -> Iterator[Tile]:
    """Yields the tiles of the installed package that show a tree; the module is not executed.

    Raises:
        AccessError: The package does not hold the pictures.
    """
    from PIL import Image

    folders = package_folders(PACKAGE)
    described = [path for folder in folders for path in sorted(folder.glob("data/*.xml"))]
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


def _boxes(path: Path) -> list[Box]:
    """Returns the corners of a picture's boxes."""
    found = []
    for each in ElementTree.parse(path).getroot().iter("bndbox"):
        values = [float(each.findtext(key) or 0) for key in ("xmin", "ymin", "xmax", "ymax")]
        found.append((values[0], values[1], values[2], values[3]))
    return found


def _inside(boxes: Sequence[Box], left: int, top: int) -> Iterator[Box]:
    """Yields centre and size of the crowns in a tile, which are those with their centres in it."""
    for x0, y0, x1, y1 in boxes:
        across, down = (x0 + x1) / 2 - left, (y0 + y1) / 2 - top
        if not (0 <= across < SIDE and 0 <= down < SIDE):
            continue
        moved = (x0 - left, y0 - top, x1 - left, y1 - top)
        low_x, low_y, high_x, high_y = (min(SIDE, max(0.0, each)) for each in moved)
        if min(high_x - low_x, high_y - low_y) >= _SMALLEST:
            yield (low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y


TREES = TileSet(
    package=PACKAGE,
    version="2.1.0",
    licence="packaged with deepforest under MIT; the pictures are of the NEON observatory",
    class_name="tree",
    labels="labels",
    shapes="boxes",
    tiles=packaged_tiles,
)
