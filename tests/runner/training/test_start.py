from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.runner.tiny_models import tiny_config
from tests.runner.training.small_run import (
    SELDOM,
    Killed,
    Rows,
    StopAfter,
    checkpoint_folder,
    claimed,
    in_folder,
    wait_for,
)
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, OutOfMemory, Stopped
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval
from sparse_transfer_runner.training.checkpoint_files import Position
from sparse_transfer_runner.training.start import start
from sparse_transfer_runner.training.task import Task

BLOCKS = 4
AFTER_EACH_BLOCK = Interval(seconds=0)


def classifier(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return BertForSequenceClassification(tiny_config(layers=BLOCKS)).eval()


def foundation(sparsity: float = 0.5) -> tuple[nn.Module, Masks]:
    model = classifier(0)
    weights = prunable_weights(model)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, sparsity))
    return model, Masks.take(weights)


def started(
    checkpoints: Checkpoints,
    stop: threading.Event | None = None,
    sparsity: float = 0.5,
    on_block: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Tensor], list[int]]:
    """Runs the start; returns the weights, and the blocks that were solved."""
    solved: list[int] = []

    def note(progress: Any) -> None:
        solved.append(progress.step)
        wait_for(lambda: not checkpoints.busy)
        on_block(progress.step)

    context = SimpleNamespace(
        reporter=Reporter(Stage.TRAIN, note, clock=iter(range(1000)).__next__),
        stop=stop or threading.Event(),
    )
    plan = SimpleNamespace(training=SimpleNamespace(seed=0))
    task = cast(Task, SimpleNamespace(context=context, plan=plan, train=Rows()))
    model, masks = foundation(sparsity)
    with checkpoints:
        start(task, model, classifier(1), masks, checkpoints)
    masks.check()
    return copy.deepcopy(model.state_dict()), solved


class Counted(threading.Event):
    """Never set; counts how often somebody looked."""

    looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return False


@cache
def unstopped() -> tuple[dict[str, Tensor], int]:
    """Returns the weights of a start that was never stopped, and its looks."""
    stop = Counted()
    with TemporaryDirectory() as folder:
        weights, solved = started(Checkpoints(in_folder(Path(folder)), SELDOM), stop)
    assert solved == [1, 2, 3, 4]
    return weights, stop.looks


def require_equal(weights: dict[str, Tensor]) -> None:
    for name, tensor in unstopped()[0].items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_a_start_that_is_killed_goes_on_at_the_block_after_its_last_checkpoint(
    tmp_path: Path, killed_after: int
) -> None:
    def kill(done: int) -> None:
        if done == killed_after:
            raise Killed

    first = Checkpoints(checkpoint_folder(claimed(tmp_path)), AFTER_EACH_BLOCK)
    with pytest.raises(Killed):
        started(first, on_block=kill)
    again = Checkpoints(checkpoint_folder(claimed(tmp_path)), AFTER_EACH_BLOCK)
    weights, solved = started(again)
    # A block is noted before its checkpoint is begun.
    assert solved == list(range(killed_after, BLOCKS + 1))
    require_equal(weights)


def test_a_start_is_looked_after_many_times_in_a_block() -> None:
    # A block of a large model takes longer than a grace period.
    assert unstopped()[1] > 10 * BLOCKS


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.6, 0.8, 0.99])
def test_a_start_that_is_stopped_within_a_block_keeps_the_blocks_before(
    tmp_path: Path, share: float
) -> None:
    looks = unstopped()[1]
    for part in (share, share / 8):
        checkpoints = Checkpoints(checkpoint_folder(claimed(tmp_path)), SELDOM)
        with pytest.raises(Stopped, match="same command resumes"):
            started(checkpoints, StopAfter(int(part * looks)))
    folder = checkpoint_folder(claimed(tmp_path))
    saved = folder.newest()
    finished = saved.position.number if saved is not None else 0
    assert finished >= int(share * BLOCKS) - 1
    weights, solved = started(Checkpoints(folder, SELDOM))
    assert solved == list(range(finished + 1, BLOCKS + 1))
    require_equal(weights)


def test_a_start_that_is_done_is_not_repeated(tmp_path: Path) -> None:
    started(Checkpoints(checkpoint_folder(claimed(tmp_path)), SELDOM))
    again = Checkpoints(checkpoint_folder(claimed(tmp_path)), SELDOM)
    assert again.resumes("start")
    weights, solved = started(again)
    assert solved == []
    require_equal(weights)


def test_a_start_from_another_foundation_is_refused(tmp_path: Path) -> None:
    started(Checkpoints(checkpoint_folder(claimed(tmp_path)), SELDOM))
    again = Checkpoints(checkpoint_folder(claimed(tmp_path)), SELDOM)
    with pytest.raises(InputError, match=r"spec\.model\.revision"):
        started(again, sparsity=0.6)


def test_training_is_newer_than_the_start(tmp_path: Path) -> None:
    folder = checkpoint_folder(claimed(tmp_path))
    started(Checkpoints(folder, SELDOM))
    folder.write(Position("step", 0), {})
    assert Checkpoints(folder, SELDOM).resumes("step")


def crowd(monkeypatch: pytest.MonkeyPatch, fit: Callable[[], int]) -> None:
    """Has blocks take more memory than there is for more rows than fit."""
    forward = BertLayer.forward

    def crowded(layer: BertLayer, hidden_states: Tensor, *rest: Any, **named: Any) -> Any:
        if len(hidden_states) > fit():
            torch.empty(1 << 60, dtype=torch.uint8)
        return forward(layer, hidden_states, *rest, **named)

    monkeypatch.setattr(BertLayer, "forward", crowded)


@pytest.mark.parametrize("after", [0, 2])
def test_a_start_that_does_not_fit_goes_on_with_smaller_batches_at_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    solved = [0]
    expected, _ = unstopped()
    crowd(monkeypatch, lambda: 10 if solved[-1] >= after else 1000)
    weights, blocks = started(Checkpoints(in_folder(tmp_path), SELDOM), on_block=solved.append)
    assert blocks == [1, 2, 3, 4]
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-2, atol=1e-3, msg=name)


def test_a_start_that_never_fits_ends_with_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(monkeypatch, lambda: 0)
    with pytest.raises(OutOfMemory, match=r"least-squares start: .*tried 64, 32, 16, 8, 4, 2 rows"):
        started(Checkpoints(in_folder(tmp_path), SELDOM))
