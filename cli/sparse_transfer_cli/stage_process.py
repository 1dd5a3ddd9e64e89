"""One stage as a subprocess: its records read as they come, its log kept, signals passed on."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import IO, Any

from pydantic import ValidationError

from sparse_transfer_api.contract import ENV_EXPERIMENT, ENV_TERMINATION_LOG, ExitCode, Stage
from sparse_transfer_api.records import Progress, StageResult

RUNNER = (sys.executable, "-m", "sparse_transfer_runner")
"""How a stage is started: by this very Python, so that no other installation is picked up."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAIL_BYTES = 8192
_READ_BYTES = 65536
_LOOK_UP_SECONDS = 0.5


@dataclass(frozen=True)
class StageEnd:
    """How a stage's process ended.

    Args:
        stage: The stage.
        exit_code: The process's own, or 128 + the signal that ended it.
        result: What the stage recorded; None when it died without a word.
        log: The file that holds its standard error; None when that was empty.
    """

    stage: Stage
    exit_code: int
    result: StageResult | None
    log: Path | None

    @property
    def done(self) -> bool:
        """Whether the stage recorded success; an exit code alone proves nothing."""
        return (
            self.exit_code == ExitCode.DONE
            and self.result is not None
            and self.result.outcome == "Succeeded"
        )

    def log_tail(self, lines: int) -> list[str]:
        """Returns the last lines that the stage wrote to its standard error."""
        if self.log is None:
            return []
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]


class StopRequests:
    """Passes the user's wish to stop on to the running stage; a context manager.

    The stage runs in a session of its own, so that the terminal's Ctrl-C reaches only this
    process. The first signal becomes a SIGTERM to the stage, which writes a checkpoint; a further
    Ctrl-C kills the stage.

    Args:
        notify: Told what is happening, in a sentence for the user.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.requested = False
        self._notify = notify
        self._process: subprocess.Popen[bytes] | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        for number in _STOP_SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def passed_to(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Passes signals to the process, the one that came before it started included."""
        self._process = process
        try:
            if self.requested:
                process.terminate()
            yield
        finally:
            self._process = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if self._process is None:
            return
        if not again:
            self._process.terminate()
            self._notify(
                "stopping: waiting for the stage to write its checkpoint "
                "(Ctrl-C again to end it at once, losing the work since the last checkpoint)"
            )
        elif number == signal.SIGINT:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._notify("stopping: the stage was killed")


def run_stage(
    stage: Stage,
    experiment: str,
    *,
    logs: Path,
    on_progress: Callable[[Progress], None],
    stops: StopRequests,
    command: Sequence[str] = RUNNER,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> StageEnd:
    """Runs one stage to its end.

    Args:
        stage: The stage.
        experiment: The experiment as JSON, as the contract states.
        logs: Folder for the stage's standard error; it is created when missing.
        on_progress: Receives every progress record as it comes.
        stops: Where signals are passed on from.
        command: How the runner is started; the stage's name is appended.
        environment: Set for the stage, beside this process's own.
    """
    log = _log_file(logs, stage)
    with tempfile.TemporaryDirectory(prefix="sparse-transfer-") as scratch:
        stage_environment = {
            **os.environ,
            **environment,
            ENV_EXPERIMENT: experiment,
            ENV_TERMINATION_LOG: str(Path(scratch) / "termination-log"),
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("ab", buffering=0) as errors:
            process = subprocess.Popen(
                [*command, stage.value],
                env=stage_environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            with process, stops.passed_to(process), _not_left_running(process):
                result = _read_records(process, errors.write, on_progress)
    return StageEnd(stage, _exit_code(process.returncode), result, _kept(log))


@contextmanager
def _not_left_running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stops the stage when this side fails, such as by a closed standard output."""
    try:
        yield
    except BaseException:
        process.terminate()
        raise


def _read_records(
    process: subprocess.Popen[bytes],
    log: Callable[[bytes], object],
    on_progress: Callable[[Progress], None],
) -> StageResult | None:
    """Reads the stage's standard output to its end; what is no record goes to the log."""
    assert process.stdout is not None
    result: StageResult | None = None
    for line in _lines(process.stdout):
        record = parse_record(line)
        if isinstance(record, Progress):
            on_progress(record)
        elif isinstance(record, StageResult):
            result = record
        else:
            log(line)
    return result


def _lines(pipe: IO[bytes]) -> Iterator[bytes]:
    """Yields lines as they come.

    It waits for half a second at a time: Python acts on a signal that comes right before a blocking
    call only when that ends.
    """
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(_LOOK_UP_SECONDS):
                continue
            data = os.read(pipe.fileno(), _READ_BYTES)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def parse_record(line: bytes) -> Progress | StageResult | None:
    """Returns the record that a line of a stage's standard output holds; None for other text."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, Mapping):
        return None
    try:
        match document.get("type"):
            case "progress":
                return Progress.model_validate(document)
            case "result":
                return StageResult.model_validate(document)
    except ValidationError:
        pass
    return None


def _log_file(logs: Path, stage: Stage) -> Path:
    """Creates the file for a stage's log; a temporary one where the output place refuses it."""
    log = logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{stage}.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError:
        # The stage itself will say, in its own words, that the place cannot be written to.
        handle, name = tempfile.mkstemp(prefix=f"sparse-transfer-{stage}-", suffix=".log")
        os.close(handle)
        return Path(name)
    return log


def _kept(log: Path) -> Path | None:
    if log.stat().st_size:
        return log
    log.unlink()
    return None


def _exit_code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode
