"""What training runs have in common, whoever's loop steps: clock, learning curve, stops, resume.

The loops are in ``training.loop`` and ``yolo.training``.
"""

from __future__ import annotations

import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparse_transfer_api.errors import Stopped
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

from .backend import Backend
from .backoff import Backoff
from .checkpoint import Checkpoints
from .checkpoint_files import Position
from .hardware import device
from .random_state import random_state, restore_random_state

_LOG = logging.getLogger(__name__)
_POINTS = 100
"""Points of a learning curve, whatever the number of steps."""

Phase = Literal["baseline", "transfer"]
Evaluate = Callable[[Callable[[], None]], dict[str, float]]
"""Returns metrics, calling what it is given between two batches."""


def steps_per_epoch(rows: int, settings: TrainingSettings) -> int:
    """Returns the optimizer steps of one pass over so many rows."""
    return math.ceil(rows / settings.batch_size)


@dataclass
class SteppedRun(ABC):
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
    _losses: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _optimizer: Optimizer = field(init=False, repr=False)
    _scaler: torch.amp.GradScaler = field(init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the data."""
        return steps_per_epoch(len(self.data), self.settings)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return max(1, round(self.settings.epochs * self.steps_per_epoch))

    @abstractmethod
    def fit(self) -> list[HistoryPoint]:
        """Trains to the end, from the newest checkpoint where there is one.

        Returns:
            The learning curve, also of the part before a resume.

        Raises:
            Stopped: A stop was asked for; a checkpoint was written.
            OutOfMemory: A step does not fit.
        """

    @abstractmethod
    def _evaluated(self) -> dict[str, float]:
        """Returns the metrics of what would ship now."""

    @abstractmethod
    def _weights(self) -> dict[str, Any]:
        """Returns what a checkpoint needs of the model."""

    @abstractmethod
    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Restores ``_weights``' content."""

    def _freeze(self) -> None:
        for name, parameter in self.model.named_parameters():
            if self.recipe.is_frozen(name):
                parameter.requires_grad_(False)

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(device().type, enabled=self.settings.precision == "fp16")

    def _enter_step(self) -> str:
        """Sets recipe and learning rate to the step that begins; returns its precision."""
        epoch = self._done / self.steps_per_epoch
        self.backend.enter(epoch)
        # The middle of the step: a warm-up from 0 and a decay to 0 then waste no step.
        rate = self.backend.learning_rate_at(epoch + 0.5 / self.steps_per_epoch)
        if rate is not None:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
        return "fp32" if self.backend.quantizing else self.settings.precision

    def _leave_step(self, loss: Tensor) -> None:
        """Counts a step and looks after all that is due.

        Raises:
            Stopped: A stop was asked for; a checkpoint was written.
            SparseTransferError: A checkpoint could not be written.
        """
        self._losses.append(loss)
        self._done += 1
        # Before the evaluation, which may take longer than an interval; one that is cut short is
        # repeated. The last step's is what evaluating and writing the model start from.
        last = self._done == self.total_steps
        save = self.checkpoints.save if last else self.checkpoints.save_if_due
        save(self._position, self._state)
        self._note()
        self._look()

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

    @property
    def _where(self) -> str:
        return f"{self.phase}, step {self._done} of {self.total_steps}"

    @property
    def _position(self) -> Position:
        return Position("step", self._done)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._done,
            "halvings": self.backoff.halvings,
            **self._weights(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "backend": self.backend.state_dict(),
            "random": random_state(),
            "losses": torch.stack(self._losses) if self._losses else torch.zeros(0),
            "history": [point.model_dump_json() for point in self.history],
        }

    def _restore(self) -> None:
        """Goes to where the newest checkpoint was written, if there is one."""
        saved = self.checkpoints.take("step")
        if saved is None:
            return
        state = saved.state
        self._done = state["step"]
        # Checkpoints from before batches could be taken apart are of whole ones.
        self.backoff.resume(state.get("halvings", 0))
        # The backend first: one that quantizes may rename the model's modules for it.
        self.backend.load_state_dict(state["backend"])
        self._put_back(state)
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])
        self._losses[:] = state["losses"].to(device()).unbind()
        self.history[:] = [HistoryPoint.model_validate_json(text) for text in state["history"]]
        _LOG.info("%s goes on at step %d, from %s", self.phase, self._done, saved.uri)
        # An evaluation that was cut short is made up for.
        self._note()
