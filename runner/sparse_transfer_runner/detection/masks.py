"""From a segmenter's output to the pixels of each object.

This file is shipped beside every deployed segmenter, so that serving sees what evaluation saw: it
must stand alone, on numpy and Pillow.
"""

import collections.abc
import dataclasses
import typing

import numpy as np
from PIL import Image

BEST = 6
"""Columns of a box before its coefficients: corners, score, class."""
_BOX = 4


@dataclasses.dataclass(frozen=True)
class Masks:
    """How a segmenter says which pixels are an object's: a weighted sum of prototypes is above 0.

    Args:
        prototypes: Their number.
        side: Of each, in cells.
        square: Side of the pictures that the segmenter sees, in pixels.
    """

    prototypes: int
    side: int
    square: int

    @classmethod
    def of(cls, config: collections.abc.Mapping) -> "Masks":
        """Returns what ``preprocessor_config.json`` says."""
        return cls(int(config["prototypes"]), int(config["mask_side"]), int(config["side"]))

    def apart(self, raw: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Takes the output for one picture apart.

        Args:
            raw: Flat, as the segmenter puts it out.
            classes: Their number.

        Returns:
            The places, ``[places, 4 + classes + prototypes]``, for ``detections.select``; and the
            prototypes, ``[prototypes, side * side]``.
        """
        cells = self.prototypes * self.side**2
        places, prototypes = raw[:-cells], raw[-cells:]
        width = _BOX + classes + self.prototypes
        return places.reshape(-1, width), prototypes.reshape(self.prototypes, -1)

    def cells(self, best: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
        """Returns which cells of the square are each object's, bool ``[objects, side, side]``.

        Args:
            best: ``[objects, 6 + prototypes]``, as ``detections.select`` returns them.
            prototypes: ``[prototypes, side * side]``.
        """
        corners = best[:, :_BOX] * (self.side / self.square)
        left, top, right, bottom = (corners[:, each, None] for each in range(_BOX))
        number = np.arange(self.side)
        columns = (number >= left) & (number < right)
        rows = (number >= top) & (number < bottom)
        return (self._sums(best, prototypes) > 0) & rows[:, :, None] & columns[:, None, :]

    def pixels(
        self, best: np.ndarray, prototypes: np.ndarray, boxes: np.ndarray, place: typing.Any
    ) -> collections.abc.Iterator[np.ndarray]:
        """Yields which pixels of the picture are each object's, bool ``[height, width]``.

        Args:
            best: As in ``cells``.
            prototypes: Likewise.
            boxes: Corners in the picture, in its pixels, ``[objects, 4]``.
            place: Where the picture lies in the square, a ``detections.Placement``.
        """
        for sums, box in zip(self._sums(best, prototypes), boxes, strict=True):
            found = np.zeros((place.height, place.width), bool)
            left, top = (int(value) for value in np.floor(box[:2]))
            right, bottom = (int(value) for value in np.ceil(box[2:]))
            if left < right and top < bottom:
                source = self._in_cells(place, (left, top, right, bottom))
                size = (right - left, bottom - top)
                part = Image.fromarray(sums).resize(size, Image.Resampling.BILINEAR, box=source)
                found[top:bottom, left:right] = np.asarray(part) > 0
            yield found

    def _sums(self, best: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
        sums = best[:, BEST:] @ prototypes
        return sums.reshape(len(best), self.side, self.side).astype(np.float32)

    def _in_cells(
        self, place: typing.Any, corners: tuple[int, int, int, int]
    ) -> tuple[float, float, float, float]:
        shift = (place.left, place.top) * 2
        ratio = self.side / self.square
        left, top, right, bottom = (
            min(float(self.side), (value * place.scale + by) * ratio)
            for value, by in zip(corners, shift, strict=True)
        )
        return left, top, right, bottom


def run_lengths(mask: np.ndarray) -> dict:
    """Returns a mask as COCO writes it down: size, and lengths of runs, column by column.

    Args:
        mask: Bool ``[height, width]``.

    Returns:
        ``size``, height and width; and ``counts``: pixels that are not the object's, pixels that
        are, and so on in turn.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *changes, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
