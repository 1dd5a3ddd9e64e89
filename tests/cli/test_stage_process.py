"""A stage's process, as the executor sees it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import Progress
from sparse_transfer_cli.stage_process import StopRequests, run_stage

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print({line!r}, flush=True)
time.sleep(60)
"""
WAIT_SECONDS = 60


def test_signals_that_another_thread_took_are_acted_on(tmp_path: Path) -> None:
    begun, asked = threading.Event(), threading.Event()
    notes: list[str] = []

    def interrupt_twice() -> None:
        assert begun.wait(WAIT_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(WAIT_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    def note(message: str) -> None:
        notes.append(message)
        asked.set()

    progress = Progress(stage=Stage.TRAIN, activity="working")
    line = json.dumps({"type": "progress", **json.loads(progress.to_json())})
    interrupting = threading.Thread(target=interrupt_twice)
    interrupting.start()
    # The main thread's read is not interrupted by what another thread takes.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with StopRequests(note) as stops:
            end = run_stage(
                Stage.TRAIN,
                "{}",
                logs=tmp_path,
                on_progress=lambda _: begun.set(),
                stops=stops,
                command=(sys.executable, "-c", DEAF.format(line=line)),
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        interrupting.join()
    assert end.exit_code == 128 + signal.SIGKILL
    assert notes[-1] == "stopping: the stage was killed"
