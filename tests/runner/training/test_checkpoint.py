from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runner.training.small_run import (
    PATIENCE_SECONDS,
    checkpoint_folder,
    claimed,
    in_folder,
    wait_for,
)

from sparse_transfer_api.errors import AccessError, SparseTransferError, Transient
from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder, Position, Saved
from sparse_transfer_runner.training.snapshot import Snapshots

ALWAYS = Interval(seconds=0)


class GatedPlace(FilePlace):
    """Writes only when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reached, self.let = threading.Event(), threading.Event()

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        self.reached.set()
        if not self.let.wait(PATIENCE_SECONDS):
            raise AssertionError("was never let")
        super().put(path, write)


class FullPlace(FilePlace):
    """A device without any space."""

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        with explained(self.folder):
            write(Path("/dev/full"))


class ForbiddenPlace(FilePlace):
    """A store that took back the right to write."""

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        raise AccessError(f"{self.uri}/{path}: s3:PutObject is not allowed")


def folder_at(place: FilePlace) -> CheckpointFolder:
    return CheckpointFolder(place, 1, {}, lambda: None)


def step(number: int) -> Position:
    return Position("step", number)


def state(number: int) -> Callable[[], Mapping[str, Any]]:
    return lambda: {"step": number, "weights": torch.full((1000,), float(number))}


def noting(written: list[int], number: int) -> Callable[[], Mapping[str, Any]]:
    """Returns a state whose number is noted when it is asked for."""

    def asked() -> Mapping[str, Any]:
        written.append(number)
        return state(number)()

    return asked


def newest(folder: CheckpointFolder) -> Saved:
    saved = folder.newest()
    assert saved is not None
    return saved


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[GatedPlace]:
    place = GatedPlace(tmp_path)
    yield place
    place.let.set()


def test_training_goes_on_while_a_checkpoint_is_written(gated: GatedPlace) -> None:
    weights = torch.zeros(1000)
    folder = folder_at(gated)
    with Checkpoints(folder, ALWAYS) as checkpoints:
        checkpoints.save_if_due(step(1), lambda: {"weights": weights})
        assert gated.reached.wait(PATIENCE_SECONDS)
        # Optimizers change weights in place.
        weights += 1
        asked: list[int] = []
        checkpoints.save_if_due(step(2), noting(asked, 2))
        assert asked == [], "one is written at a time, and a copy of the state costs"
        assert folder.newest() is None
        gated.let.set()
    assert newest(folder).position == step(1)
    assert torch.equal(newest(folder).state["weights"], torch.zeros(1000))


def test_a_checkpoint_that_was_put_off_is_written_once_the_one_before_is(
    gated: GatedPlace,
) -> None:
    folder = folder_at(gated)
    with Checkpoints(folder, ALWAYS) as checkpoints:
        checkpoints.save_if_due(step(1), state(1))
        checkpoints.save_if_due(step(2), state(2))
        gated.let.set()
        wait_for(lambda: not checkpoints.busy)
        checkpoints.save_if_due(step(3), state(3))
    assert newest(folder).position == step(3)
    assert newest(folder).state["step"] == 3


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (FullPlace, Transient, "no space left"),
        (ForbiddenPlace, AccessError, "s3:PutObject is not allowed"),
    ],
)
def test_what_the_writer_cannot_do_is_raised_at_the_next_look(
    tmp_path: Path, kind: type[FilePlace], error: type[SparseTransferError], message: str
) -> None:
    with (
        Checkpoints(folder_at(kind(tmp_path)), ALWAYS) as checkpoints,
        pytest.raises(error, match=message),
    ):
        checkpoints.save_if_due(step(1), state(1))
        wait_for(lambda: not checkpoints.busy)
        checkpoints.look()


def test_a_run_that_was_taken_over_from_learns_it_at_its_next_look(tmp_path: Path) -> None:
    with (
        Checkpoints(checkpoint_folder(claimed(tmp_path)), ALWAYS) as checkpoints,
        pytest.raises(Transient, match="attempt 2 has taken over"),
    ):
        claimed(tmp_path)
        checkpoints.save_if_due(step(1), state(1))
        wait_for(lambda: not checkpoints.busy)
        checkpoints.look()


def test_the_last_checkpoint_is_complete_on_return_and_comes_after_the_one_under_way(
    gated: GatedPlace,
) -> None:
    folder = folder_at(gated)
    with Checkpoints(folder, ALWAYS) as checkpoints:
        checkpoints.save_if_due(step(1), state(1))
        assert gated.reached.wait(PATIENCE_SECONDS)
        letting = threading.Timer(0, gated.let.set)
        letting.start()
        checkpoints.save_now(step(2), state(2))
        assert newest(folder).position == step(2)
        letting.join()
    assert [position_of(file.path) for file in gated.files()] == [1, 1, 2, 2]


def position_of(path: str) -> int:
    return int(path.split("-")[1])


def test_the_last_checkpoint_is_tried_though_the_one_under_way_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class FullOnce(FilePlace):
        full = True

        def put(self, path: str, write: Callable[[Path], None]) -> None:
            if self.full:
                self.full = False
                raise Transient("no space left")
            super().put(path, write)

    folder = folder_at(FullOnce(tmp_path))
    with Checkpoints(folder, ALWAYS) as checkpoints, caplog.at_level(logging.WARNING):
        checkpoints.save_if_due(step(1), state(1))
        checkpoints.save_now(step(1), state(1))
    assert "step-00000001 could not be written: no space left" in caplog.text
    assert newest(folder).position == step(1)


def test_a_state_is_not_written_twice(tmp_path: Path) -> None:
    folder = in_folder(tmp_path)
    with Checkpoints(folder, ALWAYS) as checkpoints:
        checkpoints.save(step(1), state(1))
        for again in (checkpoints.save, checkpoints.save_if_due, checkpoints.save_now):
            again(step(1), lambda: pytest.fail("asked for the state again"))
    assert newest(folder).position == step(1)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(seconds=60), [6, 12, 18]),
        (Interval(seconds=60, steps=4), [4, 8, 12, 16]),
        (Interval(seconds=30, steps=5), [3, 6, 9, 12, 15, 18]),
        (Interval(seconds=3600), []),
    ],
)
def test_checkpoints_are_due_by_seconds_or_steps_whichever_comes_first(
    tmp_path: Path, interval: Interval, expected: list[int]
) -> None:
    now = 0.0
    written: list[int] = []
    with Checkpoints(in_folder(tmp_path), interval, clock=lambda: now) as checkpoints:
        for number in range(1, 20):
            now += 10  # a step takes ten seconds
            checkpoints.save_if_due(step(number), noting(written, number))
            wait_for(lambda: not checkpoints.busy)
    assert written == expected


def test_a_resumed_run_counts_its_steps_from_where_it_resumed(tmp_path: Path) -> None:
    in_folder(tmp_path, 1).write(step(7), {})
    written: list[int] = []
    with Checkpoints(in_folder(tmp_path, 2), Interval(3600, steps=4)) as checkpoints:
        assert not checkpoints.resumes("start")
        assert checkpoints.take("start") is None
        saved = checkpoints.take("step")
        assert saved is not None
        assert saved.position == step(7)
        assert checkpoints.take("step") is None, "handed over once, then its memory is free"
        for number in range(8, 13):
            checkpoints.save_if_due(step(number), noting(written, number))
    assert written == [11]


def test_a_snapshot_holds_what_was_and_uses_its_memory_again() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    values = {
        "nested": [{"a": (weight, 1, None)}],
        "count": torch.tensor(3, dtype=torch.int64),
        "text": "text",
    }
    snapshots = Snapshots()
    first = snapshots.of(values)
    with torch.no_grad():
        weight += 1
    kept = first["nested"][0]["a"][0]
    assert torch.equal(kept, torch.ones(4))
    assert not kept.requires_grad
    assert first["nested"][0]["a"][1:] == (1, None)
    assert (int(first["count"]), first["text"]) == (3, "text")
    second = snapshots.of(values)
    assert second["nested"][0]["a"][0].data_ptr() == kept.data_ptr()
    assert torch.equal(kept, torch.full((4,), 2.0))
    larger = snapshots.of({"nested": [{"a": (torch.zeros(9),)}]})
    assert torch.equal(larger["nested"][0]["a"][0], torch.zeros(9))
