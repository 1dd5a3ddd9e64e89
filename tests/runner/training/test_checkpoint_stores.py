"""Checkpoints on real stores: far away, without rights, and full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.runner.storage.reaching import reaching
from tests.runner.storage.tmpfs import small_file_system
from tests.runner.training.small_run import STEPS, StopAfter, new_run, wait_for
from tests.servers.s3_server import READ, WRITE, Bucket, Keys, S3Server

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError, Stopped, Transient
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder, Position

OFTEN = Interval(seconds=3600, steps=2)


@pytest.fixture
def user(s3: S3Server, bucket: Bucket) -> Iterator[Keys]:
    """A user of the store in force that may read and write."""
    keys = s3.user()
    bucket.allow({keys.access: (*READ, *WRITE)})
    with reaching(s3.endpoint, s3.environment(keys)):
        yield keys


def far(bucket: Bucket, number: int) -> CheckpointFolder:
    stage = StageFolder(place_for(f"{bucket.uri}/runs/train-key"), "train", "key")
    stage.place.below("attempts").create(f"{number}.json", b"{}")
    work = Attempt(stage, number, Path("/nowhere"))
    return CheckpointFolder(work.checkpoints, number, {}, work.require_newest)


def test_a_run_on_s3_goes_on_where_it_was_stopped(
    bucket: Bucket, user: Keys, tmp_path: Path
) -> None:
    near = CheckpointFolder(FilePlace(tmp_path), 1, {}, lambda: None)
    whole, _ = new_run(near)
    with whole.checkpoints:
        history = whole.fit()
    first, _ = new_run(far(bucket, 1), StopAfter(9), interval=OFTEN)
    with first.checkpoints, pytest.raises(Stopped, match=f"of {STEPS}"):
        first.fit()
    assert len(bucket.keys("runs/train-key/checkpoints/")) == 4
    second, _ = new_run(far(bucket, 2), threading.Event(), interval=OFTEN)
    with second.checkpoints:
        assert second.fit() == history
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name


def test_rights_that_are_withdrawn_while_training_end_it_with_the_missing_one(
    bucket: Bucket, user: Keys
) -> None:
    training, _ = new_run(far(bucket, 1), interval=OFTEN)

    def withdraw(step: int | None) -> None:
        if step == 6:
            wait_for(lambda: not training.checkpoints.busy)
            bucket.allow({user.access: READ})

    training.reporter = Reporter(
        Stage.TRAIN, lambda progress: withdraw(progress.step), clock=iter(range(1000)).__next__
    )
    with training.checkpoints, pytest.raises(AccessError, match="s3:PutObject"):
        training.fit()
    bucket.allow({user.access: (*READ, *WRITE)})
    newest = far(bucket, 2).newest()
    assert newest is not None
    # What was written before is still there; a write that takes long puts the next ones off.
    assert newest.position.kind == "step"
    assert 0 < newest.position.number <= 6


def test_a_full_disk_ends_training_with_what_to_do_and_keeps_what_is_complete(
    tmp_path: Path,
) -> None:
    with small_file_system(tmp_path / "disk", 1 << 20) as disk:
        folder = CheckpointFolder(FilePlace(disk / "checkpoints"), 1, {}, lambda: None)
        with Checkpoints(folder, Interval(0)) as checkpoints:
            checkpoints.save(Position("step", 1), lambda: {"weights": torch.ones(100_000)})
            wait_for(lambda: not checkpoints.busy)
            checkpoints.look()
            checkpoints.save(Position("step", 2), lambda: {"weights": torch.ones(400_000)})
            wait_for(lambda: not checkpoints.busy)
            with pytest.raises(Transient, match="no space left on the device"):
                checkpoints.look()
            with pytest.raises(Transient, match="no space left on the device"):
                checkpoints.save_now(Position("step", 3), lambda: {"weights": torch.ones(400_000)})
        newest = folder.newest()
        assert newest is not None
        assert newest.position == Position("step", 1)
        assert len([*(disk / "checkpoints").iterdir()]) == 2
