from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.runner.training.small_run import (
    SELDOM,
    STEPS,
    Killed,
    KilledAfter,
    Precision,
    StopAfter,
    checkpoint_folder,
    claimed,
    in_folder,
    new_run,
    sparse_classifier,
    wait_for,
)
from torch import Tensor

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError, InputError, Stopped
from sparse_transfer_api.records import Progress
from sparse_transfer_runner.packaging.evaluation import HistoryPoint
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.quantization.fake_quantize import QuantizationRecord
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.checkpoint import Interval
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder, Position

EVALUATIONS = 4
LOOKS = STEPS + EVALUATIONS
"""One after each step, and one within the evaluation at the end of each epoch."""


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    history: list[HistoryPoint]
    weights: dict[str, Tensor]
    quantization: QuantizationRecord | None


def result_of(folder: CheckpointFolder, precision: Precision, **options: object) -> Result:
    training, backend = new_run(folder, precision=precision, **options)  # type: ignore[arg-type]
    with training.checkpoints:
        history = copy.deepcopy(training.fit())
    weights = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    return Result(history, weights, backend.finish())


@cache
def unstopped(precision: Precision) -> Result:
    with TemporaryDirectory() as folder:
        return result_of(in_folder(Path(folder)), precision)


def require_equal(result: Result, expected: Result) -> None:
    assert result.history == expected.history
    assert result.quantization == expected.quantization
    assert result.weights.keys() == expected.weights.keys()
    for name, tensor in result.weights.items():
        assert torch.equal(tensor, expected.weights[name]), name


def test_a_run_that_diverged_is_told_so_and_not_scored(tmp_path: Path) -> None:
    """Its masked weights are no zeros either: it must not look like a broken mask."""
    training, _ = new_run(in_folder(tmp_path), evaluated=lambda: pytest.fail("it was scored"))
    with torch.no_grad():
        next(training.model.parameters()).fill_(torch.nan)
    message = r"transfer, step 5 of 20: training has diverged.* lower learning rate than 0\.01"
    with training.checkpoints, pytest.raises(InputError, match=message):
        training.fit()


def stopped(folder: CheckpointFolder, looks: int, precision: Precision, every: Interval) -> bool:
    """Runs until a stop is asked for; returns whether the run had not ended before."""
    training, _ = new_run(folder, StopAfter(looks), precision=precision, interval=every)
    try:
        with training.checkpoints:
            training.fit()
    except Stopped:
        return True
    return False


def killed(folder: CheckpointFolder, looks: int, precision: Precision, every: Interval) -> bool:
    """Runs until it is killed; whatever is being written goes on or not, as it happens."""
    training, _ = new_run(folder, KilledAfter(looks), precision=precision, interval=every)
    try:
        training.fit()
    except Killed:
        return True
    return False


ENDINGS = st.lists(
    st.tuples(st.sampled_from([stopped, killed]), st.integers(0, LOOKS - 1)), min_size=1, max_size=4
)


@pytest.mark.parametrize("precision", get_args(Precision))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(endings=[(stopped, looks) for looks in (5, 0, 0, 5, 0)], steps=None)
@example(endings=[(killed, 11), (killed, 1), (stopped, 3)], steps=4)
@given(endings=ENDINGS, steps=st.none() | st.integers(1, 6))
def test_a_run_that_is_stopped_and_killed_ends_as_one_that_never_was(
    precision: Precision, endings: list[tuple], steps: int | None
) -> None:
    every = Interval(3600, steps)
    with TemporaryDirectory() as folder:
        for end, looks in endings:
            end(checkpoint_folder(claimed(Path(folder))), looks, precision, every)
        last = checkpoint_folder(claimed(Path(folder)))
        require_equal(result_of(last, precision, interval=every), unstopped(precision))


@pytest.mark.parametrize("step", [1, 5, 9, 10, 11, 17, 19, 20])
def test_a_stop_is_honoured_within_a_step_and_leaves_its_checkpoint(
    tmp_path: Path, step: int
) -> None:
    evaluations_before = (step - 1) // 5
    training, _ = new_run(in_folder(tmp_path), StopAfter(step - 1 + evaluations_before))
    with training.checkpoints, pytest.raises(Stopped, match=f"stopped at step {step} of {STEPS}"):
        training.fit()
    saved = in_folder(tmp_path, 2).newest()
    assert saved is not None
    assert saved.position == Position("step", step)
    require_equal(result_of(in_folder(tmp_path, 2), "fp32"), unstopped("fp32"))


def test_an_evaluation_that_a_stop_cuts_short_is_made_up_for(tmp_path: Path) -> None:
    finished: list[str] = []
    steps_and_evaluation = 5
    training, _ = new_run(
        in_folder(tmp_path),
        StopAfter(steps_and_evaluation - 1),
        evaluated=lambda: finished.append("first"),
    )
    with training.checkpoints, pytest.raises(Stopped, match="step 5"):
        training.fit()
    assert finished == []
    assert [point.step for point in training.history] == [1, 2, 3, 4]
    again = result_of(in_folder(tmp_path, 2), "fp32", evaluated=lambda: finished.append("second"))
    assert finished == ["second"] * EVALUATIONS
    require_equal(again, unstopped("fp32"))


