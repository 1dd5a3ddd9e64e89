"""Which INT8 form ships: the fastest that keeps accuracy, judged on rows that are not reported.

Pure, but for calling what it is given to score a candidate: forms are scored from the fastest on,
and those behind the first good one are never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
class Chosen(Generic[T]):
    """The outcome of a choice.

    Args:
        item: What was chosen.
        metric: Its primary metric on the choice rows.
        keeps: Whether that keeps accuracy.
    """

    item: T
    metric: float
    keeps: bool


def choose(
    items: Sequence[T], score_of: Callable[[T], ChoiceScore], reference: float
) -> Chosen[T] | None:
    """Returns the first item that keeps accuracy, else the most accurate; None of no items.

    Args:
        items: In the order to try them, such as ``from_fastest`` gives.
        score_of: Scores an item; called until one keeps accuracy.
        reference: The trained model's metric on the same rows.
    """
    best: Chosen[T] | None = None
    for item in items:
        score = score_of(item)
        if score.keeps(reference):
            return Chosen(item, score.metric, True)
        if best is None or score.metric > best.metric:
            best = Chosen(item, score.metric, False)
    return best
