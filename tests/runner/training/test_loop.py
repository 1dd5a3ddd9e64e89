from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.runner.tiny_models import tiny_classifier
from torch import nn

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import Stopped
from sparse_transfer_api.records import Progress, TrainingSettings
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.checkpoint import Checkpoints
from sparse_transfer_runner.training.inference import logits_of
from sparse_transfer_runner.training.loop import TrainingRun, precision_context
from sparse_transfer_runner.use_cases.protocol import Batch

RECIPE = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 4.0}
  - !LearningRateFunctionModifier
      {start_epoch: 0.0, end_epoch: 4.0, lr_func: linear, init_lr: 0.01, final_lr: 0.0}
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
  - !QuantizationModifier {start_epoch: 2.0, disable_quantization_observer_epoch: 3.5}
  - !DistillationModifier {start_epoch: 0.0, hardness: 0.5, temperature: 2.0}
"""


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


def new_run(folder: Path, stop: threading.Event) -> tuple[TrainingRun, NativeBackend]:
    model = tiny_classifier()
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.mul_(magnitude_mask(weight, 0.5))
    rows = Rows()
    teacher = tiny_classifier(seed=3)
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
    settings = TrainingSettings(
        epochs=4, learning_rate=0.01, batch_size=8, seed=0, recipe=recipe.text
    )
    training = TrainingRun(
        phase="transfer",
        model=model,
        data=rows,
        settings=settings,
        recipe=recipe,
        backend=backend,
        reporter=Reporter(Stage.TRAIN, lambda _: None),
        checkpoints=Checkpoints(FilePlace(folder)),
        stop=stop,
        checkpoint_interval_seconds=3600,
        evaluate=lambda: {"sum": float(logits_of(model, rows).sum())},
    )
    return training, backend


@pytest.mark.parametrize("stopped_after", [1, 9, 10, 11, 17, 19])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    tmp_path: Path, stopped_after: int
) -> None:
    whole, whole_backend = new_run(tmp_path / "whole", threading.Event())
    history = copy.deepcopy(whole.fit())
    assert whole.total_steps == 20

    first, _ = new_run(tmp_path / "parts", StopAfter(stopped_after - 1))
    with pytest.raises(Stopped, match=f"step {stopped_after} of 20"):
        first.fit()
    second, second_backend = new_run(tmp_path / "parts", threading.Event())
    assert second.fit() == history
    expected = whole.model.state_dict()
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert second_backend.finish() == whole_backend.finish()


def test_zeros_are_kept_through_the_start_of_quantization(tmp_path: Path) -> None:
    training, backend = new_run(tmp_path, threading.Event())
    before = {name: weight == 0 for name, weight in prunable_weights(training.model).items()}
    history = training.fit()
    backend.check()
    after = {name: weight == 0 for name, weight in prunable_weights(training.model).items()}
    assert all(bool(after[name][zeros].all()) for name, zeros in before.items())
    assert [point.quantizing for point in history if point.metrics] == [False, False, True, True]
    assert history[-1].loss is not None
    assert history[0].loss is not None
    assert history[-1].loss < history[0].loss


def test_progress_and_learning_rate_follow_the_recipe(tmp_path: Path) -> None:
    training, _ = new_run(tmp_path, threading.Event())
    seen: list[Progress] = []
    training.reporter = Reporter(Stage.TRAIN, seen.append, clock=iter(range(1000)).__next__)
    with training.reporter.activity("transfer", 1.0, training.total_steps):
        history = training.fit()
    assert [each.step for each in seen][1:21] == list(range(1, 21))
    assert seen[-1].percentage == 100
    rates = [point.learning_rate for point in history if point.learning_rate is not None]
    assert rates == sorted(rates, reverse=True)
