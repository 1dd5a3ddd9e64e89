"""The table of a search's levels: what each keeps and costs, which is kept, and why not others."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparse_transfer_api.status import LevelStatus, SearchStatus
from sparse_transfer_cli.console import print_plain
from sparse_transfer_cli.summary import UNKNOWN, megabytes, number, percent, times

_COLUMNS = ("recovery", "metric", "latency", "size", "compressed", "sparsity", "speed-up")
_MAX_REMARK = 80


def print_search(console: Console, search: SearchStatus) -> None:
    """Prints every level, and the sentence that says which is kept."""
    console.print(levels_table(search))
    if search.message:
        print_plain(console, f"search       {search.message}")


def levels_table(search: SearchStatus) -> Table:
    """Returns the table of levels; a star marks the front, an arrow the one that is kept."""
    table = Table(
        *("", "level", "band", *_COLUMNS, ""),
        box=SIMPLE_HEAD,
        caption="  * no other level beats it in recovery and in what the search makes small",
        caption_justify="left",
    )
    for level in search.levels:
        table.add_row(*map(escape, level_row(level, kept=level.level == search.selected)))
    return table


def level_row(level: LevelStatus, *, kept: bool) -> tuple[str, ...]:
    """Returns one level's row."""
    marks = f"{'>' if kept else ' '}{'*' if level.pareto else ' '}"
    results = level.results
    figures = (UNKNOWN,) * len(_COLUMNS)
    if results is not None:
        figures = (
            number(results.recovery),
            number(results.metric.value),
            UNKNOWN if level.latency_ms is None else f"{level.latency_ms:.2f} ms",
            megabytes(results.size_bytes),
            megabytes(results.compressed_size_bytes),
            percent(results.sparsity),
            times(results.headline.speedup),
        )
    return (marks, f"{level.level:g}", level.band or UNKNOWN, *figures, _remark(level))


def _remark(level: LevelStatus) -> str:
    if level.outcome == "Succeeded":
        return ""
    if level.outcome == "Skipped" and level.same_as is not None:
        return f"same as {level.same_as:g}"
    text = level.reason or "" if level.outcome == "Failed" else level.outcome or "Waiting"
    return text if len(text) <= _MAX_REMARK else f"{text[: _MAX_REMARK - 1]}…"
