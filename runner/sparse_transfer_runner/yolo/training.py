"""A training run of a detector: Ultralytics' loop, joined by masks, INT8 and exact checkpoints.

In place of ``training.loop``, with the same arguments. The moving average that
Ultralytics keeps of the weights is what is evaluated and what ships.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from sparse_transfer_api.errors import InputError, OutOfMemory
from sparse_transfer_runner.out_of_memory import is_out_of_memory
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.training.backend import NativeBackend
from sparse_transfer_runner.training.divergence import require_finite
from sparse_transfer_runner.training.hardware import device
from sparse_transfer_runner.training.random_state import seed_everything
from sparse_transfer_runner.training.stepped_run import SteppedRun
from sparse_transfer_runner.use_cases.object_inputs import AUGMENTATION, EncodedObjects

from .distillation import FollowingLoss
from .network import Detector
from .trainer import (
    NO_AUGMENTATION,
    NO_FLIPS,
    Hooks,
    QuietTrainer,
    adamw,
    mosaics_until,
)

_WEIGHT_DECAY = 5e-4
"""Where the recipe does not say: Ultralytics' default."""


@dataclass
class DetectorRun(SteppedRun):
    """A run of Ultralytics' loop, whose loss is Ultralytics' own, and a teacher's beside it.

    Args:
        model: As in ``SteppedRun``.
        data: Likewise.
        backend: Likewise.
        backoff: Of whole batches: Ultralytics' loop takes none apart.
    """

    model: Detector
    data: EncodedObjects
    backend: NativeBackend
    _trainer: QuietTrainer = field(init=False, repr=False)

    def fit(self) -> list[HistoryPoint]:
        """Trains to the end; see ``SteppedRun``."""
        seed_everything(self.settings.seed)
        hooks = Hooks(self._new_optimizer, self._ready, self._before, self._stepped, self._after)
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
        epochs = max(1, -(-self.total_steps // self.steps_per_epoch))
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

    def _new_optimizer(self) -> Optimizer:
        self._freeze()
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
        self._optimizer = self._trainer.optimizer
        self._trainer.scaler = self._scaler = self._new_scaler()
        self.backend.begin(self._optimizer)
        self._follow()
        self._restore()
        batches = self._trainer.batches
        batches.epoch, batches.skip = divmod(self._done, self.steps_per_epoch)
        self._trainer.start_epoch = batches.epoch
        if self._done >= self.total_steps:
            raise _Finished

    def _follow(self) -> None:
        """Puts the teacher into Ultralytics' loss, where there is one."""
        teacher, network = self.backend.teacher, self.model.network
        if teacher is not None:
            assert isinstance(teacher, Detector)
            network.criterion = FollowingLoss(
                network.init_criterion(), teacher, lambda: self.backend.soft
            )

    def _before(self) -> None:
        self._trainer.amp = _autocast(self._enter_step(), device())

    def _stepped(self) -> None:
        # Averages of zeros are zeros; what a loaded average brings along is not taken on trust.
        average = self._average.named_parameters()
        self.backend.mask({f"network.{name}": weight for name, weight in average})

    def _after(self) -> None:
        self._leave_step(self._trainer.loss.detach().float() / self.settings.batch_size)
        self._trainer.stop = self._done == self.total_steps

    def _evaluated(self) -> dict[str, float]:
        require_finite(self.model, self._where, self.settings.learning_rate)
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

    def _weights(self) -> dict[str, Any]:
        return {
            "model": dict(self.model.network.state_dict()),
            "average": dict(self._average.state_dict()),
            "updates": self._trainer.ema.updates,
        }

    def _put_back(self, state: Mapping[str, Any]) -> None:
        self.model.network.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        self._trainer.ema.updates = state["updates"]


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