def test_a_kill_after_the_last_step_repeats_no_step(tmp_path: Path) -> None:
    first = checkpoint_folder(claimed(tmp_path))
    training, _ = new_run(first)
    with training.checkpoints:
        training.fit()
    again, _ = new_run(checkpoint_folder(claimed(tmp_path)))
    again.backend.loss = pytest.fail  # type: ignore[method-assign, assignment]
    with again.checkpoints:
        assert again.fit() == training.history
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, training.model.state_dict()[name]), name


def test_a_kill_in_the_last_evaluation_repeats_no_step(tmp_path: Path) -> None:
    training, _ = new_run(checkpoint_folder(claimed(tmp_path)), KilledAfter(LOOKS - 2))
    with pytest.raises(Killed), training.checkpoints:
        training.fit()
    again, backend = new_run(checkpoint_folder(claimed(tmp_path)))
    backend.loss = pytest.fail  # type: ignore[method-assign, assignment]
    with again.checkpoints:
        assert again.fit() == unstopped("fp32").history


@pytest.mark.parametrize(("every", "kept"), [(1, 8), (3, 6), (5, 5)])
def test_a_kill_loses_no_more_than_an_interval(tmp_path: Path, every: int, kept: int) -> None:
    folder = checkpoint_folder(claimed(tmp_path))
    training, _ = new_run(folder, KilledAfter(8), interval=Interval(3600, every))
    killed_at_step = 8
    # A store that is fast enough, whatever else this machine has to do.
    training.reporter = Reporter(
        Stage.TRAIN,
        lambda _: wait_for(lambda: not training.checkpoints.busy),
        clock=iter(range(1000)).__next__,
    )
    with training.checkpoints, pytest.raises(Killed):
        training.fit()
    assert training.history[-1].step == killed_at_step
    saved = checkpoint_folder(claimed(tmp_path)).newest()
    assert saved is not None
    assert saved.position.number == kept


def test_the_scale_of_half_precision_gradients_is_kept(tmp_path: Path) -> None:
    first = in_folder(tmp_path, 1)
    stopped(first, 3, "fp16", SELDOM)
    saved = first.newest()
    assert saved is not None
    learned = {**saved.state["scaler"], "scale": 512.0}
    first.write(Position("step", 4), {**saved.state, "scaler": learned})
    training, _ = new_run(in_folder(tmp_path, 2), KilledAfter(0), precision="fp16")
    with training.checkpoints, pytest.raises(Killed):
        training.fit()
    assert training._scaler.get_scale() == 512.0


def test_a_checkpoint_with_the_zeros_of_another_foundation_is_refused(tmp_path: Path) -> None:
    stopped(in_folder(tmp_path, 1), 3, "fp32", SELDOM)
    training, _ = new_run(in_folder(tmp_path, 2))
    changed = sparse_classifier()
    weights = prunable_weights(changed)
    with torch.no_grad():
        first = next(iter(weights.values()))
        first.view(-1)[int((first.view(-1) == 0).nonzero()[0])] = 1.0
    training.backend._masks = Masks.take(weights)  # type: ignore[attr-defined]
    with training.checkpoints, pytest.raises(InputError, match=r"spec\.model\.revision"):
        training.fit()


def test_a_right_that_is_withdrawn_ends_the_run_with_what_is_missing(tmp_path: Path) -> None:
    class Withdrawn(FilePlace):
        def put(self, path: str, write: object) -> None:
            raise AccessError(f"{path}: s3:PutObject is not allowed")

    folder = CheckpointFolder(Withdrawn(tmp_path), 1, {}, lambda: None)
    training, _ = new_run(folder, interval=Interval(3600, 2))
    with training.checkpoints, pytest.raises(AccessError, match="s3:PutObject"):
        training.fit()


def test_zeros_are_kept_through_the_start_of_quantization(tmp_path: Path) -> None:
    training, backend = new_run(in_folder(tmp_path))
    before = {name: weight == 0 for name, weight in prunable_weights(training.model).items()}
    with training.checkpoints:
        history = training.fit()
    backend.check()
    after = {name: weight == 0 for name, weight in prunable_weights(training.model).items()}
    assert all(bool(after[name][zeros].all()) for name, zeros in before.items())
    assert [point.quantizing for point in history if point.metrics] == [False, False, True, True]
    assert history[-1].loss is not None
    assert history[0].loss is not None
    assert history[-1].loss < history[0].loss


def test_progress_and_learning_rate_follow_the_recipe(tmp_path: Path) -> None:
    training, _ = new_run(in_folder(tmp_path), threading.Event())
    seen: list[Progress] = []
    training.reporter = Reporter(Stage.TRAIN, seen.append, clock=iter(range(1000)).__next__)
    with (
        training.checkpoints,
        training.reporter.activity("transfer", 1.0, training.total_steps),
    ):
        history = training.fit()
    assert [each.step for each in seen][1:21] == list(range(1, 21))
    assert seen[-1].percentage == 100
    rates = [point.learning_rate for point in history if point.learning_rate is not None]
    assert rates == sorted(rates, reverse=True)
