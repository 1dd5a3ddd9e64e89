"""What detections are worth: mean average precision, and how far two detectors agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.detection.average_precision import (
    MAP,
    MAP50,
    Picture,
    Precision,
)
from sparse_transfer_runner.detection.detections import overlaps

from .object_inputs import EncodedObjects
from .scores import Resampling, Scored

NAMES = (MAP, MAP50)
_SURE = 0.25
"""Score from which on a detection is an answer rather than a possibility; Ultralytics' default."""
_SAME_BOX = 0.5


def scored(outputs: NDArray[Any], rows: EncodedObjects) -> Scored:
    """Scores detections ``[rows, 300, 6]``: corners in the square, score, class."""
    pictures = [_picture(found, rows, row) for row, found in enumerate(outputs)]
    kinds: dict[str, Resampling] = {
        MAP: Precision(pictures),
        MAP50: Precision(pictures, thresholds=1),
    }
    return Scored(
        {name: kind.value() for name, kind in kinds.items() if isinstance(kind, Precision)},
        len(pictures),
        kinds.__getitem__,
    )


def same_answers(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """Returns the share of sure detections that both models make: same class, alike boxes."""
    common = total = 0
    for found, wanted in zip(outputs, reference, strict=True):
        one, other = (each[each[:, 4] >= _SURE] for each in (found, wanted))
        total += max(len(one), len(other))
        alike = overlaps(one[:, None, :4], other[None, :, :4]) >= _SAME_BOX
        alike &= one[:, None, 5] == other[None, :, 5]
        common += min(int(alike.any(axis=0).sum()), int(alike.any(axis=1).sum()))
    return common / total if total else 1.0


def _picture(found: NDArray[Any], rows: EncodedObjects, row: int) -> Picture:
    found = found[found[:, 4] > 0]
    place, objects = rows.placements[row], rows.objects[row]
    corners = place.clipped(found[:, :4])
    truth = place.into_square(objects.boxes.astype(np.float64))
    return Picture(
        scores=found[:, 4],
        labels=found[:, 5].astype(np.int64),
        truth=objects.classes,
        overlaps=overlaps(truth[:, None], corners[None]),
    )
