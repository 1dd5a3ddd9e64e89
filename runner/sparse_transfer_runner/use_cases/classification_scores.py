"""Scores of classifiers and of regression: one answer a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import MULTI_LABEL, REGRESSION
from .scores import Array, Redrawn, Resampling, Scored, Sums

Metrics = Callable[[NDArray[np.float32], NDArray[Any]], Mapping[str, float]]
"""Returns every metric of logits ``[rows, labels]`` for targets."""

_SAME = 1e-6
_REGRESSION_TOLERANCE = 0.05
"""Of the spread of the trained model's outputs; nearer ones count as the same answer."""


def scored(logits: NDArray[np.float32], targets: NDArray[Any], metrics: Metrics) -> Scored:
    """Scores logits ``[rows, labels]`` on targets, in the shapes of ``EncodedSplit.targets``."""
    found = metrics(logits, targets)

    def resampling(name: str) -> Resampling:
        sums = row_sums(logits, targets, found[name])
        return sums or Redrawn(lambda rows: metrics(logits[rows], targets[rows])[name])

    return Scored(found, len(targets), resampling)


def row_sums(logits: NDArray[np.float32], targets: NDArray[Any], value: float) -> Sums | None:
    """Returns a metric as sums over rows, where one of the known kinds gives its value."""
    for kind in (_accuracy, _micro_f1, _pearson):
        sums = kind(logits, targets)
        if sums is not None and abs(sums.value() - value) < _SAME:
            return sums
    return None


def constant_metric(
    targets: NDArray[Any], labels: int, problem_type: str, metrics: Metrics, name: str
) -> float:
    """Returns the metric of the best answer that ignores its input.

    Args:
        targets: Of the rows.
        labels: Number of outputs.
        problem_type: Such as ``single_label_classification``.
        metrics: Every metric.
        name: Of the one that is asked for.
    """
    if problem_type == REGRESSION:
        return 0.0  # a constant correlates with nothing
    rows = len(targets)
    if problem_type == MULTI_LABEL:
        order = np.argsort(-targets.sum(axis=0), kind="stable")
        answers = [np.isin(np.arange(labels), order[:count]) for count in range(1, labels + 1)]
    else:
        counts = np.bincount(targets.astype(np.int64), minlength=labels)
        answers = [np.arange(labels) == counts.argmax()]
    return max(
        metrics(np.tile(np.where(answer, 1.0, -1.0).astype(np.float32), (rows, 1)), targets)[name]
        for answer in answers
    )


def same_answers(
    logits: NDArray[np.float32], reference: NDArray[np.float32], problem_type: str
) -> float:
    """Returns the share of rows with the same answer, of logits ``[rows, labels]``.

    That is the same label; for several labels at once the same set at 0.5; for regression a value
    within 5 % of the spread of the reference's values.
    """
    if problem_type == MULTI_LABEL:
        same = ((logits > 0) == (reference > 0)).all(axis=1)
    elif problem_type == REGRESSION:
        tolerance = _REGRESSION_TOLERANCE * np.ptp(reference)
        same = (np.abs(logits - reference) <= tolerance).all(axis=1)
    else:
        same = logits.argmax(axis=1) == reference.argmax(axis=1)
    return float(same.mean())


def _accuracy(logits: NDArray[np.float32], targets: NDArray[Any]) -> Sums | None:
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        return None
    right = (logits.argmax(axis=1) == targets).astype(np.float64)
    return Sums(
        np.stack([right, np.ones_like(right)], axis=1), lambda sums: sums[:, 0] / sums[:, 1]
    )


def _micro_f1(logits: NDArray[np.float32], targets: NDArray[Any]) -> Sums | None:
    if targets.ndim != 2 or targets.shape != logits.shape:
        return None
    said, true = logits > 0, targets > 0.5
    terms = np.stack([(said & true).sum(axis=1), said.sum(axis=1), true.sum(axis=1)], axis=1)

    def combine(sums: Array) -> Array:
        size: Array = np.maximum(sums[:, 1] + sums[:, 2], 1)
        return 2 * sums[:, 0] / size

    return Sums(terms.astype(np.float64), combine)


def _pearson(logits: NDArray[np.float32], targets: NDArray[Any]) -> Sums | None:
    if targets.ndim != 1 or logits.shape[1] != 1:
        return None
    x = logits[:, 0].astype(np.float64)
    y = targets.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()  # keeps the differences of sums exact
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def combine(sums: Array) -> Array:
        mean = sums / sums[:, :1]
        covariance = mean[:, 5] - mean[:, 1] * mean[:, 2]
        variances = (mean[:, 3] - mean[:, 1] ** 2) * (mean[:, 4] - mean[:, 2] ** 2)
        result: Array = covariance / np.sqrt(np.maximum(variances, 1e-30))
        return result

    return Sums(terms, combine)
