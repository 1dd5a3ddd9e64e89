"""Which INT8 form ships: the fastest that keeps accuracy, judged on rows that are not reported.

Pure: forms are scored from the fastest on, and those behind the first good one are never scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TOLERANCE = 0.01
"""Relative loss of the primary metric from which on accuracy counts as lost."""
ALIKE = 0.05
"""Relative difference of two latencies that measurements on a busy machine do not tell apart."""


def keeps_accuracy(metric: float, reference: float) -> bool:
    """Whether a metric is at most ``TOLERANCE`` (relative) below a reference."""
    return metric >= reference - TOLERANCE * abs(reference)


@dataclass(frozen=True)
class ChoiceScore:
    """The primary metric on the choice rows.

    Args:
        metric: As measured.
        noise: Standard error of its difference from the trained model's on the same rows; a few
            hundred rows do not tell a form that loses a little from one that loses nothing.
    """

    metric: float
    noise: float = 0.0

    def keeps(self, reference: float) -> bool:
        """Whether accuracy is kept, as far as the rows can tell."""
        return keeps_accuracy(self.metric + self.noise, reference)


def from_fastest(items: Sequence[tuple[T, float]]) -> list[T]:
    """Returns the items from the fastest to the slowest; alike ones in the given order.

    Args:
        items: Each with its latency, in order of preference.
    """
    left = list(items)
    ordered = []
    while left:
        fastest = min(latency for _, latency in left)
        pick = next(item for item in left if item[1] <= fastest * (1 + ALIKE))
        left.remove(pick)
        ordered.append(pick[0])
    return ordered


@dataclass(frozen=True)
class Judged(Generic[T]):
    """What came of a candidate.

    Args:
        item: The candidate.
        score: On the choice rows.
        keeps: Whether that keeps accuracy.
    """

    item: T
    score: ChoiceScore
    keeps: bool


def choose(tried: Sequence[Judged[T]]) -> Judged[T]:
    """Returns the first that keeps accuracy, else the first that may be as accurate as the best.

    Of many that differ by chance the most accurate one is mostly lucky. So one that is worse by no
    more than its standard error goes before what comes later, which is slower: the rule of one
    standard error (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3).

    Args:
        tried: In the order of preference; not empty.
    """
    best = max(each.score.metric for each in tried)
    good = (each for each in tried if each.keeps)
    alike = (each for each in tried if each.score.metric + each.score.noise >= best)
    return next(good, None) or next(alike)
