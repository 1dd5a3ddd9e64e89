"""A training run of a detector: Ultralytics' loop, joined by masks, INT8 and exact checkpoints.

In place of ``training.loop.TrainingRun``, with the same arguments. The moving average that
Ultralytics keeps of the weights is what is evaluated and what ships.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparse_transfer_api.errors import InputError, OutOfMemory, Stopped
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.out_of_memory import is_out_of_memory
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.training.backend import NativeBackend
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.checkpoint import Checkpoints
from sparse_transfer_runner.training.checkpoint_files import Position
from sparse_transfer_runner.training.divergence import require_finite
from sparse_transfer_runner.training.hardware import device
from sparse_transfer_runner.training.loop import Evaluate, Phase
from sparse_transfer_runner.training.random_state import (
    random_state,
    restore_random_state,
    seed_everything,
)
from sparse_transfer_runner.use_cases.object_inputs import AUGMENTATION, EncodedObjects

from .network import Detector
from .trainer import (
    NO_AUGMENTATION,
    NO_FLIPS,
    Hooks,
    QuietTrainer,
    adamw,
    mosaics_until,
)

_LOG = logging.getLogger(__name__)
_WEIGHT_DECAY = 5e-4
"""Where the recipe does not say: Ultralytics' default."""
_POINTS = 100


