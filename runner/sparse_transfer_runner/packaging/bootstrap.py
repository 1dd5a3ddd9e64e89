"""How sure a recovery is: a paired bootstrap over the evaluation's samples (Efron, 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.results import Interval
from sparse_transfer_runner.use_cases.scores import Array, Resampling, Scored

_COUNTS_AT_ONCE = 4_000_000


def recovery_interval(
    product: Scored,
    baseline: Scored | None,
    metric: str,
    *,
    given: float | None = None,
    seed: int = 0,
) -> Interval | None:
    """Returns the 95 % interval of product's metric / baseline's metric on the same samples.

    Args:
        product: The shipped file's score.
        baseline: The baseline's on the same samples, or None where only its value is known.
        metric: Name of the primary metric.
        given: The baseline's value where its outputs are not known.
        seed: Of the resampling.

    Returns:
        None where the baseline's metric is not positive in every resample.
    """
    if (baseline is None) == (given is None):
        raise ValueError("one of baseline and given is needed")
    both = [each.resampling(metric) for each in (product, baseline) if each is not None]
    values = _resampled(both, product.samples, np.random.default_rng(seed))
    dense = values[1] if given is None else np.full_like(values[0], given)
    if bool((dense <= 0).any()):
        return None
    low, high = np.percentile(values[0] / dense, (2.5, 97.5))
    return Interval(low=float(low), high=float(high))


def _resampled(metrics: list[Resampling], samples: int, random: np.random.Generator) -> list[Array]:
    """Returns the values of each metric on the same resamples."""
    resamples = min(metric.resamples for metric in metrics)
    chunk = max(1, min(resamples, _COUNTS_AT_ONCE // samples))
    parts: list[list[Array]] = [[] for _ in metrics]
    for start in range(0, resamples, chunk):
        counts = _counts(min(chunk, resamples - start), samples, random)
        for found, metric in zip(parts, metrics, strict=True):
            found.append(metric.values(counts))
    return [np.concatenate(found) for found in parts]


def _counts(resamples: int, samples: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draws as many samples as there are, again and again; returns how often each was drawn."""
    drawn = random.integers(0, samples, (resamples, samples))
    places = drawn + samples * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * samples)
    return counts.reshape(resamples, samples).astype(np.int64, copy=False)
