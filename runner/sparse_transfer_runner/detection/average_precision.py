"""Mean average precision, as COCO and Ultralytics compute it, and that of resampled pictures.

Detections are matched to objects of their class, each to the one that it overlaps most, at ten
thresholds of intersection over union from 0.50 to 0.95; of several, the surest has found it. The
area under precision over recall is taken at 101 points (Lin et al., "Microsoft COCO", 2014).
Matching is done once: a resample of the pictures only changes how often each detection and each
object counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.storage.settings import settings
from sparse_transfer_runner.use_cases.scores import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAP = "map50_95"
MAP50 = "map50"
_POINTS = np.linspace(0, 1, 101)
_TINY = 1e-16
_MOST, _FEWEST = 300, 100
"""Resamples for an interval: fewer than a hundred hardly have a 2.5th percentile."""
_FEW_CLASSES = 100
"""As many are resampled most often, in half a minute."""


@dataclass(frozen=True)
class Picture:
    """What was found in one picture, and what is in it.

    Args:
        scores: Of the detections, ``[detections]``, the highest first.
        labels: Their classes.
        truth: Classes of the objects, ``[objects]``.
        overlaps: Intersection over union, ``[objects, detections]``.
    """

    scores: NDArray[Any]
    labels: NDArray[Any]
    truth: NDArray[Any]
    overlaps: NDArray[Any]

    def hits(self) -> NDArray[np.bool_]:
        """Returns which detections are right at which threshold, ``[detections, 10]``."""
        right = np.zeros((len(self.scores), len(THRESHOLDS)), bool)
        same = self.truth[:, None] == self.labels[None, :]
        overlaps = np.where(same, self.overlaps, 0)
        for column, threshold in enumerate(THRESHOLDS):
            objects, found = np.nonzero(overlaps >= threshold)
            order = np.argsort(-overlaps[objects, found], kind="stable")
            # Each detection takes its best object, each object then its surest detection.
            pairs = np.stack([objects[order], found[order]], axis=1)
            pairs = pairs[np.unique(pairs[:, 1], return_index=True)[1]]
            pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
            right[pairs[:, 1], column] = True
        return right


@dataclass(frozen=True)
class Precision:
    """Mean average precision of pictures, as a function of how often each counts.

    Args:
        pictures: All of them.
        thresholds: So many of ``THRESHOLDS`` are averaged over, from the lowest on.
    """

    pictures: Sequence[Picture]
    thresholds: int = len(THRESHOLDS)

    @property
    def resamples(self) -> int:
        """How many are worth their time, which grows with the classes."""
        return max(_FEWEST, min(_MOST, _MOST * _FEW_CLASSES // max(1, len(self._classes))))

    @cached_property
    def _classes(self) -> list[_Class]:
        number = np.repeat(np.arange(len(self.pictures)), [len(p.scores) for p in self.pictures])
        owner = np.repeat(np.arange(len(self.pictures)), [len(p.truth) for p in self.pictures])
        scores = np.concatenate([p.scores for p in self.pictures])
        labels = np.concatenate([p.labels for p in self.pictures])
        truth = np.concatenate([p.truth for p in self.pictures])
        hits = np.concatenate([p.hits() for p in self.pictures])[:, : self.thresholds]
        order = np.argsort(-scores, kind="stable")
        found = []
        for label in np.unique(truth):
            mine = order[labels[order] == label]
            found.append(_Class.of(number[mine], hits[mine], owner[truth == label]))
        return found

    def value(self) -> float:
        """Returns the metric of all pictures, each counted once."""
        return float(self.values(np.ones((1, len(self.pictures)), np.int64))[0])

    def values(self, counts: NDArray[Any]) -> Array:
        """Returns the metric of each resample; classes without an object in it are left out."""
        found = np.array([self._precisions(row) for row in counts])
        there = ~np.isnan(found)
        total = np.where(there, found, 0).sum(axis=1)
        mean: Array = total / np.maximum(there.sum(axis=1), 1)
        return mean

    def _precisions(self, counts: NDArray[Any]) -> list[float]:
        settings().raise_if_stopped()
        return [each.precision(counts) for each in self._classes]


@dataclass(frozen=True)
class _Class:
    """The detections of a class, the surest first.

    Args:
        pictures: Of each detection.
        hits: ``[detections, columns]``: of thresholds with any, and each column once.
        objects: The picture of each object.
        shares: Of the thresholds, that a column stands for.
    """

    pictures: NDArray[Any]
    hits: NDArray[np.bool_]
    objects: NDArray[Any]
    shares: Array

    @classmethod
    def of(cls, pictures: NDArray[Any], hits: NDArray[np.bool_], objects: NDArray[Any]) -> _Class:
        """Returns a class of detections whose hits are ``[detections, thresholds]``."""
        columns, times = np.unique(hits, axis=1, return_counts=True)
        used = columns.any(axis=0)
        return cls(pictures, columns[:, used], objects, times[used] / hits.shape[1])

    def precision(self, counts: NDArray[Any]) -> float:
        """Returns the average precision, averaged over the thresholds; NaN without objects."""
        objects = counts[self.objects].sum()
        if not objects:
            return float("nan")
        weight = counts[self.pictures]
        used = weight > 0
        if not used.any():
            return 0.0
        weight, hits = weight[used, None], self.hits[used]
        right = np.cumsum(weight * hits, axis=0)
        recall = right / (objects + _TINY)
        precision = right / np.cumsum(weight, axis=0)
        areas = [_area(*curve) for curve in zip(recall.T, precision.T, strict=True)]
        return float(self.shares @ areas)


def _area(recall: Array, precision: Array) -> float:
    x = np.concatenate([[0.0], recall, [recall[-1]], [1.0]])
    y = np.concatenate([[1.0], precision, [0.0], [0.0]])
    y = np.flip(np.maximum.accumulate(np.flip(y)))
    return float(np.trapezoid(np.interp(_POINTS, x, y), _POINTS))
