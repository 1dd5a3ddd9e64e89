"""What outlined objects are worth: mean average precision of masks and of boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.detection.average_precision import MAP, MAP50, Picture
from sparse_transfer_runner.detection.masks import BEST

from .object_scores import picture_of, precisions
from .scores import Scored
from .segment_inputs import EncodedSegments, mask_overlaps, unpacked

MASK, BOX = "mask_", "box_"
NAMES = tuple(f"{what}{name}" for what in (MASK, BOX) for name in (MAP, MAP50))


def scored(outputs: NDArray[Any], rows: EncodedSegments) -> Scored:
    """Scores objects ``[rows, 100, 6 + words]``, as ``EncodedSegments.reduced`` keeps them."""
    boxes = [picture_of(found, rows, row) for row, found in enumerate(outputs)]
    masks = [
        _by_masks(boxes[row], found[found[:, 4] > 0], rows, row)
        for row, found in enumerate(outputs)
    ]
    kinds = precisions(masks, MASK) | precisions(boxes, BOX)
    metrics = {name: kind.value() for name, kind in kinds.items()}
    return Scored(metrics, len(boxes), kinds.__getitem__)


def alike_masks(one: NDArray[Any], other: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Returns how far the masks of two models' objects are the same, ``[objects, others]``."""
    return mask_overlaps(*(unpacked(each[:, BEST:], side) for each in (one, other)))


def _by_masks(boxes: Picture, found: NDArray[Any], rows: EncodedSegments, row: int) -> Picture:
    side, truth = rows.masks.side, rows.truth(row)
    masks = unpacked(found[:, BEST:], side) & rows.inside(row).ravel()
    return replace(boxes, overlaps=mask_overlaps(truth.reshape(len(truth), side**2), masks))
