"""Ultralytics' trainer, its loop kept and all that reaches outside of it taken away.

What it would download, write or decide by itself (caches, pickles, plots, a validation of its own,
a smaller batch) is the stage's business here. Its loss, its augmentation, its moving average of the
weights and its order of work are what is used of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from sparse_transfer_api.errors import OutOfMemory
from sparse_transfer_runner.use_cases.object_inputs import EncodedObjects

from .dataset import Batches, ObjectDataset
from .library import require_ultralytics

require_ultralytics()
from ultralytics.models.yolo.detect.train import DetectionTrainer  # noqa: E402

NO_AUGMENTATION = {
    "mosaic": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0,
    "hsv_v": 0.0, "erasing": 0.0,
}  # fmt: skip
NO_FLIPS = {"fliplr": 0.0}
_LAST_EPOCHS = 0.1
"""Share of the epochs, at the end, that see whole pictures rather than mosaics of four."""


@dataclass(frozen=True)
class Hooks:
    """Where the trainer asks the run.

    Args:
        optimizer: Makes the optimizer.
        ready: All is built; what an earlier attempt left can be put back.
        before: A step begins.
        stepped: The optimizer has stepped, and the moving average has followed.
        after: A step is done.
    """

    optimizer: Callable[[], Optimizer]
    ready: Callable[[], None]
    before: Callable[[], None]
    stepped: Callable[[], None]
    after: Callable[[], None]


class QuietTrainer(DetectionTrainer):
    """A training run of Ultralytics.

    Args:
        network: Trained in place.
        rows: To train on.
        settings: Of the run, as Ultralytics' arguments.
        hooks: Called on the way.
        folder: Where it may write; what it writes there is of no use.
    """

    def __init__(
        self,
        network: Any,
        rows: EncodedObjects,
        settings: dict[str, Any],
        hooks: Hooks,
        folder: Path,
    ) -> None:
        self._rows = rows
        self._hooks = hooks
        self._batches: Batches | None = None
        threads = torch.get_num_threads()
        super().__init__(overrides={**_FIXED, **settings, "project": str(folder), "name": "run"})
        # Ultralytics takes one processor less than there are.
        torch.set_num_threads(threads)
        self.model = network
        self.callbacks.clear()
        for event, hook in (
            ("on_pretrain_routine_end", hooks.ready),
            ("on_train_batch_start", hooks.before),
            ("on_train_batch_end", hooks.after),
        ):
            self.add_callback(event, lambda _, call=hook: call())

    @property
    def batches(self) -> Batches:
        """What it trains on."""
        assert self._batches is not None, "made when training is set up"
        return self._batches

    def get_dataset(self) -> dict[str, Any]:
        """Returns what Ultralytics wants to know of the data."""
        names = dict(enumerate(self._rows.labels))
        return {"train": "", "val": "", "nc": len(names), "names": names, "channels": 3}

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Batches:
        """Returns the run's batches, whatever they are for: nothing is validated on others."""
        if self._batches is None:
            dataset = ObjectDataset(self._rows, self.args, self.args.task)
            self._batches = Batches(dataset, batch_size, self.args.seed)
        return self._batches

    def get_validator(self) -> Any:
        """Returns nothing that validates: the stage scores models itself."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    def build_optimizer(self, *_: Any, **__: Any) -> Optimizer:
        """Returns the run's optimizer.

        Raises:
            OutOfMemory: Ultralytics asks for another one, after it has halved the batch.
        """
        return self._hooks.optimizer()

    def _build_train_pipeline(self) -> None:
        if self.optimizer is not None:
            raise OutOfMemory(
                f"a step on {2 * self.batch_size} pictures does not fit in the device's memory; "
                "choose a smaller spec.training.batchSize or imageSize"
            )
        super()._build_train_pipeline()

    def optimizer_step(self) -> None:
        """Steps, and lets the run look after the moving average."""
        super().optimizer_step()
        self._hooks.stepped()

    def validate(self) -> tuple[dict[str, float], float]:
        """Does nothing: the stage scores models itself."""
        return {}, 0.0

    def _handle_nan_recovery(self, epoch: int) -> bool:
        return False

    def save_model(self) -> bool:
        """Writes nothing: checkpoints are the stage's."""
        return False

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes nothing: the learning curve is the stage's."""

    def final_eval(self) -> None:
        """Does nothing: the last step is what ships."""


def adamw(parameters: Sequence[nn.Parameter], rate: float, decay: float) -> AdamW:
    """Returns an optimizer; biases and norms do not decay, as Ultralytics has it."""
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=rate, fused=True)


def mosaics_until(epochs: int) -> int:
    """Returns the number of last epochs without mosaics."""
    return max(1, round(_LAST_EPOCHS * epochs))


_FIXED: dict[str, Any] = {
    "mode": "train",
    "model": "yolov8n.yaml",  # a name that is never looked up: the network is given
    "data": None,
    "exist_ok": True,
    "plots": False,
    "val": False,
    "save": False,
    "amp": False,  # else a model is downloaded to try it
    "deterministic": False,
    "augmentations": [],  # else blur, grey and contrast where albumentations is installed
    "warmup_epochs": 0.0,
    "workers": 0,
    "verbose": False,
    "patience": 1_000_000,
    "cache": False,
    "resume": False,
    "compile": False,
}
