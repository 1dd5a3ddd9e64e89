"""What outputs are worth on a split, and on any resample of it.

A metric that is a function of sums over samples is resampled by one product of a matrix of counts
with a matrix of terms; any other is computed anew for each resample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Resampling(Protocol):
    """One metric of outputs, as a function of how often each sample counts."""

    @property
    def resamples(self) -> int:
        """How many are worth their time."""

    def values(self, counts: NDArray[Any]) -> Array:
        """Returns the metric of each resample, ``[resamples]``.

        Args:
            counts: int64 ``[resamples, samples]``: how often each sample is in each resample.
        """


@dataclass(frozen=True)
class Sums:
    """A metric as a function of sums over samples.

    Args:
        terms: Of each sample, ``[samples, terms]``.
        combine: Maps sums of the terms ``[resamples, terms]`` to metrics ``[resamples]``.
    """

    terms: Array
    combine: Callable[[Array], Array]
    resamples = 2000

    def value(self) -> float:
        """Returns the metric of all samples, each counted once."""
        return float(self.combine(self.terms.sum(axis=0, keepdims=True))[0])

    def values(self, counts: NDArray[Any]) -> Array:
        """Returns the metric of each resample."""
        return self.combine(counts.astype(np.float64) @ self.terms)


@dataclass(frozen=True)
class Redrawn:
    """A metric that is computed anew for each resample.

    Args:
        metric: Returns the metric of the samples with the given numbers, int64 ``[samples]``.
    """

    metric: Callable[[NDArray[Any]], float]
    resamples = 1000

    def values(self, counts: NDArray[Any]) -> Array:
        """Returns the metric of each resample."""
        samples = np.arange(counts.shape[1])
        return np.array([self.metric(np.repeat(samples, each)) for each in counts])


@dataclass(frozen=True)
class Scored:
    """What outputs are worth.

    Args:
        metrics: By name.
        samples: What a bootstrap draws from: rows of a table, pictures, questions, sentences.
        resampling: Of a metric by its name.
    """

    metrics: Mapping[str, float]
    samples: int
    resampling: Callable[[str], Resampling]
