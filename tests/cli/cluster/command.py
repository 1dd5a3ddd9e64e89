"""The command line as a process of its own: its lines read as they come, Ctrl-C sent to it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_SECONDS = 60


class Command:
    """A running command.

    Args:
        arguments: Without the program's name.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sparse_transfer_cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        self._rest = b""
        self._errors = b""
        self.lines: list[str] = []

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_for(self, wanted: Callable[[str], bool]) -> str:
        """Reads on until a line of standard output is wanted, and returns it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + _SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                while b"\n" in self._rest:
                    line, _, self._rest = self._rest.partition(b"\n")
                    self.lines.append(line.decode())
                    if wanted(self.lines[-1]):
                        return self.lines[-1]
                if selector.select(1):
                    part = os.read(self.process.stdout.fileno(), 65_536)
                    assert part, f"ended without it: {self.lines} {self.end()[1]}"
                    self._rest += part
        raise AssertionError(f"not within {_SECONDS} s: {self.lines}")

    def wait_for_record(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Reads on until a JSON line of a type has these fields, and returns it."""

        def wanted(line: str) -> bool:
            record = json.loads(line)
            return record["type"] == kind and all(record.get(k) == v for k, v in fields.items())

        found: dict[str, Any] = json.loads(self.wait_for(wanted))
        return found

    def wait_for_error(self, words: str) -> str:
        """Reads standard error on until it has these words, and returns all of it."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + _SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            while words not in (text := self._errors.decode()):
                assert time.monotonic() < deadline, text
                if selector.select(1):
                    part = os.read(self.process.stderr.fileno(), 65_536)
                    assert part, f"ended without {words!r}: {text}"
                    self._errors += part
        return text

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines that were read."""
        return [json.loads(line) for line in self.lines]

    def interrupt(self) -> None:
        """Does what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Reads to the end, and returns exit code and standard error."""
        output, errors = self.process.communicate(timeout=_SECONDS)
        self.lines += (self._rest + output).decode().splitlines()
        self._rest = b""
        return self.process.returncode, (self._errors + errors).decode()
