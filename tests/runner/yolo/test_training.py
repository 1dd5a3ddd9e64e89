"""A detector's training run: one step of Ultralytics' loop, on a tiny network."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runner.object_folders import CLASSES, write_objects
from tests.runner.tiny_detectors import tiny_detector
from tests.runner.training.small_run import SELDOM, Precision, StopAfter, in_folder
from torch import nn

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, OutOfMemory, Stopped
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.detection.layout import find_layout
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.checkpoint import Checkpoints
from sparse_transfer_runner.training.stepped_run import Evaluate
from sparse_transfer_runner.use_cases.object_inputs import (
    AUGMENTATION,
    EncodedObjects,
    ObjectPreprocessor,
)
from sparse_transfer_runner.yolo.network import Detector
from sparse_transfer_runner.yolo.training import DetectorRun

RECIPE = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 1.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.001}
"""
FOLLOWING = (
    RECIPE
    + """
  - !DistillationModifier {hardness: 0.9, temperature: 2.0, distill_output_keys: [logits]}
"""
)
PICTURES = 2


@pytest.fixture
def rows(tmp_path: Path) -> EncodedObjects:
    data = write_objects(tmp_path / "data", {"train": PICTURES, "val": 1})
    items = find_layout(data, Findings()).splits["train"].items
    config = {"side": 64, "padding": 114, AUGMENTATION: "None"}
    return EncodedObjects(data, items, CLASSES, ObjectPreprocessor(config))


def one_step(
    rows: EncodedObjects,
    folder: Path,
    model: Detector,
    precision: Precision = "fp32",
    evaluate: Evaluate = lambda look: {},
    epochs: int = 1,
    stop: threading.Event | None = None,
    attempt: int = 1,
    teacher: Detector | None = None,
) -> DetectorRun:
    recipe = parse_recipe(RECIPE if teacher is None else FOLLOWING)
    return DetectorRun(
        phase="transfer",
        model=model,
        data=rows,
        settings=TrainingSettings(
            epochs=epochs,
            learning_rate=0.001,
            batch_size=PICTURES,
            seed=0,
            precision=precision,
            recipe=recipe.text,
        ),
        recipe=recipe,
        backend=NativeBackend(
            model,
            recipe,
            "object_detection",
            teacher=None if teacher is None else Teacher(teacher, nullcontext),
        ),
        reporter=Reporter(Stage.TRAIN, lambda _: None),
        checkpoints=Checkpoints(in_folder(folder, attempt), SELDOM),
        stop=stop or threading.Event(),
        evaluate=evaluate,
        backoff=Backoff(PICTURES),
    )


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_step_computes_in_the_precision_that_is_recorded(
    rows: EncodedObjects, tmp_path: Path, precision: Precision, dtype: torch.dtype
) -> None:
    model = tiny_detector(CLASSES)
    seen = set()
    convolution = next(each for each in model.modules() if isinstance(each, nn.Conv2d))
    convolution.register_forward_hook(lambda *call: seen.add(call[2].dtype))
    history = one_step(rows, tmp_path / "checkpoints", model, precision).fit()
    assert seen == {dtype}
    assert len(history) == 1


def other_detector() -> Detector:
    """Returns a teacher that knows something else than the student."""
    teacher = tiny_detector(CLASSES)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
    return teacher


def test_a_teacher_that_is_followed_changes_what_is_learned(
    rows: EncodedObjects, tmp_path: Path
) -> None:
    teacher = other_detector()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    alone, following = (
        one_step(rows, tmp_path / name, tiny_detector(CLASSES), teacher=each)
        for name, each in (("alone", None), ("following", teacher))
    )
    (without,), (with_teacher,) = alone.fit(), following.fit()
    assert without.loss is not None
    assert with_teacher.loss is not None
    assert with_teacher.loss > without.loss
    learned = following.model.state_dict()
    assert any(not torch.equal(v, learned[n]) for n, v in alone.model.state_dict().items())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any("teacher" in name for name in learned)


@pytest.mark.parametrize(("looks", "follows"), [(1, False), (2, False), (2, True)])
def test_a_run_that_is_stopped_ends_as_one_that_never_was(
    rows: EncodedObjects, tmp_path: Path, looks: int, follows: bool
) -> None:
    def evaluate(look: Callable[[], None]) -> dict[str, float]:
        look()
        return {"map50": 0.5}

    teacher = other_detector() if follows else None
    more: dict[str, Any] = {"evaluate": evaluate, "epochs": 2, "teacher": teacher}
    straight = one_step(rows, tmp_path / "straight", tiny_detector(CLASSES), **more)
    expected = straight.fit()
    # In the first evaluation and after the step, or in the second evaluation.
    stop = StopAfter(looks)
    first = one_step(rows, tmp_path / "stopped", tiny_detector(CLASSES), **more, stop=stop)
    with first.checkpoints, pytest.raises(Stopped):
        first.fit()
    again = one_step(rows, tmp_path / "stopped", tiny_detector(CLASSES), **more, attempt=2)
    with again.checkpoints:
        assert again.fit() == expected
    assert [point.metrics for point in expected] == [{"map50": 0.5}] * 2
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, straight.model.state_dict()[name]), name


def test_one_class_is_trained_on_as_two_are(rows: EncodedObjects, tmp_path: Path) -> None:
    for item in rows.items:
        (rows.root / item.label).write_text("0 0.5 0.5 0.5 0.5\n")
    alone = replace(rows, labels=CLASSES[:1])
    (point,) = one_step(alone, tmp_path / "checkpoints", tiny_detector(CLASSES[:1])).fit()
    assert point.loss is not None
    assert math.isfinite(point.loss)


def test_a_picture_that_cannot_be_decoded_ends_training_with_its_path(
    rows: EncodedObjects, tmp_path: Path
) -> None:
    path = rows.root / rows.items[1].picture
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=f"{path}: damaged or cut short"):
        one_step(rows, tmp_path / "checkpoints", tiny_detector(CLASSES)).fit()


def test_memory_that_runs_out_in_an_evaluation_is_not_blamed_on_the_batch(
    rows: EncodedObjects, tmp_path: Path
) -> None:
    def evaluate(look: Callable[[], None]) -> dict[str, float]:
        raise MemoryError

    run = one_step(rows, tmp_path / "checkpoints", tiny_detector(CLASSES), evaluate=evaluate)
    with pytest.raises(OutOfMemory, match="to score pictures") as failed:
        run.fit()
    assert "batchSize" not in str(failed.value)


def test_what_is_done_to_pictures_depends_on_no_other_package(
    rows: EncodedObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.data import augment

    asked = []

    class Recorded(augment.Albumentations):  # type: ignore[misc]
        def __init__(self, p: float, transforms: Any, **more: Any) -> None:
            asked.append(transforms)
            super().__init__(p, transforms, **more)

    monkeypatch.setattr(augment, "Albumentations", Recorded)
    one_step(rows, tmp_path / "checkpoints", tiny_detector(CLASSES)).fit()
    assert asked
    assert all(each == [] for each in asked)
