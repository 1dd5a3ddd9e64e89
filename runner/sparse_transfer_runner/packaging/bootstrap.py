"""How sure a recovery is: a paired bootstrap over the evaluation rows (Efron, 1979).

The primary metrics are functions of sums over rows, so a thousand resamples are one product of a
matrix of counts with a matrix of per-row terms. Other metrics are computed resample by resample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.results import Interval

Array = NDArray[np.float64]
Metric = Callable[[NDArray[np.float32], NDArray[Any]], float]
"""Returns the primary metric of logits ``[rows, labels]`` for targets."""

RESAMPLES = 2000
SLOW_RESAMPLES = 1000
"""For metrics that are not sums over rows."""
_COUNTS_AT_ONCE = 4_000_000
_SAME = 1e-6


@dataclass(frozen=True)
class RowSums:
    """A metric as a function of sums over rows.

    Args:
        terms: Per-row terms, ``[rows, terms]``.
        combine: Maps sums of the terms ``[resamples, terms]`` to metrics ``[resamples]``.
    """

    terms: Array
    combine: Callable[[Array], Array]

    def value(self) -> float:
        """Returns the metric of all rows."""
        return float(self.combine(self.terms.sum(axis=0, keepdims=True))[0])


def recovery_interval(
    product: NDArray[np.float32],
    baseline: NDArray[np.float32] | None,
    targets: NDArray[Any],
    metric: Metric,
    *,
    given: float | None = None,
    seed: int = 0,
) -> Interval | None:
    """Returns the 95 % interval of product's metric / baseline's metric on the same rows.

    Args:
        product: The shipped file's logits, ``[rows, labels]``.
        baseline: The baseline's logits for the same rows, or None where only its value is known.
        targets: Of the rows.
        metric: The primary metric.
        given: The baseline's value where its logits are not known.
        seed: Of the resampling.

    Returns:
        None where the baseline's metric is not positive in every resample.
    """
    if (baseline is None) == (given is None):
        raise ValueError("one of baseline and given is needed")
    fast = _all_row_sums(product, baseline, targets, metric)
    random = np.random.default_rng(seed)
    if fast is not None:
        values = _resampled_sums(fast, len(targets), random)
    else:
        values = _resampled_metric(product, baseline, targets, metric, random)
    dense = values[1] if given is None else np.full_like(values[0], given)
    if bool((dense <= 0).any()):
        return None
    low, high = np.percentile(values[0] / dense, (2.5, 97.5))
    return Interval(low=float(low), high=float(high))


def row_sums(logits: NDArray[np.float32], targets: NDArray[Any], metric: Metric) -> RowSums | None:
    """Returns the metric as sums over rows, where one of the known kinds gives the same value."""
    kinds = (_accuracy, _micro_f1, _pearson)
    wanted = metric(logits, targets)
    for kind in kinds:
        sums = kind(logits, targets)
        if sums is not None and abs(sums.value() - wanted) < _SAME:
            return sums
    return None


def _all_row_sums(
    product: NDArray[np.float32],
    baseline: NDArray[np.float32] | None,
    targets: NDArray[Any],
    metric: Metric,
) -> list[RowSums] | None:
    found = [
        row_sums(logits, targets, metric) for logits in (product, baseline) if logits is not None
    ]
    return [sums for sums in found if sums is not None] if None not in found else None


def _accuracy(logits: NDArray[np.float32], targets: NDArray[Any]) -> RowSums | None:
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        return None
    right = (logits.argmax(axis=1) == targets).astype(np.float64)
    return RowSums(
        np.stack([right, np.ones_like(right)], axis=1), lambda sums: sums[:, 0] / sums[:, 1]
    )


def _micro_f1(logits: NDArray[np.float32], targets: NDArray[Any]) -> RowSums | None:
    if targets.ndim != 2 or targets.shape != logits.shape:
        return None
    said, true = logits > 0, targets > 0.5
    terms = np.stack([(said & true).sum(axis=1), said.sum(axis=1), true.sum(axis=1)], axis=1)

    def combine(sums: Array) -> Array:
        size: Array = np.maximum(sums[:, 1] + sums[:, 2], 1)
        return 2 * sums[:, 0] / size

    return RowSums(terms.astype(np.float64), combine)


def _pearson(logits: NDArray[np.float32], targets: NDArray[Any]) -> RowSums | None:
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

    return RowSums(terms, combine)


def _resampled_sums(metrics: list[RowSums], rows: int, random: np.random.Generator) -> list[Array]:
    chunk = max(1, min(RESAMPLES, _COUNTS_AT_ONCE // rows))
    parts: list[list[Array]] = [[] for _ in metrics]
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn = random.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        for found, sums in zip(parts, metrics, strict=True):
            found.append(sums.combine(counts.astype(np.float64) @ sums.terms))
    return [np.concatenate(found) for found in parts]


def _resampled_metric(
    product: NDArray[np.float32],
    baseline: NDArray[np.float32] | None,
    targets: NDArray[Any],
    metric: Metric,
    random: np.random.Generator,
) -> list[Array]:
    both = [logits for logits in (product, baseline) if logits is not None]
    values = np.empty((len(both), SLOW_RESAMPLES))
    for index in range(SLOW_RESAMPLES):
        rows = random.integers(0, len(targets), len(targets))
        values[:, index] = [metric(logits[rows], targets[rows]) for logits in both]
    return list(values)
