"""What a run looks like: progress bars in a terminal, JSON lines for everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from sparse_transfer_api.base import Record
from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_cli.console import print_plain

ProgressStyle = Literal["auto", "bar", "json"]
Sink = Callable[[Progress], None]

_METRICS_SHOWN = 3
_BAR_WIDTH = 24
_NAME_WIDTH = len("Upstream")


class Display(Protocol):
    """What a run is shown on: a terminal, or lines for another program."""

    def level_started(self, level: float, number: int, count: int) -> None:
        """A search turns to a level, the so manieth of so many; the stages that follow are its."""

    def stage_started(self, stage: Stage) -> None:
        """A stage begins."""

    def progress(self, progress: Progress) -> None:
        """The running stage has reported."""

    def stage_done(self, result: StageResult, seconds: float) -> None:
        """A stage has its result; ``result.recorded`` says that nothing had to be run."""

    def note(self, message: str) -> None:
        """Something the user should know while it runs."""


class JsonLinesDisplay:
    """Writes one JSON object a line: the stages' own records, and notes.

    Args:
        write: Receives each line, newline included.
    """

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or _to_stdout

    def level_started(self, level: float, number: int, count: int) -> None:
        """Writes ``{"type": "level", "level": …, "number": …, "of": …}``."""
        self.line("level", level=level, number=number, of=count)

    def stage_started(self, stage: Stage) -> None:
        """Writes ``{"type": "started", "stage": …}``."""
        self.line("started", stage=stage.value)

    def progress(self, progress: Progress) -> None:
        """Passes the stage's record on."""
        self.line("progress", **document(progress))

    def stage_done(self, result: StageResult, seconds: float) -> None:
        """Passes the stage's result on."""
        self.line("result", **document(result), seconds=round(seconds, 1))

    def note(self, message: str) -> None:
        """Writes ``{"type": "note", "message": …}``."""
        self.line("note", message=message)

    def line(self, kind: str, **content: Any) -> None:
        """Writes one object of the given type."""
        self._write(json.dumps({"type": kind, **content}) + "\n")


class TerminalDisplay:
    """One progress bar a stage, with what it is doing, its metrics and the time that remains.

    Args:
        bars: The running rich display.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._level: float | None = None
        self._tasks: dict[tuple[float | None, Stage], TaskID] = {}

    def level_started(self, level: float, number: int, count: int) -> None:
        """Gives the stages that follow bars with the level in their names."""
        self._level = level

    def stage_started(self, stage: Stage) -> None:
        """Opens the stage's bar, or starts it over when the stage runs once more."""
        bar = (self._level, stage)
        if bar in self._tasks:
            self._bars.reset(self._tasks[bar], activity="", visible=True)
            return
        name = stage.capitalize() if self._level is None else f"{self._level:g} {stage}"
        self._tasks[bar] = self._bars.add_task(name, total=100, activity="")

    def progress(self, progress: Progress) -> None:
        """Moves the stage's bar."""
        self._bars.update(
            self._bar(progress.stage),
            completed=progress.percentage or 0.0,
            activity=escape(describe(progress)),
        )

    def stage_done(self, result: StageResult, seconds: float) -> None:
        """Fills the stage's bar, and says whether anything had to be run."""
        how = "reused" if result.recorded else f"done in {duration(seconds)}"
        text = f"{how}: {result.message}" if result.message else how
        self._bars.update(self._bar(result.stage), completed=100, activity=escape(text))

    def note(self, message: str) -> None:
        """Prints a line above the bars."""
        print_plain(self._bars.console, message)

    def _bar(self, stage: Stage) -> TaskID:
        """Returns a stage's bar: a new one where it began before the level was told."""
        if (self._level, stage) not in self._tasks:
            self.stage_started(stage)
        return self._tasks[self._level, stage]


@contextmanager
def terminal_display(console: Console) -> Iterator[TerminalDisplay]:
    """Shows one progress bar a stage on the console while the context is open."""
    with _bars(console) as bars:
        yield TerminalDisplay(bars)


@contextmanager
def activity_display(title: str, console: Console, *, bar: bool) -> Iterator[Sink]:
    """Shows the progress of work that is no stage.

    Args:
        title: Beside the bar.
        console: Where the bar goes.
        bar: Show a bar; JSON lines on standard output otherwise.
    """
    if not bar:
        lines = JsonLinesDisplay()
        yield lambda progress: lines.line("progress", **_without_stage(progress))
        return
    with _bars(console) as bars:
        task = bars.add_task(title, total=100, activity="")
        yield lambda progress: bars.update(
            task, completed=progress.percentage or 0.0, activity=escape(describe(progress))
        )


def shows_bars(style: ProgressStyle, console: Console) -> bool:
    """Returns whether progress is shown as bars, by what the user asked for and the console is."""
    return style == "bar" or (style == "auto" and console.is_terminal)


def _bars(console: Console) -> Bars:
    # Only the activity may be shortened: without fixed widths a long one would squeeze the bar.
    name = Column(min_width=_NAME_WIDTH, no_wrap=True)
    bar = Column(min_width=_BAR_WIDTH, no_wrap=True)
    share = Column(min_width=len("100%"), no_wrap=True)
    activity = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Bars(
        TextColumn("{task.description}", table_column=name),
        BarColumn(bar_width=_BAR_WIDTH, table_column=bar),
        TaskProgressColumn(table_column=share),
        TextColumn("{task.fields[activity]}", table_column=activity),
        console=console,
        expand=True,
    )


def _without_stage(progress: Progress) -> dict[str, Any]:
    fields = document(progress)
    del fields["stage"]
    return fields


def describe(progress: Progress) -> str:
    """Returns a running stage's state in one line: activity, steps, metrics, remaining time."""
    parts = [progress.activity]
    if progress.step is not None and progress.total_steps:
        parts.append(f"{progress.step}/{progress.total_steps}")
    shown = list(progress.metrics.items())[:_METRICS_SHOWN]
    parts += [f"{name} {value:.4g}" for name, value in shown]
    if progress.estimated_remaining_seconds:
        parts.append(f"{duration(progress.estimated_remaining_seconds)} left")
    return " · ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Returns a duration as people read it, such as ``0:42`` or ``1:05:00``."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:") else text


def document(record: Record) -> dict[str, Any]:
    """Returns a record as it goes into a JSON line."""
    return record.model_dump(mode="json", by_alias=True, exclude_none=True)


def _to_stdout(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
