"""Pictures with outlined objects as a segmenter's inputs, and what is kept of its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sparse_transfer_runner.detection.detections import Placement, select
from sparse_transfer_runner.detection.masks import BEST, Masks

from .object_inputs import CONFIDENCE, OVERLAP, EncodedObjects

MOST = 100
"""Objects of a picture that are kept and scored: COCO's number, since each has a mask."""
_BITS = 24
"""Of a mask in one float32, which holds as many exactly."""
_WEIGHTS = np.array([2.0**-8, 2.0**-16, 2.0**-24])
"""Of the bytes of three, so that numbers lie between 0 and 1 like the scores beside them."""


@dataclass(frozen=True)
class EncodedSegments(EncodedObjects):
    """A split of pictures with outlined objects, the pictures read when they are asked for."""

    polygons: bool = field(default=True)

    @cached_property
    def masks(self) -> Masks:
        """Of the model."""
        return Masks.of(self.preprocessor.config)

    def reduced(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the objects worth keeping of a batch's outputs.

        Args:
            outputs: ``[batch, values]``, as a segmenter puts them out.

        Returns:
            ``[batch, 100, 6 + words]``: corners in the square, score, class; and the mask, as
            ``packed`` writes it.
        """
        masks, classes = self.masks, len(self.labels)
        found = np.zeros((len(outputs), MOST, BEST + words_of(masks.side)), np.float32)
        for row, raw in enumerate(outputs):
            places, prototypes = masks.apart(raw, classes)
            best = select(
                places, classes=classes, confidence=CONFIDENCE, overlap=OVERLAP, most=MOST
            )
            found[row, : len(best), :BEST] = best[:, :BEST]
            found[row, : len(best), BEST:] = packed(masks.cells(best, prototypes))
        return found

    def truth(self, row: int) -> NDArray[np.bool_]:
        """Returns the masks of a row's objects, ``[objects, side, side]``."""
        outlines, place = self.objects[row].polygons, self.placements[row]
        drawn = [drawn_mask(_placed(each, place), self.masks) for each in outlines]
        return np.array(drawn, bool).reshape(len(drawn), self.masks.side, self.masks.side)

    def inside(self, row: int) -> NDArray[np.bool_]:
        """Returns the cells that show some of a row's picture, the others grey: ``[side, side]``.

        What a segmenter outlines in the grey, the deployed program leaves out.
        """
        place, masks = self.placements[row], self.masks
        ends = (np.arange(masks.side + 1) * (masks.square / masks.side)).tolist()
        columns, rows = (
            [low < start + length * place.scale and high > start for low, high in pairwise(ends)]
            for start, length in ((place.left, place.width), (place.top, place.height))
        )
        return np.outer(rows, columns)

    def _values_of_a_row(self) -> int:
        weights = self._places() * self.masks.prototypes
        return super()._values_of_a_row() + weights + self.masks.prototypes * self.masks.side**2


def words_of(side: int) -> int:
    """Returns how many numbers a mask takes."""
    return math.ceil(side**2 / _BITS)


def packed(cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns masks ``[objects, side, side]`` as numbers from 0 to 1, ``[objects, words]``."""
    side = cells.shape[-1]
    flat = np.zeros((len(cells), words_of(side) * _BITS), bool)
    flat[:, : side**2] = cells.reshape(len(cells), side**2)
    three = np.packbits(flat, axis=1).reshape(len(cells), words_of(side), 3)
    return (three @ _WEIGHTS).astype(np.float32)


def unpacked(words: NDArray[Any], side: int) -> NDArray[np.bool_]:
    """Returns the masks that ``packed`` wrote, ``[objects, side * side]``."""
    numbers = (words.astype(np.float64) * 2**_BITS).astype(">u4")
    # The first of four bytes is always 0.
    three = np.ascontiguousarray(numbers).view(np.uint8).reshape(*numbers.shape, 4)[..., 1:]
    bits = np.unpackbits(three.reshape(len(words), words.shape[1] * 3), axis=1)
    return bits[:, : side**2].astype(bool)


def mask_overlaps(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns intersection over union of masks, ``[n, cells]`` and ``[m, cells]``: ``[n, m]``."""
    first, second = one.astype(np.float32), other.astype(np.float32)
    common = (first @ second.T).astype(np.float64)
    union = first.sum(axis=1)[:, None] + second.sum(axis=1)[None, :] - common
    overlap: NDArray[np.float64] = common / np.maximum(union, 1)
    return overlap


def drawn_mask(points: NDArray[Any], masks: Masks) -> NDArray[np.bool_]:
    """Returns the cells of which a polygon covers half or more, ``[side, side]``.

    Of a polygon that covers less of every cell, those that it covers most of.

    Args:
        points: In pixels of the square, ``[points, 2]``.
        masks: Says how many cells there are.
    """
    found = np.zeros((masks.side, masks.side), bool)
    ratio = masks.square // masks.side
    low = np.clip(np.floor(points.min(axis=0) / ratio), 0, masks.side - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) / ratio), low + 1, masks.side).astype(int)
    width, height = (high - low).tolist()
    canvas = Image.new("L", (width * ratio, height * ratio))
    # Pillow's whole numbers are the middles of pixels.
    outline = [(float(x), float(y)) for x, y in points - low * ratio - 0.5]
    ImageDraw.Draw(canvas).polygon(outline, fill=1)
    covered = np.asarray(canvas).reshape(height, ratio, width, ratio).sum(axis=(1, 3))
    least = max(1, min(ratio**2 / 2, covered.max()))
    found[low[1] : high[1], low[0] : high[0]] = covered >= least
    return found


def _placed(outline: NDArray[Any], place: Placement) -> NDArray[np.float64]:
    """Returns points in the square, of shares of the picture's sides."""
    pixels = outline.astype(np.float64) * (place.width, place.height)
    placed: NDArray[np.float64] = pixels * place.scale + (place.left, place.top)
    return placed
