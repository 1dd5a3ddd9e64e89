"""A training run of seconds: a tiny sparse model that follows a teacher into INT8, with dropout."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tests.runner.tiny_models import tiny_classifier
from torch import nn

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder
from sparse_transfer_runner.training.hardware import precision_context
from sparse_transfer_runner.training.inference import logits_of
from sparse_transfer_runner.training.loop import TrainingRun
from sparse_transfer_runner.use_cases.protocol import Batch

Precision = Literal["fp32", "bf16", "fp16"]
STEPS = 20
BATCH = 8
RECIPE = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 4.0}
  - !LearningRateFunctionModifier
      {start_epoch: 0.0, end_epoch: 4.0, lr_func: linear, init_lr: 0.01, final_lr: 0.0}
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
  - !QuantizationModifier {start_epoch: 2.0, disable_quantization_observer_epoch: 3.5}
  - !DistillationModifier {start_epoch: 0.0, hardness: 0.5, temperature: 2.0}
"""
FOLLOWING = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 1.0}
  - !LearningRateFunctionModifier
      {start_epoch: 0.0, end_epoch: 1.0, lr_func: linear, init_lr: 0.01, final_lr: 0.0}
  - !DistillationModifier {start_epoch: 0.0, hardness: 0.5, temperature: 2.0}
"""
"""Follows a teacher's logits for an epoch; more modifiers may be added."""
SELDOM = Interval(seconds=3600)
PATIENCE_SECONDS = 20


class Rows:
    """Forty rows whose label says whether token 9 occurs."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        ids = [random.integers(5, 20, random.integers(3, 12)).tolist() for _ in range(40)]
        self.features: Sequence[Mapping[str, Any]] = [
            {"input_ids": each, "attention_mask": [1] * len(each)} for each in ids
        ]
        self.targets: NDArray[Any] = np.array([int(9 in each) for each in ids])

    def __len__(self) -> int:
        return len(self.features)

    @property
    def lengths(self) -> list[int]:
        return [len(row["input_ids"]) for row in self.features]

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        longest = pad_to or max(len(self.features[row]["input_ids"]) for row in rows)
        return {
            name: np.array(
                [
                    [*self.features[row][name], *[0] * (longest - len(self.features[row][name]))]
                    for row in rows
                ]
            )
            for name in ("input_ids", "attention_mask")
        }


class StopAfter(threading.Event):
    """Set from the given number of looks on."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing of the run gets to know."""


class KilledAfter(StopAfter):
    """Ends the run at the look after the given number of them."""

    def is_set(self) -> bool:
        if super().is_set():
            raise Killed
        return False


def wait_for(happened: Callable[[], bool]) -> None:
    """Waits until something has happened; not for ever."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < ends, "waited in vain"


def claimed(folder: Path) -> Attempt:
    """Claims the next attempt of a stage's folder; it is abandoned rather than ended."""
    stage = StageFolder.on_disk(folder, "train", "key")
    return stage.attempt().__enter__()


def checkpoint_folder(work: Attempt, **settings: Any) -> CheckpointFolder:
    return CheckpointFolder(work.checkpoints, work.number, settings, work.require_newest)


def in_folder(path: Path, attempt: int = 1, **settings: Any) -> CheckpointFolder:
    """Returns checkpoints of an attempt that nobody takes over from."""
    return CheckpointFolder(FilePlace(path), attempt, settings, lambda: None)


def sparse_classifier() -> nn.Module:
    model = tiny_classifier()
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.mul_(magnitude_mask(weight, 0.5))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    return model


def new_run(
    folder: CheckpointFolder,
    stop: threading.Event | None = None,
    *,
    interval: Interval = SELDOM,
    precision: Precision = "fp32",
    evaluated: Callable[[], None] = lambda: None,
    halvings: int = 0,
) -> tuple[TrainingRun, NativeBackend]:
    """Returns a run of ``STEPS`` steps that learns INT8 from the half on.

    Args:
        folder: Of its checkpoints.
        stop: Looked at after each step, and once in each evaluation before that.
        interval: Between checkpoints.
        precision: Of the arithmetic before INT8.
        evaluated: Called at the end of each evaluation.
        halvings: How far batches are taken apart from the beginning.
    """
    model, rows, teacher = sparse_classifier(), Rows(), tiny_classifier(seed=3)
    recipe = parse_recipe(RECIPE)
    names = [name.removesuffix(".weight") for name in prunable_weights(model)]
    linears: dict[str, nn.Linear] = {name: model.get_submodule(name) for name in names}  # type: ignore[misc]
    backend = NativeBackend(
        model,
        recipe,
        "single_label_classification",
        masks=Masks.take(prunable_weights(model)),
        quantizable=linears,
        teacher=Teacher(
            teacher, lambda: precision_context("fp32"), torch.as_tensor(logits_of(teacher, rows))
        ),
    )

    def evaluate(look: Callable[[], None]) -> dict[str, float]:
        logits = logits_of(model, rows, on_batch=lambda _: look())
        evaluated()
        return {"sum": float(logits.sum())}

    training = TrainingRun(
        phase="transfer",
        model=model,
        data=rows,
        settings=TrainingSettings(
            epochs=4,
            learning_rate=0.01,
            batch_size=BATCH,
            seed=0,
            precision=precision,
            recipe=recipe.text,
        ),
        recipe=recipe,
        backend=backend,
        reporter=Reporter(Stage.TRAIN, lambda _: None),
        checkpoints=Checkpoints(folder, interval),
        stop=stop or threading.Event(),
        evaluate=evaluate,
        backoff=Backoff(BATCH, halvings),
    )
    return training, backend
