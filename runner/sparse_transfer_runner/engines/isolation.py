"""A process beside this one for a library that may end the process it runs in.

What a signal or an exit takes away there is an error here, and the next question starts it anew.
It is asked by one thread at a time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import weakref
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

_STANDARD_ERROR = 2
"""Where it says what it says: standard output belongs to this process's records."""
_SECONDS_TO_END = 30.0
"""A process whose connection is closed has nothing left to do but to free its memory."""


class ProcessEnded(Exception):
    """The process ended before it answered; says how."""


@dataclass
class Isolated:
    """Asks a function in a process of its own.

    Args:
        module: Where the function is.
        function: Takes the descriptor of a connection, and answers each message with one message
            until the connection ends.
    """

    module: str
    function: str
    _running: tuple[Connection, subprocess.Popen[bytes]] | None = None

    @property
    def pid(self) -> int | None:
        """The process, where one runs."""
        return self._running[1].pid if self._running else None

    def ask(self, message: object) -> Any:
        """Sends a message, and returns the answer.

        Raises:
            ProcessEnded: Instead of answering.
        """
        connection, process = self._running or self._start()
        try:
            connection.send(message)
            return connection.recv()
        except (EOFError, OSError) as error:
            self._running = None
            _stop(connection, process)
            raise ProcessEnded(_how(process.returncode)) from error
        except BaseException:
            # Its answer would be taken for that to the next question.
            self._running = None
            process.kill()
            raise

    def _start(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        ours, theirs = Pipe()
        number = theirs.fileno()
        code = f"from {self.module} import {self.function}; {self.function}({number})"
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=_STANDARD_ERROR,
                pass_fds=[number],
            )
        self._running = ours, process
        weakref.finalize(self, _stop, ours, process)
        return self._running


def _stop(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _how(code: int) -> str:
    if code < 0:
        found = signal.Signals(-code)
        why = ", as where memory is short" if found is signal.SIGKILL else ""
        return f"its process ended with {found.name}{why}"
    return f"its process ended with exit code {code}, having said why on standard error"
