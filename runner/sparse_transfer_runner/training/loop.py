"""The training loop: one screen on torch, since precision changes and resume must be exact.

The same rows in the same order give the same weights, stopped and resumed or not: the order of
batches and the learning rate are functions of seed and step, and a checkpoint holds all the rest.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from sparse_transfer_api.errors import Stopped
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.out_of_memory import release_memory
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.use_cases.protocol import AugmentedSplit, Batch, EncodedSplit

from .accumulation import Accumulation
from .backend import Backend
from .backoff import Backoff
from .batches import length_bucketed
from .checkpoint import Checkpoints
from .checkpoint_files import Position
from .divergence import require_finite
from .hardware import device, precision_context, to_tensors
from .random_state import random_state, restore_random_state, seed_everything

_LOG = logging.getLogger(__name__)
_MAX_GRADIENT_NORM = 1.0
_WEIGHT_DECAY = 0.01
"""Where the recipe does not say: the usual value for transformers (Devlin et al., 2018)."""
_POINTS = 100
"""Points of a learning curve, whatever the number of steps."""

Phase = Literal["baseline", "transfer"]
Evaluate = Callable[[Callable[[], None]], dict[str, float]]
"""Returns metrics, calling what it is given between two batches."""


def lengths_of(data: EncodedSplit) -> list[int]:
    """Returns each row's length, in tokens; equal for inputs without length."""
    return [int(length) for length in data.lengths]


def training_batch(data: EncodedSplit, rows: Sequence[int], seed: int, epoch: int) -> Batch:
    """Returns rows as an epoch of training sees them."""
    if isinstance(data, AugmentedSplit):
        return data.augmented(rows, seed=seed, epoch=epoch)
    return data.collate(rows)


