"""An attempt at training that says how much memory it uses, and waits to be killed."""

from __future__ import annotations

import threading
from multiprocessing.synchronize import Event
from pathlib import Path

from sparse_transfer_runner.memory_use import MemoryUse
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.training.memory_notes import learning_from_kills

BATCH = 8
WAITING_SECONDS = 120


def stage(folder: Path) -> StageFolder:
    """Returns the stage's folder."""
    return StageFolder.on_disk(folder, "train", "key")


def work_until_killed(folder: str, use: MemoryUse, halvings: int, ready: Event) -> None:
    """Works on the next attempt, of which batches are halved so often."""
    with (
        stage(Path(folder)).attempt() as work,
        learning_from_kills(work, BATCH, lambda: use) as backoff,
    ):
        backoff.resume(halvings)
        ready.set()
        threading.Event().wait(WAITING_SECONDS)
