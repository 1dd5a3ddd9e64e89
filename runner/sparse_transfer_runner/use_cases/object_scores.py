"""What detections are worth: mean average precision, and how far two detectors agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from .scores import Scored

NAMES = (MAP, MAP50)
_SURE = 0.25
"""Score from which on a detection is an answer rather than a possibility; Ultralytics' default."""
_SAME_PLACE = 0.5


Overlaps = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""Of two models' detections, ``[n, columns]`` and ``[m, columns]``: their overlap, ``[n, m]``."""


def scored(outputs: NDArray[Any], rows: EncodedObjects) -> Scored:
    """Scores detections ``[rows, 300, 6]``: corners in the square, score, class."""
    pictures = [picture_of(found, rows, row) for row, found in enumerate(outputs)]
    kinds = precisions(pictures)
    metrics = {name: kind.value() for name, kind in kinds.items()}
    return Scored(metrics, len(pictures), kinds.__getitem__)


def precisions(pictures: Sequence[Picture], prefix: str = "") -> dict[str, Precision]:
    """Returns the metrics of pictures by their names, which begin with the prefix."""
    return {
        f"{prefix}{MAP}": Precision(pictures),
        f"{prefix}{MAP50}": Precision(pictures, thresholds=1),
    }


def alike_boxes(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Returns how far the boxes of two models' detections are the same, ``[n, m]``."""
    return overlaps(one[:, None, :4], other[None, :, :4])


def same_answers(
    outputs: NDArray[Any], reference: NDArray[Any], alike: Overlaps = alike_boxes
) -> float:
    """Returns the share of sure detections that both models make: same class, alike places."""
    common = total = 0
    for found, wanted in zip(outputs, reference, strict=True):
        one, other = (each[each[:, 4] >= _SURE] for each in (found, wanted))
        total += max(len(one), len(other))
        same = alike(one, other) >= _SAME_PLACE
        same &= one[:, None, 5] == other[None, :, 5]
        common += min(int(same.any(axis=0).sum()), int(same.any(axis=1).sum()))
    return common / total if total else 1.0


def picture_of(found: NDArray[Any], rows: EncodedObjects, row: int) -> Picture:
    """Returns what was found in a row's picture, by its boxes.

    Args:
        found: ``[most, 6 or more]``: corners in the square, score, class; zeros where nothing is.
        rows: The split.
        row: Of the picture.
    """
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
