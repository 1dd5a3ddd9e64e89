"""Attempts that are killed while memory is short, and those that come after them."""

from __future__ import annotations

import multiprocessing
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.runner.training.killed_attempt import (
    BATCH,
    WAITING_SECONDS,
    stage,
    work_until_killed,
)
from tests.runner.training.small_run import wait_for

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import OutOfMemory, Stopped
from sparse_transfer_runner.memory_use import MemoryUse
from sparse_transfer_runner.output import Attempt
from sparse_transfer_runner.training.backoff import Backoff
from sparse_transfer_runner.training.memory_notes import MemoryNote, learning_from_kills

FULL, EMPTY = MemoryUse(95, 100), MemoryUse(50, 100)


def working(work: Attempt, use: MemoryUse = EMPTY) -> AbstractContextManager[Backoff]:
    return learning_from_kills(work, BATCH, lambda: use)


def note_of(folder: Path, attempt: int) -> Path:
    return folder / "attempts" / f"{attempt}-memory.json"


def noted_halvings(folder: Path, attempt: int) -> int | None:
    path = note_of(folder, attempt)
    return MemoryNote.model_validate_json(path.read_bytes()).halvings if path.is_file() else None


def killed(folder: Path, use: MemoryUse, halvings: int = 0) -> None:
    """Has a process work on the next attempt, and kills it."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    given = (str(folder), use, halvings, ready)
    process = spawn.Process(target=work_until_killed, args=given)
    process.start()
    try:
        assert ready.wait(WAITING_SECONDS)
        attempt = stage(folder).newest_attempt()
        if use is FULL:
            wait_for(lambda: noted_halvings(folder, attempt) == halvings)
    finally:
        process.kill()
        process.join()


def test_an_attempt_that_was_killed_while_memory_was_short_halves_the_next_ones_batch(
    tmp_path: Path,
) -> None:
    killed(tmp_path, FULL)
    with stage(tmp_path).attempt() as work, working(work) as backoff:
        assert backoff.micro_batch == BATCH // 2
    with stage(tmp_path).attempt() as work, working(work) as backoff:
        assert backoff.micro_batch == BATCH // 2, "what is known stays known"


def test_an_attempt_that_was_killed_for_another_reason_changes_nothing(tmp_path: Path) -> None:
    killed(tmp_path, EMPTY)
    with stage(tmp_path).attempt() as work, working(work) as backoff:
        assert backoff.micro_batch == BATCH


def test_an_attempt_that_ends_by_itself_leaves_no_note(tmp_path: Path) -> None:
    with (
        pytest.raises(Stopped),
        stage(tmp_path).attempt() as work,
        working(work, FULL) as backoff,
    ):
        wait_for(lambda: noted_halvings(tmp_path, 1) == 0)
        backoff.halve(BATCH, 1, "here", "full")
        wait_for(lambda: noted_halvings(tmp_path, 1) == 1)
        raise Stopped("asked to")
    assert not note_of(tmp_path, 1).exists()
    with stage(tmp_path).attempt() as work, working(work) as backoff:
        assert backoff.micro_batch == BATCH


def test_a_peak_that_is_over_is_no_reason_for_a_later_kill(tmp_path: Path) -> None:
    now = [FULL]
    with stage(tmp_path).attempt() as work, learning_from_kills(work, BATCH, lambda: now[0]):
        wait_for(note_of(tmp_path, 1).exists)
        now[0] = EMPTY
        wait_for(lambda: not note_of(tmp_path, 1).exists())


def test_kills_with_the_smallest_micro_batch_end_it_and_a_rerun_begins_anew(
    tmp_path: Path,
) -> None:
    killed(tmp_path, FULL, halvings=3)
    with (
        pytest.raises(OutOfMemory, match="tried 8, 4, 2, 1 rows at once") as failed,
        stage(tmp_path).attempt() as work,
        working(work),
    ):
        pytest.fail("it went on")
    assert failed.value.exit_code == ExitCode.MEMORY
    with stage(tmp_path).attempt() as work, working(work) as backoff:
        assert backoff.micro_batch == BATCH