def steps_per_epoch(rows: int, settings: TrainingSettings) -> int:
    """Returns the optimizer steps of one pass over so many rows."""
    return math.ceil(rows / settings.batch_size)


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
        evaluate: Called after each epoch; its metrics go into the curve.
        backoff: How far batches are taken apart, for want of memory.
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
    evaluate: Evaluate
    backoff: Backoff
    history: list[HistoryPoint] = field(default_factory=list)
    _batches: tuple[int, list[list[int]]] | None = field(default=None, init=False, repr=False)
    _losses: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _optimizer: AdamW = field(init=False, repr=False)
    _scaler: torch.amp.GradScaler = field(init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)

    @cached_property
    def lengths(self) -> list[int]:
        """Of the training rows, in tokens."""
        return lengths_of(self.data)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the data."""
        return steps_per_epoch(len(self.data), self.settings)

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
        self._optimizer = self._new_optimizer()
        fp16 = self.settings.precision == "fp16"
        self._scaler = torch.amp.GradScaler(device().type, enabled=fp16)
        self.backend.begin(self._optimizer)
        self._restore()
        self.model.train()
        while self._done < self.total_steps:
            self._losses.append(self._step(self._done))
            self._done += 1
            # Before the evaluation, which may take longer than an interval; one that is cut short
            # is repeated.
            self._save_where_due()
            self._note()
            self._look()
        self.model.eval()
        self._release()
        self.backend.check()
        return self.history

    def _step(self, step: int) -> Tensor:
        optimizer, scaler = self._optimizer, self._scaler
        epoch = step / self.steps_per_epoch
        self.backend.enter(epoch)
        # The middle of the step: a warm-up from 0 and a decay to 0 then waste no step.
        rate = self.backend.learning_rate_at(epoch + 0.5 / self.steps_per_epoch)
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss = self._gradients(step)
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        scaler.step(optimizer)
        scaler.update()
        return loss

    def _gradients(self, step: int) -> Tensor:
        """Leaves the step's gradients in the parameters; returns its loss."""
        epoch, position = divmod(step, self.steps_per_epoch)

        def read(rows: Sequence[int]) -> tuple[Mapping[str, Tensor], Tensor, Tensor]:
            targets = torch.as_tensor(self.data.targets[rows], device=device())
            batch = training_batch(self.data, rows, self.settings.seed, epoch)
            return to_tensors(batch), targets, torch.as_tensor(rows, device=device())

        precision = "fp32" if self.backend.quantizing else self.settings.precision
        accumulation = Accumulation(
            self.model, self.backend, self._scaler, self.backoff, self.lengths, self.data.targets
        )
        return accumulation.gradients(
            self._epoch_batches(epoch)[position],
            read,
            lambda: precision_context(precision),
            f"{self.phase}, step {step + 1} of {self.total_steps}",
        )

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        if self._batches is None or self._batches[0] != epoch:
            batches = length_bucketed(
                self.lengths, self.settings.batch_size, seed=self.settings.seed, epoch=epoch
            )
            self._batches = (epoch, batches)
        return self._batches[1]

    def _note(self) -> None:
        """Adds the point of the learning curve that belongs here, unless it was added before."""
        done, epoch = self._done, self._done / self.steps_per_epoch
        ends_epoch = done % self.steps_per_epoch == 0 or done == self.total_steps
        due = ends_epoch or done % max(1, self.total_steps // _POINTS) == 0
        if due and not (self.history and self.history[-1].step == done):
            metrics = self._evaluated() if ends_epoch else {}
            self.history.append(
                HistoryPoint(
                    phase=self.phase,
                    step=done,
                    epoch=round(epoch, 4),
                    loss=float(torch.stack(self._losses).mean()),
                    learning_rate=self._learning_rate(epoch),
                    quantizing=self.backend.quantizing,
                    micro_batch=self._micro_batch,
                    metrics=metrics,
                )
            )
            self._losses.clear()
        latest = self.history[-1] if self.history else None
        shown = {"loss": latest.loss} if latest and latest.loss is not None else {}
        if self._micro_batch is not None:
            shown["microBatch"] = self._micro_batch
        self.reporter.step(done, epoch=round(epoch, 3), metrics=shown)

    @property
    def _micro_batch(self) -> int | None:
        """Rows that are worked on at once; None while batches are whole."""
        rows = self.backoff.micro_batch
        return rows if rows < self.settings.batch_size else None

    def _learning_rate(self, epoch: float) -> float:
        rate = self.backend.learning_rate_at(epoch)
        return float(self._optimizer.param_groups[0]["lr"]) if rate is None else rate

    def _release(self) -> None:
        """Makes room for what comes after the steps, where they nearly filled the memory."""
        if self.backoff.halvings:
            self.backend.forget()
            self.model.zero_grad(set_to_none=True)
            release_memory()

    def _evaluated(self) -> dict[str, float]:
        self.model.eval()
        self._release()
        where = f"{self.phase}, step {self._done} of {self.total_steps}"
        require_finite(self.model, where, self.settings.learning_rate)
        self.backend.check()
        metrics = self.evaluate(self._look)
        self.model.train()
        return metrics

    def _look(self) -> None:
        """Ends the run where it has to end; called after each step, and within evaluations.

        Raises:
            Stopped: A stop was asked for; a checkpoint was written.
            SparseTransferError: A checkpoint could not be written.
        """
        self.checkpoints.look()
        if self.stop.is_set():
            self.checkpoints.save_now(self._position, self._state)
            raise Stopped(
                f"{self.phase} stopped at step {self._done} of {self.total_steps}; checkpoint "
                "written, the same command resumes"
            )

    def _recipe_freezes(self) -> None:
        for name, parameter in self.model.named_parameters():
            if self.recipe.is_frozen(name):
                parameter.requires_grad_(False)

    def _new_optimizer(self) -> AdamW:
        decay = self.recipe.weight_decay
        return AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=self.settings.learning_rate,
            weight_decay=_WEIGHT_DECAY if decay is None else decay,
            fused=True,
        )

    @property
    def _position(self) -> Position:
        return Position("step", self._done)

    def _save_where_due(self) -> None:
        # The last step's is what evaluating and writing the model, which come next, start from.
        last = self._done == self.total_steps
        save = self.checkpoints.save if last else self.checkpoints.save_if_due
        save(self._position, self._state)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._done,
            "halvings": self.backoff.halvings,
            "model": dict(self.model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "backend": self.backend.state_dict(),
            "random": random_state(),
            "losses": torch.stack(self._losses) if self._losses else torch.zeros(0),
            "history": [point.model_dump_json() for point in self.history],
        }

    def _restore(self) -> None:
        saved = self.checkpoints.take("step")
        if saved is None:
            return
        state = saved.state
        self._done = state["step"]
        # Checkpoints from before batches could be taken apart are of whole ones.
        self.backoff.resume(state.get("halvings", 0))
        # The backend first: one that quantizes may rename the model's modules for it.
        self.backend.load_state_dict(state["backend"])
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])
        self._losses[:] = state["losses"].to(device()).unbind()
        self.history[:] = [HistoryPoint.model_validate_json(text) for text in state["history"]]
        _LOG.info("%s goes on at step %d, from %s", self.phase, self._done, saved.uri)
        self.model.train()
        # An evaluation that was cut short is made up for.
        self._note()
