"""How many zeros each layer gets, at a total that is given: where they cost the least error.

The error that zeros cause is measured for every layer at a few sparsities. Between those points,
and below them, it is taken to be the lower convex hull: a layer may be anywhere on it. Zeros are
then given out one piece of a hull after another, always the piece whose zeros cost the least. For
convex curves such a greedy choice is the best possible (Fox, "Discrete Optimization via Marginal
Analysis", 1966). Frantar & Alistarh, "SPDY: Accurate Pruning with Speedup Guarantees" (2022) choose
from the same kind of measured table, for time instead of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sparse_transfer_api.errors import InputError

from .patterns import Pattern, Quota

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where a layer's error is measured, between the least and the greatest sparsity."""


@dataclass(frozen=True)
class Curve:
    """What zeros cost one layer.

    Args:
        zeros: Ascending, the first one 0; multiples of the pattern's width.
        errors: The error at each, the first one 0.
    """

    zeros: Sequence[int]
    errors: Sequence[float]

    @classmethod
    def measured(cls, points: Mapping[int, float]) -> Curve:
        """Returns the curve through measured points and through no error without zeros."""
        ordered = sorted({0: 0.0, **points}.items())
        return cls([zeros for zeros, _ in ordered], [error for _, error in ordered])

    def hull(self) -> list[tuple[int, float]]:
        """Returns the corners of the lower convex hull, from the first point to the last."""
        corners: list[tuple[int, float]] = []
        for point in zip(self.zeros, self.errors, strict=True):
            while len(corners) > 1 and not _turns_up(corners[-2], corners[-1], point):
                corners.pop()
            corners.append(point)
        return corners


def allocate(curves: Mapping[str, Curve], quota: Quota) -> dict[str, int]:
    """Divides zeros among layers.

    Args:
        curves: Of every layer that may be pruned.
        quota: Of all of them together.

    Returns:
        The zeros of each layer; they add up to the quota exactly.

    Raises:
        InputError: The curves do not reach so many zeros.
    """
    most = sum(curve.zeros[-1] for curve in curves.values())
    if quota.zeros > most:
        raise InputError(
            f"{quota.zeros} zeros are asked for, but the layers that the pattern {quota.pattern} "
            f"fits can have {most} at most; ask for less sparsity"
        )
    given = dict.fromkeys(curves, 0)
    left = quota.zeros
    for _, name, length in sorted(_pieces(curves), key=lambda piece: piece[0]):
        taken = min(length, left)
        given[name] += taken
        left -= taken
    return given


def uniform(sizes: Mapping[str, int], quota: Quota) -> dict[str, int]:
    """Divides zeros among layers by their sizes, to within one unit of the pattern.

    Args:
        sizes: Weights of every layer that may be pruned.
        quota: Of all of them together.

    Raises:
        InputError: There are fewer weights than that.
    """
    total = sum(sizes.values())
    if quota.zeros > total:
        raise InputError(
            f"{quota.zeros} zeros are asked for, but only {total} weights are in layers that the "
            f"pattern {quota.pattern} fits; ask for less sparsity"
        )
    width = quota.pattern.width
    given: dict[str, int] = {}
    before = passed = 0
    for name, size in sizes.items():
        passed += size
        due = width * round(quota.zeros * passed / total / width)
        given[name], before = due - before, due
    return given


def measured_quotas(sparsity: float, weights: int, pattern: Pattern) -> list[Quota]:
    """Returns where to measure a layer's error, so that the total sparsity lies well within.

    Half as dense, and half as sparse, on both sides of the total.

    Args:
        sparsity: The total's, 0 to 1.
        weights: Of the layer.
        pattern: Of its zeros.
    """
    least, most = max(0.0, 1 - 2.5 * (1 - sparsity)), 1 - (1 - sparsity) / 4
    shares = (least + step * (most - least) for step in STEPS)
    return [Quota.of(share, weights, pattern) for share in shares]


def _pieces(curves: Mapping[str, Curve]) -> Iterator[tuple[float, str, int]]:
    """Yields the pieces of all hulls: error of a zero, layer, zeros."""
    for name, curve in curves.items():
        corners = curve.hull()
        for (begin, low), (end, high) in pairwise(corners):
            yield (high - low) / (end - begin), name, end - begin


def _turns_up(
    first: tuple[int, float], second: tuple[int, float], third: tuple[int, float]
) -> bool:
    """Whether the way from the second point on is steeper than the way to it."""
    (x0, y0), (x1, y1), (x2, y2) = first, second, third
    return (y1 - y0) * (x2 - x1) < (y2 - y1) * (x1 - x0)
