"""The two consoles: results on standard output, everything for the eye on standard error."""

from __future__ import annotations

from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 120
"""Columns in a log file or a pipe, where rich would take 80 and fold every path."""


def stdout() -> Console:
    """Returns the console on standard output."""
    return _console(on_stderr=False)


def stderr() -> Console:
    """Returns the console on standard error."""
    return _console(on_stderr=True)


def _console(*, on_stderr: bool) -> Console:
    console = Console(stderr=on_stderr)
    if console.is_terminal:
        return console
    return Console(stderr=on_stderr, width=WIDTH_WITHOUT_TERMINAL)