@dataclass
class DetectorRun:
    """One training run, baseline or transfer.

    Args:
        phase: ``baseline`` or ``transfer``.
        model: Trained in place, on its device.
        data: The training rows.
        settings: Resolved.
        recipe: ``settings.recipe``, parsed.
        backend: What the recipe does; the loss is Ultralytics' own.
        reporter: Receives every step.
        checkpoints: Where unfinished work is kept.
        stop: Set when the run has to stop.
        evaluate: Called after each epoch; its metrics go into the curve.
        backoff: Of whole batches: Ultralytics' loop takes none apart.
    """

    phase: Phase
    model: Detector
    data: EncodedObjects
    settings: TrainingSettings
    recipe: Recipe
    backend: NativeBackend
    reporter: Reporter
    checkpoints: Checkpoints
    stop: threading.Event
    evaluate: Evaluate
    backoff: Backoff
    history: list[HistoryPoint] = field(default_factory=list)
    _done: int = field(default=0, init=False, repr=False)
    _losses: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _trainer: QuietTrainer = field(init=False, repr=False)

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
            OutOfMemory: A batch does not fit.
        """
        seed_everything(self.settings.seed)
        hooks = Hooks(self._optimizer, self._ready, self._before, self._stepped, self._after)
        with tempfile.TemporaryDirectory(prefix="ultralytics-run-") as folder:
            self._trainer = QuietTrainer(
                self.model.network, self.data, self._arguments(), hooks, Path(folder)
            )
            try:
                with suppress(_Finished):
                    self._trainer.train()
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise OutOfMemory(f"{self.phase}: {self._too_large} ({error})") from error
                raise
        self.model.network.load_state_dict(self._average.state_dict())
        # The loss holds on to the run's arguments and to the device.
        self.model.network.criterion = None
        self.model.eval()
        self.backend.check()
        return self.history

    @property
    def _too_large(self) -> str:
        return (
            f"memory does not suffice for {self.settings.batch_size} pictures at once, which "
            "detectors do not train on in parts; choose a smaller spec.training.batchSize or "
            "imageSize, or give the stage more memory"
        )

    def _arguments(self) -> dict[str, Any]:
        epochs = max(1, math.ceil(self.total_steps / self.steps_per_epoch))
        where = device()
        return {
            "task": "segment" if self.data.polygons else "detect",
            "epochs": epochs,
            "batch": self.settings.batch_size,
            "nbs": self.settings.batch_size,
            "imgsz": self.data.preprocessor.side,
            "seed": self.settings.seed,
            "device": "cpu" if where.type == "cpu" else "0",
            "close_mosaic": mosaics_until(epochs),
            **_AUGMENTATIONS[str(self.data.preprocessor.config.get(AUGMENTATION))],
        }

    def _optimizer(self) -> Optimizer:
        for name, parameter in self.model.named_parameters():
            if self.recipe.is_frozen(name):
                parameter.requires_grad_(False)
        decay = self.recipe.weight_decay
        return adamw(
            [each for each in self.model.parameters() if each.requires_grad],
            self.settings.learning_rate,
            _WEIGHT_DECAY if decay is None else decay,
        )

    @property
    def _average(self) -> Any:
        return self._trainer.ema.ema

    def _ready(self) -> None:
        self.backend.begin(self._trainer.optimizer)
        fp16 = self.settings.precision == "fp16"
        self._trainer.scaler = torch.amp.GradScaler(device().type, enabled=fp16)
        self._restore()
        batches = self._trainer.batches
        batches.epoch, batches.skip = divmod(self._done, self.steps_per_epoch)
        self._trainer.start_epoch = batches.epoch
        if self._done >= self.total_steps:
            raise _Finished

    def _before(self) -> None:
        epoch = self._done / self.steps_per_epoch
        self.backend.enter(epoch)
        # The middle of the step: a warm-up from 0 and a decay to 0 then waste no step.
        rate = self.backend.learning_rate_at(epoch + 0.5 / self.steps_per_epoch)
        if rate is not None:
            for group in self._trainer.optimizer.param_groups:
                group["lr"] = rate
        precision = "fp32" if self.backend.quantizing else self.settings.precision
        self._trainer.amp = _autocast(precision, device())

    def _stepped(self) -> None:
        # Averages of zeros are zeros; what a loaded average brings along is not taken on trust.
        average = self._average.named_parameters()
        self.backend.mask({f"network.{name}": weight for name, weight in average})

    def _after(self) -> None:
        trainer = self._trainer
        self._losses.append(trainer.loss.detach().float() / self.settings.batch_size)
        self._done += 1
        last = self._done == self.total_steps
        save = self.checkpoints.save if last else self.checkpoints.save_if_due
        save(self._position, self._state)
        self._note()
        self._look()
        trainer.stop = last

    def _note(self) -> None:
        """Adds the point of the learning curve that belongs here, unless it was added before."""
        done, epoch = self._done, self._done / self.steps_per_epoch
        ends_epoch = done % self.steps_per_epoch == 0 or done == self.total_steps
        due = ends_epoch or done % max(1, self.total_steps // _POINTS) == 0
        if due and not (self.history and self.history[-1].step == done):
            metrics = self._evaluated() if ends_epoch else {}
            rate = self.backend.learning_rate_at(epoch)
            self.history.append(
                HistoryPoint(
                    phase=self.phase,
                    step=done,
                    epoch=round(epoch, 4),
                    loss=float(torch.stack(self._losses).mean()),
                    learning_rate=self.settings.learning_rate if rate is None else rate,
                    quantizing=self.backend.quantizing,
                    metrics=metrics,
                )
            )
            self._losses.clear()
        latest = self.history[-1] if self.history else None
        shown = {"loss": latest.loss} if latest and latest.loss is not None else {}
        self.reporter.step(done, epoch=round(epoch, 3), metrics=shown)

    def _evaluated(self) -> dict[str, float]:
        where = f"{self.phase}, step {self._done} of {self.total_steps}"
        require_finite(self.model, where, self.settings.learning_rate)
        self.backend.check()
        try:
            with self._averaged():
                metrics = self.evaluate(self._interrupt)
        except _Interrupted:
            self._look()
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"{self.phase}: memory does not suffice to score pictures beside the training; "
                f"choose a smaller spec.training.imageSize, or give the stage more memory ({error})"
            ) from error
        self.model.train()
        return metrics

    def _interrupt(self) -> None:
        """Breaks an evaluation off where the run has to end, so that own weights can be saved."""
        self.checkpoints.look()
        if self.stop.is_set():
            raise _Interrupted

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Puts the moving average in the trained weights' place for a while."""
        network = self.model.network
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self._average.state_dict())
        try:
            yield
        finally:
            network.load_state_dict(own)

    def _look(self) -> None:
        """Ends the run where it has to end.

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
    def _position(self) -> Position:
        return Position("step", self._done)

    def _state(self) -> dict[str, Any]:
        trainer = self._trainer
        return {
            "step": self._done,
            "model": dict(self.model.network.state_dict()),
            "average": dict(self._average.state_dict()),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "backend": self.backend.state_dict(),
            "random": random_state(),
            "losses": torch.stack(self._losses) if self._losses else torch.zeros(0),
            "history": [point.model_dump_json() for point in self.history],
        }

    def _restore(self) -> None:
        saved = self.checkpoints.take("step")
        if saved is None:
            return
        state, trainer = saved.state, self._trainer
        self._done = state["step"]
        self.backend.load_state_dict(state["backend"])
        self.model.network.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        trainer.ema.updates = state["updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])
        self._losses[:] = state["losses"].to(device()).unbind()
        self.history[:] = [HistoryPoint.model_validate_json(text) for text in state["history"]]
        _LOG.info("%s goes on at step %d, from %s", self.phase, self._done, saved.uri)
        # An evaluation that was cut short is made up for.
        self._note()


def _autocast(precision: str, where: torch.device) -> bool | torch.dtype:
    """Returns what Ultralytics' loop takes its arithmetic from: it closes any context around it.

    Raises:
        InputError: The device does not know it.
    """
    if precision == "fp32":
        return False
    if precision == "fp16":
        return torch.float16
    if where.type == "cpu":
        return True  # what autocast computes in there; by its name, Ultralytics takes GPUs alone
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            "spec.training.precision: Bf16, which this GPU does not compute in; expected Fp16 or "
            "Fp32"
        )
    return torch.bfloat16


class _Finished(Exception):
    """An earlier attempt trained to the end."""


class _Interrupted(Exception):
    """An evaluation was broken off; never leaves the run, whose weights are its own again."""


_AUGMENTATIONS: dict[str, dict[str, float]] = {
    "CropAndFlip": {},
    "Crop": NO_FLIPS,
    "None": NO_AUGMENTATION,
}
"""What ``spec.training.augmentation`` stands for; nothing changed is all that Ultralytics does."""
