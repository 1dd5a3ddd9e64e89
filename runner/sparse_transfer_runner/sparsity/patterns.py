"""Which weights become zero together, and dropping exactly so many of them.

A pattern divides a layer's matrix ``[out, in]`` into units of neighbouring inputs of one output:
single weights, or four. A unit is kept or dropped as a whole. The columns of an unfolded
convolution are ordered with the input channels last, so that four neighbours are four channels at
one place of the kernel: what a kernel for such blocks reads at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from sparse_transfer_api.errors import InputError


class Pattern(StrEnum):
    """How zeros may lie."""

    UNSTRUCTURED = "unstructured"
    BLOCK4 = "block4"

    @property
    def width(self) -> int:
        """Neighbouring inputs of one output that are kept or dropped together."""
        return 4 if self is Pattern.BLOCK4 else 1


def pattern_named(name: str) -> Pattern:
    """Returns the pattern of a name.

    Raises:
        InputError: There is none; says which there are.
    """
    try:
        return Pattern(name)
    except ValueError as error:
        known = ", ".join(Pattern)
        raise InputError(f"pattern {name!r} is unknown; known: {known}") from error


@dataclass(frozen=True)
class Quota:
    """How much of a layer is to become zero.

    Args:
        zeros: Weights; a multiple of the pattern's width.
        pattern: How they may lie.
    """

    zeros: int
    pattern: Pattern = Pattern.UNSTRUCTURED

    @classmethod
    def of(cls, sparsity: float, weights: int, pattern: Pattern = Pattern.UNSTRUCTURED) -> Quota:
        """Returns the quota nearest to a share of a layer's weights, 0 to 1."""
        return cls(pattern.width * round(sparsity * weights / pattern.width), pattern)

    def part(self, share: float) -> Quota:
        """Returns a share of it, 0 to 1, rounded to whole units."""
        width = self.pattern.width
        return Quota(width * round(share * self.zeros / width), self.pattern)

    def split(self, parts: int) -> list[Quota]:
        """Divides it among equal parts of a layer, to within one unit."""
        units = self.zeros // self.pattern.width
        return [
            Quota(self.pattern.width * (units // parts + (index < units % parts)), self.pattern)
            for index in range(parts)
        ]


def keep_all_but(scores: Tensor, quota: Quota) -> Tensor:
    """Returns a boolean mask that drops exactly the quota, the units of the smallest sums.

    Args:
        scores: What dropping a weight costs, not negative, ``[out, in]``; ``in`` is a multiple of
            the pattern's width. A unit costs the sum of its weights.
        quota: How many weights to drop; ties are dropped in the order in which they lie.
    """
    units = _units(scores, quota.pattern)
    kept = _keep_largest(units.flatten(), quota.zeros // quota.pattern.width)
    return _weights(kept.view_as(units), quota.pattern)


def keep_in_rows_all_but(scores: Tensor, quota: Quota) -> Tensor:
    """Does the same with equal shares of the quota in every row, to within one unit.

    The units that rows cannot share equally are dropped where the next one costs least.

    Args:
        scores: As above.
        quota: Of the whole matrix.
    """
    units = _units(scores, quota.pattern)
    each, rest = divmod(quota.zeros // quota.pattern.width, len(units))
    order = units.argsort(dim=1, stable=True)
    kept = torch.ones_like(units, dtype=torch.bool)
    kept.scatter_(1, order[:, :each], False)
    if rest:
        following = units.gather(1, order[:, each : each + 1]).flatten()
        rows = following.argsort(stable=True)[:rest]
        kept[rows, order[rows, each]] = False
    return _weights(kept, quota.pattern)


def as_matrix(weight: Tensor) -> Tensor:
    """Returns a tensor of a weight's shape as a matrix ``[out, in]``, input channels last."""
    return (weight.movedim(1, -1) if weight.dim() > 2 else weight).flatten(1)


def like_weight(matrix: Tensor, weight: Tensor) -> Tensor:
    """Returns a matrix in a weight's shape; undoes ``as_matrix``."""
    if weight.dim() == 2:
        return matrix
    shape = weight.shape
    return matrix.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def fits(pattern: Pattern, weight: Tensor) -> bool:
    """Whether a weight's inputs divide into whole units."""
    return weight.shape[1] % pattern.width == 0


def kept_units(weight: Tensor, pattern: Pattern) -> Tensor:
    """Returns a boolean mask, in the weight's shape, of the units that hold anything but zeros.

    A weight that the pattern does not fit is taken weight by weight.
    """
    if pattern.width == 1 or not fits(pattern, weight):
        return weight != 0
    units = _units((as_matrix(weight) != 0).float(), pattern) > 0
    return like_weight(_weights(units, pattern), weight)


def keep_by_size(weight: Tensor, quota: Quota) -> Tensor:
    """Returns a boolean mask, in the weight's shape, that drops the smallest units."""
    return like_weight(keep_all_but(as_matrix(weight.detach()).square(), quota), weight)


def _units(scores: Tensor, pattern: Pattern) -> Tensor:
    width = pattern.width
    return scores if width == 1 else scores.unflatten(1, (-1, width)).sum(dim=2)


def _weights(units: Tensor, pattern: Pattern) -> Tensor:
    return units if pattern.width == 1 else units.repeat_interleave(pattern.width, dim=1)


def _keep_largest(values: Tensor, drop: int) -> Tensor:
    if drop == 0:
        return torch.ones_like(values, dtype=torch.bool)
    threshold = _smallest(values, drop)
    kept = values > threshold
    ties = (values == threshold).nonzero().flatten()
    kept[ties[drop - int((values < threshold).sum()) :]] = True
    return kept


def _smallest(values: Tensor, count: int) -> float:
    """Returns the ``count``-th smallest value; on a CPU numpy is several times faster."""
    if values.device.type == "cpu":
        return float(np.partition(values.detach().numpy(), count - 1)[count - 1])
    return float(values.kthvalue(count).values)
