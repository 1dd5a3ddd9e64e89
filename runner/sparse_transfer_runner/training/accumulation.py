"""An optimizer's batch in micro-batches, as many as memory asks for.

Gradients are summed over the micro-batches and the optimizer takes one step, so that batch, number
of steps and recipe stay what they were. The losses are means; each micro-batch's is multiplied by
its share of what the mean is taken over, so that the sum is the whole batch's loss but for
rounding. What looks at a batch as a whole does not split so: batch norms normalize by the
micro-batch, and learned INT8 ranges are observed on each. Both are told its share, so that a batch
still moves their running figures as far as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparse_transfer_runner.out_of_memory import is_out_of_memory, release_memory

from .backend import Backend
from .backoff import Backoff
from .shares import Share, shares

Read = Callable[[Sequence[int]], tuple[Mapping[str, Tensor], Tensor, Tensor]]
"""Returns inputs, targets and numbers of rows, on the device."""


@dataclass(frozen=True)
class Accumulation:
    """Computes the gradients of an optimizer's batch.

    Args:
        model: The model that is trained.
        backend: Says the loss.
        scaler: Of the gradients.
        backoff: How far batches are taken apart; changed where memory runs out.
        lengths: Of the training rows, in tokens.
        targets: Of the training rows.
    """

    model: nn.Module
    backend: Backend
    scaler: torch.amp.GradScaler
    backoff: Backoff
    lengths: Sequence[int]
    targets: NDArray[Any]

    def gradients(
        self,
        rows: Sequence[int],
        read: Read,
        precision: Callable[[], AbstractContextManager[Any]],
        where: str,
    ) -> Tensor:
        """Leaves the batch's gradients in the parameters, scaled; returns its loss, a scalar.

        Where memory runs out, the same rows are tried again in twice as many micro-batches.

        Args:
            rows: The batch.
            read: Reads a micro-batch.
            precision: Returns the context of a forward pass.
            where: The place in training, for messages.

        Raises:
            OutOfMemory: The smallest micro-batch does not fit either.
        """
        put_back = self._figures()
        while True:
            parts = self.backoff.parts(rows, self._least)
            try:
                return self._accumulated(parts, read, precision)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                why = str(error) or type(error).__name__
            # Only here is the error gone, whose traceback holds the step's tensors.
            self.backend.forget()
            self.model.zero_grad(set_to_none=True)
            release_memory()
            put_back()
            self.backoff.halve(max(map(len, parts)), self._least, where, why)

    def _accumulated(
        self,
        parts: Sequence[Sequence[int]],
        read: Read,
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> Tensor:
        self.model.zero_grad(set_to_none=True)
        if len(parts) > 1:
            with precision():
                self.backend.measure(read(part)[0] for part in parts)
        losses = []
        for part, share in zip(parts, self._shares(parts), strict=True):
            with self._batch_norms_counting(share.rows):
                inputs, targets, numbers = read(part)
                with precision():
                    loss = self.backend.loss(inputs, targets, numbers, share)
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _figures(self) -> Callable[[], None]:
        """Returns what puts the running figures back to what they are now.

        Forward passes move them, those of a batch that is tried again too. Batch norms and
        SparseML's observers keep theirs in buffers, which are small.
        """
        kept = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        put_back = self.backend.figures()

        def back() -> None:
            with torch.no_grad():
                for buffer, was in kept:
                    # Observers of channels have no shape before the first batch.
                    buffer.resize_(was.shape).copy_(was)
            put_back()

        return back

    def _shares(self, parts: Sequence[Sequence[int]]) -> list[Share]:
        return shares(
            [self.targets[np.asarray(part)] for part in parts],
            [sum(self.lengths[row] for row in part) for part in parts],
        )

    @property
    def _least(self) -> int:
        """Rows that a micro-batch has to have: one row alone cannot be normalized."""
        return 2 if any(norm.training for norm in self._batch_norms()) else 1

    def _batch_norms(self) -> Iterator[_BatchNorm]:
        return (module for module in self.model.modules() if isinstance(module, _BatchNorm))

    @contextmanager
    def _batch_norms_counting(self, share: float) -> Iterator[None]:
        """Has batch norms move their running figures by a share of what a batch moves them."""
        own = [(norm, norm.momentum) for norm in self._batch_norms()] if share < 1 else []
        for norm, momentum in own:
            norm.momentum = None if momentum is None else 1 - (1 - momentum) ** share
        try:
            yield
        finally:
            for norm, momentum in own:
                norm.momentum = momentum
