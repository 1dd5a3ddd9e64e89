"""Experiments as a table, with the columns that ``kubectl get`` shows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sparse_transfer_cli.summary import UNKNOWN, number, percent, times

from .observed import Observed

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_EXACT_UP_TO = 2
"""Units of the smaller kind are shown up to so many of the larger one."""


def listing(experiments: Iterable[Observed], now: datetime, *, everywhere: bool) -> Table:
    """Returns the table.

    Args:
        experiments: In the order to be shown.
        now: What their age is counted to.
        everywhere: Name their namespaces too.
    """
    table = Table(box=SIMPLE_HEAD)
    names = ("name", "use case", "level", "phase", "progress", "sparsity", "recovery", "speed-up")
    for name in (*(("namespace",) if everywhere else ()), *names, "age"):
        table.add_column(name, no_wrap=name in ("namespace", "name"))
    for experiment in experiments:
        row = columns(experiment, now)
        table.add_row(*((experiment.namespace, *row) if everywhere else row))
    return table


def columns(experiment: Observed, now: datetime) -> tuple[str, ...]:
    """Returns one experiment's row, without its namespace."""
    results, progress = experiment.status.results, experiment.status.progress
    share = progress.percentage if progress is not None and experiment.running else None
    return (
        experiment.name,
        experiment.use_case,
        _level(experiment),
        phase_of(experiment),
        UNKNOWN if share is None else f"{share:.0f} %",
        UNKNOWN if results is None else percent(results.sparsity),
        number(results.recovery if results is not None else None),
        times(results.headline.speedup if results is not None else None),
        age(experiment.created, now),
    )


def _level(experiment: Observed) -> str:
    """Returns the level; of a search, how many of its levels have ended too."""
    search = experiment.status.search
    counted = "" if search is None or search.summary is None else f" ({search.summary})"
    return f"{experiment.level:g}{counted}"


def phase_of(experiment: Observed) -> str:
    """Returns the phase in one word, or that nobody has looked at the experiment yet."""
    if experiment.deleting:
        return "Deleting"
    return experiment.phase or UNKNOWN


def age(since: datetime, now: datetime) -> str:
    """Returns a time span as kubectl shortens it, such as ``90s``, ``5m``, ``36h`` or ``4d``."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, suffix in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= _EXACT_UP_TO * unit:
            return f"{seconds // unit}{suffix}"
    return f"{seconds}s"
