"""Tunes a pruned block as a whole, so that its layers make up for one another.

Layer-wise solutions know nothing of the non-linear way between layers. A few steps of gradient
descent on the block's output do, for the price of the block alone: as Li et al., "BRECQ" (2021) do
after quantization, and Guo et al., "EBFT: Effective and Block-Wise Fine-Tuning for Sparse LLMs"
(2024) after pruning. Masks are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from .masks import Masks
from .walk import Call

_WARM_UP = 0.1
_EPSILON = 1e-12


@dataclass(frozen=True)
class Tuning:
    """How a block is tuned.

    Args:
        steps: Of the optimizer, each on one calibration batch.
        seed: Of the order of batches.
        learning_rate: The highest; it rises over the first tenth, and falls to nothing.
        look: Called before each step; breaks the work off by raising.
    """

    steps: int
    seed: int
    learning_rate: float = 5e-4
    look: Callable[[], None] = lambda: None

    def run(
        self, block: nn.Module, calls: Sequence[Call], wanted: Sequence[Call], masks: Masks
    ) -> None:
        """Tunes a block in place, gradients switched on for it alone.

        Args:
            block: In evaluation mode.
            calls: What it is called with, by batch.
            wanted: What it should give is the main input of these.
            masks: Of its weights.
        """
        parameters = [each for each in block.parameters() if each.requires_grad]
        optimizer = Adam(parameters, lr=self.learning_rate, betas=(0.9, 0.98))
        handle = masks.attach(optimizer)
        chance = torch.Generator().manual_seed(self.seed)
        order: list[int] = []
        for step in range(self.steps):
            self.look()
            order = order or torch.randperm(len(calls), generator=chance).tolist()
            batch = order.pop()
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * self._rate(step)
            with torch.enable_grad():
                loss = _missed(calls[batch].through(block), wanted[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        handle.remove()

    def _rate(self, step: int) -> float:
        warm = (step + 1) / max(1.0, _WARM_UP * self.steps)
        return min(1.0, warm) * (self.steps - step) / self.steps


def _missed(given: Call, wanted: Call) -> Tensor:
    """Returns the squared error of a block's output, relative to the wanted one's square."""
    assert given.hidden is not None and wanted.hidden is not None, "blocks have a main input"
    own, other = given.hidden, wanted.hidden
    if given.valid is not None:
        own, other = own[given.valid], other[given.valid]
    return (own - other).square().sum() / (other.square().sum() + _EPSILON)
