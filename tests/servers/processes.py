"""Servers as processes of a test: started, awaited, and stopped by their process id."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 30
_STOP_SECONDS = 10
_POLL_SECONDS = 0.02


def free_port(host: str = "127.0.0.1", port: int = 0) -> int:
    """Returns a TCP port that nobody listens on just now.

    Args:
        host: A loopback address.
        port: Which one; 0 for any.

    Raises:
        OSError: Somebody listens there, or this user may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def wait_until(happened: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Waits for a condition.

    Raises:
        AssertionError: It did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(_POLL_SECONDS)


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str],
    seconds: float = _START_SECONDS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends.

    Args:
        command: Its program and arguments.
        ready: Whether it answers.
        log: Where its output goes.
        environment: All of it.
        seconds: That it may take to answer.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environment)
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
            return ready()

        wait_until(answers, f"{command[0]}, which logs to {log}", seconds)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
