"""The training loop: one screen on torch, since precision changes and resume must be exact.

The same rows in the same order give the same weights, stopped and resumed or not: the order of
batches is a function of seed and epoch, and a checkpoint holds everything else.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from sparse_transfer_api.errors import Stopped
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.use_cases.protocol import Batch, EncodedSplit

from .backend import Backend
from .batches import length_bucketed
from .checkpoint import Checkpoints

_MAX_GRADIENT_NORM = 1.0
_WEIGHT_DECAY = 0.01
"""Where the recipe does not say: the usual value for transformers (Devlin et al., 2018)."""
_POINTS = 100
"""Points of a learning curve, whatever the number of steps."""
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

Phase = Literal["baseline", "transfer"]
Evaluate = Callable[[], dict[str, float]]


def device() -> torch.device:
    """Returns the device to train on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_context(precision: str) -> AbstractContextManager[Any]:
    """Returns the context in which a forward pass computes at the given precision."""
    dtype = _AUTOCAST.get(precision)
    return torch.autocast(device().type, dtype) if dtype else nullcontext()


def seed_everything(seed: int) -> None:
    """Seeds every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def to_tensors(batch: Batch) -> dict[str, Tensor]:
    """Moves a batch to the training device."""
    return {name: torch.as_tensor(values, device=device()) for name, values in batch.items()}


def lengths_of(data: EncodedSplit) -> list[int]:
    """Returns each row's length, in elements of its first input."""
    return [len(next(iter(row.values()))) for row in data.features]


@dataclass
class TrainingRun:
    """One training run, baseline or transfer.

    Args:
        phase: ``baseline`` or ``transfer``.
        model: Trained in place, on its device.
        data: The training rows.
        settings: Resolved.
        recipe: ``settings.recipe``, parsed.
        backend: What the recipe does.
        reporter: Receives every step.
        checkpoints: Where unfinished work is kept.
        stop: Set when the run has to stop.
        checkpoint_interval_seconds: Between two checkpoints.
        evaluate: Called after each epoch; its metrics go into the curve.
    """

    phase: Phase
    model: nn.Module
    data: EncodedSplit
    settings: TrainingSettings
    recipe: Recipe
    backend: Backend
    reporter: Reporter
    checkpoints: Checkpoints
    stop: threading.Event
    checkpoint_interval_seconds: float
    evaluate: Evaluate
    history: list[HistoryPoint] = field(default_factory=list)
    _batches: tuple[int, list[list[int]]] | None = field(default=None, init=False, repr=False)
    _losses: list[Tensor] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def lengths(self) -> list[int]:
        """Of the training rows, in elements of their first input."""
        return lengths_of(self.data)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the data."""
        return math.ceil(len(self.data) / self.settings.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return max(1, round(self.settings.epochs * self.steps_per_epoch))

    def fit(self) -> list[HistoryPoint]:
        """Trains to the end, from the newest checkpoint where there is one.

        Returns:
            The learning curve, also of the part before a resume.

        Raises:
            Stopped: A stop was asked for; a checkpoint was written.
        """
        seed_everything(self.settings.seed)
        self._recipe_freezes()
        optimizer = self._optimizer()
        scaler = torch.amp.GradScaler(device().type, enabled=self.settings.precision == "fp16")
        self.backend.begin(optimizer)
        done = self._restore(optimizer)
        saved_at = time.monotonic()
        self.model.train()
        while done < self.total_steps:
            self._losses.append(self._step(done, optimizer, scaler))
            done += 1
            self._note(done)
            if self.stop.is_set():
                self._save(done, optimizer)
                raise Stopped(
                    f"{self.phase} stopped at step {done} of {self.total_steps}; checkpoint "
                    "written, the same command resumes"
                )
            if time.monotonic() - saved_at >= self.checkpoint_interval_seconds:
                self._save(done, optimizer)
                saved_at = time.monotonic()
        self.model.eval()
        self.backend.check()
        return self.history

    def _step(self, step: int, optimizer: AdamW, scaler: torch.amp.GradScaler) -> Tensor:
        epoch = step / self.steps_per_epoch
        self.backend.enter(epoch)
        # The middle of the step: a warm-up from 0 and a decay to 0 then waste no step.
        rate = self.recipe.learning_rate_at(epoch + 0.5 / self.steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets, rows = self._batch(step)
        precision = "fp32" if self.backend.quantizing else self.settings.precision
        with precision_context(precision):
            loss = self.backend.loss(inputs, targets, rows)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    def _batch(self, step: int) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
        epoch, position = divmod(step, self.steps_per_epoch)
        rows = self._epoch_batches(epoch)[position]
        targets = torch.as_tensor(self.data.targets[rows], device=device())
        return to_tensors(self.data.collate(rows)), targets, torch.as_tensor(rows, device=device())

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        if self._batches is None or self._batches[0] != epoch:
            batches = length_bucketed(
                self.lengths, self.settings.batch_size, seed=self.settings.seed, epoch=epoch
            )
            self._batches = (epoch, batches)
        return self._batches[1]

    def _note(self, done: int) -> None:
        epoch = done / self.steps_per_epoch
        ends_epoch = done % self.steps_per_epoch == 0 or done == self.total_steps
        if ends_epoch or done % max(1, self.total_steps // _POINTS) == 0:
            loss = float(torch.stack(self._losses).mean())
            self._losses.clear()
            self.history.append(
                HistoryPoint(
                    phase=self.phase,
                    step=done,
                    epoch=round(epoch, 4),
                    loss=loss,
                    learning_rate=self.recipe.learning_rate_at(epoch),
                    quantizing=self.backend.quantizing,
                    metrics=self._evaluated() if ends_epoch else {},
                )
            )
        latest = self.history[-1] if self.history else None
        metrics = {"loss": latest.loss} if latest and latest.loss is not None else {}
        self.reporter.step(done, epoch=round(epoch, 3), metrics=metrics)

    def _evaluated(self) -> dict[str, float]:
        self.model.eval()
        self.backend.check()
        metrics = self.evaluate()
        self.model.train()
        return metrics

    def _recipe_freezes(self) -> None:
        for name, parameter in self.model.named_parameters():
            if self.recipe.is_frozen(name):
                parameter.requires_grad_(False)

    def _optimizer(self) -> AdamW:
        decay = self.recipe.weight_decay
        return AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=self.settings.learning_rate,
            weight_decay=_WEIGHT_DECAY if decay is None else decay,
            fused=True,
        )

    def _save(self, done: int, optimizer: AdamW) -> None:
        self.checkpoints.save(
            done,
            {
                "step": done,
                "model": self.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "backend": self.backend.state_dict(),
                "random": torch.get_rng_state(),
                "losses": self._losses,
                "history": [point.model_dump_json() for point in self.history],
            },
        )

    def _restore(self, optimizer: AdamW) -> int:
        state = self.checkpoints.newest()
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        self.backend.load_state_dict(state["backend"])
        torch.set_rng_state(state["random"])
        self._losses[:] = state["losses"]
        self.history[:] = [HistoryPoint.model_validate_json(text) for text in state["history"]]
        step: int = state["step"]
        return step
