"""An attempt after one that was killed for its memory, where batches are not taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runner.training.killed_attempt import BATCH, stage
from tests.runner.training.small_run import wait_for

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import OutOfMemory
from sparse_transfer_runner.memory_use import MemoryUse
from sparse_transfer_runner.training.memory_notes import MemoryNote
from sparse_transfer_runner.training.whole_batches import whole_batches


def test_an_attempt_after_a_kill_for_memory_ends_at_once_and_a_rerun_begins_anew(
    tmp_path: Path,
) -> None:
    note = tmp_path / "attempts" / "1-memory.json"
    with stage(tmp_path).attempt():
        note.write_bytes(MemoryNote(halvings=0, used_bytes=95, limit_bytes=100).to_json())
    with (
        pytest.raises(OutOfMemory, match=f"batches of {BATCH} rows in parts") as failed,
        stage(tmp_path).attempt() as work,
        whole_batches(work, BATCH),
    ):
        pytest.fail("it went on")
    assert failed.value.exit_code == ExitCode.MEMORY
    with stage(tmp_path).attempt() as work, whole_batches(work, BATCH) as backoff:
        assert backoff.micro_batch == BATCH


def test_memory_that_runs_short_is_noted_while_the_attempt_lasts(tmp_path: Path) -> None:
    note = tmp_path / "attempts" / "1-memory.json"
    with stage(tmp_path).attempt() as work:
        with whole_batches(work, BATCH, lambda: MemoryUse(95, 100)):
            wait_for(note.is_file)
        assert not note.exists()
