"""From a picture to a detector's input, and from its output to boxes in the picture.

This file is shipped beside every deployed detector, so that serving sees what evaluation saw: it
must stand alone, on numpy and Pillow.
"""

import dataclasses
import json
import pathlib

import numpy as np
from PIL import Image

CONFIG = "preprocessor_config.json"
INPUT = "pixel_values"
CANDIDATES = 2048
"""Most boxes of a picture among which the overlapping ones are sought."""
_BOX = 4


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a picture lies in the square that a detector sees.

    Args:
        scale: Pixels of the square for one of the picture.
        left: Of the picture in the square, in pixels.
        top: Likewise.
        width: Of the picture itself, in pixels.
        height: Likewise.
    """

    scale: float
    left: float
    top: float
    width: int
    height: int

    def into_square(self, boxes: np.ndarray) -> np.ndarray:
        """Returns corners in the square, ``[boxes, 4]``, of centres and sizes from 0 to 1."""
        centre = boxes[:, :2] * (self.width, self.height)
        half = boxes[:, 2:] * (self.width, self.height) / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        return corners * self.scale + (self.left, self.top, self.left, self.top)

    def clipped(self, corners: np.ndarray) -> np.ndarray:
        """Returns corners in the square, cut where the picture ends."""
        right, bottom = self.width * self.scale, self.height * self.scale
        low = (self.left, self.top) * 2
        return np.clip(corners, low, np.add(low, (right, bottom) * 2))

    def out_of_square(self, corners: np.ndarray) -> np.ndarray:
        """Returns corners in the picture, in its pixels, of corners in the square."""
        moved = (self.clipped(corners) - (self.left, self.top) * 2) / self.scale
        return np.clip(moved, 0, (self.width, self.height) * 2)


class Letterbox:
    """Brings pictures of any shape into a square, without distorting them.

    Args:
        config: The content of ``preprocessor_config.json``.
    """

    def __init__(self, config: dict) -> None:
        self.side = int(config["side"])
        self.padding = int(config["padding"])

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "Letterbox":
        """Reads the configuration in a model folder."""
        return cls(json.loads((pathlib.Path(folder) / CONFIG).read_text(encoding="utf-8")))

    def placement(self, width: int, height: int) -> Placement:
        """Returns where a picture of a size comes to lie."""
        scale = self.side / max(width, height)
        wide, high = (max(1, round(each * scale)) for each in (width, height))
        return Placement(scale, (self.side - wide) // 2, (self.side - high) // 2, width, height)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Returns the input for an RGB picture, float32 ``[3, side, side]``, 0 to 1."""
        place = self.placement(*picture.size)
        width, height = (max(1, round(each * place.scale)) for each in picture.size)
        size = (width, height)
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        square = Image.new("RGB", (self.side, self.side), (self.padding,) * 3)
        square.paste(picture, (int(place.left), int(place.top)))
        values = np.asarray(square, np.float32) / 255
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def select(
    raw: np.ndarray, *, classes: int, confidence: float, overlap: float, most: int
) -> np.ndarray:
    """Returns the best boxes of one picture, of those that overlap the best one alone.

    Args:
        raw: What the detector puts out, ``[places, 4 + classes + more]``: centre and size in pixels
            of its input, a score from 0 to 1 for each class, and whatever else belongs to a place.
        classes: Their number.
        confidence: Scores below it are nothing.
        overlap: Intersection over union from which on two boxes of a class are the same object.
        most: Boxes to return at most.

    Returns:
        ``[boxes, 6 + more]``: corners, score, class, the rest; the best first.
    """
    scores = raw[:, _BOX : _BOX + classes]
    places, labels = np.nonzero(scores >= confidence)
    found = scores[places, labels]
    order = np.argsort(-found, kind="stable")[:CANDIDATES]
    places, labels, found = places[order], labels[order], found[order]
    centre, half = raw[places, :2], raw[places, 2:_BOX] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    kept = _apart(corners, labels, overlap, most)
    rest = raw[places[kept], _BOX + classes :]
    return np.concatenate(
        [corners[kept], found[kept, None], labels[kept, None], rest], axis=1
    ).astype(np.float32)


def overlaps(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns intersection over union of boxes, ``[…]``, as numpy broadcasts their corners."""
    low = np.maximum(one[..., :2], others[..., :2])
    high = np.minimum(one[..., 2:_BOX], others[..., 2:_BOX])
    common = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(np.clip(each[..., 2:_BOX] - each[..., :2], 0, None), axis=-1)
             for each in (one, others)]  # fmt: skip
    return common / np.maximum(areas[0] + areas[1] - common, 1e-9)


def _apart(corners: np.ndarray, labels: np.ndarray, overlap: float, most: int) -> list[int]:
    """Returns the places of boxes, the best first, without those that a better one covers."""
    left = np.arange(len(corners))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        same = labels[left] == labels[best]
        left = left[~(same & (overlaps(corners[best], corners[left]) > overlap))]
    return kept
