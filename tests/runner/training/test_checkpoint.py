from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.checkpoint import Checkpoints


def test_the_newest_checkpoint_wins_and_old_ones_are_pruned(tmp_path: Path) -> None:
    checkpoints = Checkpoints(FilePlace(tmp_path / "checkpoints"))
    assert checkpoints.newest() is None
    for step in (5, 10, 100):
        checkpoints.save(step, {"step": step, "weights": torch.ones(3)})
    newest = checkpoints.newest()
    assert newest is not None
    assert newest["step"] == 100
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_a_broken_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    checkpoints = Checkpoints(FilePlace(tmp_path))
    checkpoints.save(1, {"step": 1, "weights": torch.ones(1000)})
    checkpoints.save(2, {"step": 2, "weights": torch.ones(1000)})
    newest = max(tmp_path.iterdir())
    content = newest.read_bytes()
    newest.write_bytes(
        {"truncated": content[: len(content) // 2], "empty": b"", "noise": b"\x00" * 500}[damage]
    )
    with caplog.at_level(logging.WARNING):
        state = checkpoints.newest()
    assert state is not None
    assert state["step"] == 1
    assert str(newest) in caplog.text


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_execute_code_is_skipped(tmp_path: Path) -> None:
    checkpoints = Checkpoints(FilePlace(tmp_path / "checkpoints"))
    checkpoints.save(1, {"step": 1})
    torch.save({"step": Exploit(tmp_path / "owned")}, tmp_path / "checkpoints/step-00000002.pt")
    state = checkpoints.newest()
    assert state is not None
    assert state["step"] == 1
    assert not (tmp_path / "owned").exists()


def test_a_half_written_checkpoint_is_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(FilePlace(tmp_path))
    checkpoints.save(1, {"step": 1})
    (tmp_path / ".step-00000009.pt.x7f").write_bytes(b"half")
    state = checkpoints.newest()
    assert state is not None
    assert state["step"] == 1
