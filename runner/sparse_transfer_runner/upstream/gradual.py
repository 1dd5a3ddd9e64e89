"""Gradual magnitude pruning: zeros that grow in the course of training.

Zhu & Gupta, "To Prune, or Not to Prune" (2017): every few steps the smallest weights are dropped,
many at first and few at the end. What was dropped stays so, since masked weights are the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.patterns import Quota, keep_by_size


@dataclass(frozen=True)
class Schedule:
    """When zeros are added, and how many there are then.

    Args:
        steps: Training steps until all are there; at that step the last ones are added.
        every: Steps between two prunings.
        initial: The first one's zeros as a share of the last one's, 0 to 1.
    """

    steps: int
    every: int
    initial: float = 0.0

    def prunes_at(self, step: int) -> bool:
        """Whether zeros are added before a step, counted from 0."""
        return step == self.steps or (step < self.steps and step % self.every == 0)

    def share(self, step: int) -> float:
        """Returns the zeros at a step as a share of the last ones: a cubic that flattens out."""
        left = 1 - min(1.0, step / self.steps)
        return 1 + (self.initial - 1) * left**3


def masks_by_size(
    weights: Mapping[str, nn.Parameter], quotas: Mapping[str, Quota], share: float
) -> Masks:
    """Returns masks that drop a share of each weight's quota, its smallest units."""
    return Masks.of(
        weights,
        {name: keep_by_size(weight, quotas[name].part(share)) for name, weight in weights.items()},
    )
