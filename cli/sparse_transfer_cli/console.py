"""The two consoles: results on standard output, everything for the eye on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_ANY_WIDTH = 10_000
WIDTH_WITHOUT_TERMINAL = 120
"""Columns in a log file or a pipe, where rich would take 80 and fold every path."""


def stdout() -> Console:
    """Returns the console on standard output."""
    return _console(on_stderr=False)


def stderr() -> Console:
    """Returns the console on standard error."""
    return _console(on_stderr=True)


def print_plain(
    console: Console, text: str | Text, *, style: str | None = None, end: str = "\n"
) -> None:
    """Prints text as it is: brackets are no markup, figures get no colour, lines are not folded."""
    console.print(text, style=style, end=end, markup=False, highlight=False, soft_wrap=True)


def print_whole(console: Console, table: Table) -> None:
    """Prints a table; where no terminal's width bounds it, nothing in it is cut or folded."""
    if not console.is_terminal:
        unbounded = console.options.update(max_width=_ANY_WIDTH)
        console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)


def _console(*, on_stderr: bool) -> Console:
    console = Console(stderr=on_stderr)
    if console.is_terminal:
        return console
    return Console(stderr=on_stderr, width=WIDTH_WITHOUT_TERMINAL)
