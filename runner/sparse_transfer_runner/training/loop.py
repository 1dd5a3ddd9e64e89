"""The training loop: one screen on torch, since precision changes and resume must be exact.

The same rows in the same order give the same weights, stopped and resumed or not: the order of
batches and the learning rate are functions of seed and step, and a checkpoint holds all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from sparse_transfer_runner.out_of_memory import release_memory
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.use_cases.protocol import AugmentedSplit, Batch, EncodedSplit

from .accumulation import Accumulation
from .batches import length_bucketed
from .divergence import require_finite
from .hardware import device, precision_context, to_tensors
from .random_state import seed_everything
from .stepped_run import SteppedRun

_MAX_GRADIENT_NORM = 1.0
_WEIGHT_DECAY = 0.01
"""Where the recipe does not say: the usual value for transformers (Devlin et al., 2018)."""


def lengths_of(data: EncodedSplit) -> list[int]:
    """Returns each row's length, in tokens; equal for inputs without length."""
    return [int(length) for length in data.lengths]


def training_batch(data: EncodedSplit, rows: Sequence[int], seed: int, epoch: int) -> Batch:
    """Returns rows as an epoch of training sees them."""
    if isinstance(data, AugmentedSplit):
        return data.augmented(rows, seed=seed, epoch=epoch)
    return data.collate(rows)


@dataclass
class TrainingRun(SteppedRun):
    """A run of the project's own loop."""

    _batches: tuple[int, list[list[int]]] | None = field(default=None, init=False, repr=False)

    @cached_property
    def lengths(self) -> list[int]:
        """Of the training rows, in tokens."""
        return lengths_of(self.data)

    def fit(self) -> list[HistoryPoint]:
        """Trains to the end; see ``SteppedRun``."""
        seed_everything(self.settings.seed)
        self._freeze()
        self._optimizer = self._new_optimizer()
        self._scaler = self._new_scaler()
        self.backend.begin(self._optimizer)
        self._restore()
        self.model.train()
        while self._done < self.total_steps:
            self._leave_step(self._step())
        self.model.eval()
        self._release()
        self.backend.check()
        return self.history

    def _step(self) -> Tensor:
        optimizer, scaler = self._optimizer, self._scaler
        loss = self._gradients(self._enter_step())
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        scaler.step(optimizer)
        scaler.update()
        return loss

    def _gradients(self, precision: str) -> Tensor:
        """Leaves the step's gradients in the parameters; returns its loss."""
        epoch, position = divmod(self._done, self.steps_per_epoch)

        def read(rows: Sequence[int]) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
            targets = torch.as_tensor(self.data.targets[rows], device=device())
            batch = training_batch(self.data, rows, self.settings.seed, epoch)
            return to_tensors(batch), targets, torch.as_tensor(rows, device=device())

        accumulation = Accumulation(
            self.model, self.backend, self._scaler, self.backoff, self.lengths, self.data.targets
        )
        return accumulation.gradients(
            self._epoch_batches(epoch)[position],
            read,
            lambda: precision_context(precision),
            f"{self.phase}, step {self._done + 1} of {self.total_steps}",
        )

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        if self._batches is None or self._batches[0] != epoch:
            batches = length_bucketed(
                self.lengths, self.settings.batch_size, seed=self.settings.seed, epoch=epoch
            )
            self._batches = (epoch, batches)
        return self._batches[1]

    def _release(self) -> None:
        """Makes room for what comes after the steps, where they nearly filled the memory."""
        if self.backoff.halvings:
            self.backend.forget()
            self.model.zero_grad(set_to_none=True)
            release_memory()

    def _evaluated(self) -> dict[str, float]:
        self.model.eval()
        self._release()
        require_finite(self.model, self._where, self.settings.learning_rate)
        self.backend.check()
        metrics = self.evaluate(self._look)
        self.model.train()
        return metrics

    def _new_optimizer(self) -> AdamW:
        decay = self.recipe.weight_decay
        return AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=self.settings.learning_rate,
            weight_decay=_WEIGHT_DECAY if decay is None else decay,
            fused=True,
        )

    def _weights(self) -> dict[str, Any]:
        return {"model": dict(self.model.state_dict())}

    def _put_back(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.model.train()
