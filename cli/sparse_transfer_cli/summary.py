"""The closing table of a run: what was reached, what it costs, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.results import EngineResult, Interval, Recommended, Results
from sparse_transfer_cli.console import print_plain

UNKNOWN = "-"
_MEGABYTE = 1e6


def print_summary(console: Console, results: Results, folder: str) -> None:
    """Prints the closing table.

    Args:
        console: Where to.
        results: What package measured.
        folder: Path or address of the package stage's folder.
    """
    outcome = Table("Result", "dense", "shipped", "", box=SIMPLE_HEAD)
    for row in outcome_rows(results):
        outcome.add_row(*row)
    console.print(outcome)
    if results.engines:
        console.print(engine_table(results.engines))
    # Unfolded, so that paths can be copied.
    lines = "\n".join(closing_lines(results, folder))
    print_plain(console, lines)


def engine_table(engines: Sequence[EngineResult]) -> Table:
    """Returns the table of measured points, with what they were measured on below it."""
    places = (f"{e.isa}, {e.threads} thread{'s' if e.threads != 1 else ''}" for e in engines)
    caption = f"  median latencies; {' and '.join(dict.fromkeys(places))}"
    table = Table(
        "Latency", "batch", "length", "dense ms", "shipped ms",
        "speed-up", "vs fp32", "vs dense INT8", box=SIMPLE_HEAD,
        caption=caption, caption_justify="left",
    )  # fmt: skip
    for engine in engines:
        table.add_row(*engine_row(engine))
    return table


def outcome_rows(results: Results) -> list[tuple[str, str, str, str]]:
    """Returns quantity, the dense model's value, the sparse file's, and a remark."""
    metric = results.metric
    return [
        (
            metric.name,
            number(metric.baseline),
            number(metric.value),
            f"{metric.samples} rows of {metric.split}",
        ),
        ("recovery", "", number(results.recovery), interval(metric.interval)),
        ("sparsity", "", percent(results.sparsity), "of the shipped file's prunable weights"),
        ("size", megabytes(results.dense_size_bytes), megabytes(results.size_bytes), "raw"),
        (
            "",
            megabytes(results.dense_compressed_size_bytes),
            megabytes(results.compressed_size_bytes),
            "compressed (gzip -9)",
        ),
    ]


def engine_row(engine: EngineResult) -> tuple[str, ...]:
    """Returns one measured point: its latencies (median, ms) and the three speed-ups."""
    return (
        f"{engine.name} {engine.version}",
        str(engine.batch),
        UNKNOWN if engine.sequence is None else str(engine.sequence),
        f"{engine.dense_latency_ms:.2f}",
        f"{engine.latency_ms:.2f}",
        times(engine.speedup),
        times(engine.speedup_vs_fp32),
        times(engine.speedup_vs_dense_int8),
    )


def paths(results: Results, folder: str) -> dict[str, str]:
    """Returns where to find what a user takes away, by name."""
    return {
        "recommended": f"{folder}/{results.recommended.file}",
        "report": f"{folder}/report.html",
        "deployment": f"{folder}/deployment",
        "manifest": f"{folder}/{MANIFEST}",
    }


def closing_lines(results: Results, folder: str) -> list[str]:
    """Returns what was noticed, the recommended file with its reason, and where the files are."""
    places = paths(results, folder)
    return [
        *kernel_lines(results.engines),
        *note_lines(results.engines),
        *recommended_lines(results.recommended, folder),
        *(f"{name:<12} {path}" for name, path in places.items() if name != "recommended"),
    ]


def kernel_lines(engines: Sequence[EngineResult]) -> list[str]:
    """Returns how many layers leave their zeros out, on engines that can, each sentence once."""
    lines = [
        f"sparse       {engine.name}: {_without_zeros(engine.sparse_layers)}"
        for engine in engines
        if engine.sparse_layers is not None
    ]
    return list(dict.fromkeys(lines))


def _without_zeros(layers: int) -> str:
    if layers == 0:
        return "no layer gains by leaving its zeros out"
    if layers == 1:
        return "1 layer computed without its zeros"
    return f"{layers} layers computed without their zeros"


def note_lines(engines: Sequence[EngineResult]) -> list[str]:
    """Returns what was noticed on each engine, each sentence once."""
    notes = [f"note         {engine.name}: {note}" for engine in engines for note in engine.notes]
    return list(dict.fromkeys(notes))


def recommended_lines(recommended: Recommended, folder: str) -> list[str]:
    """Returns the file to deploy and why."""
    return [
        f"recommended  {folder}/{recommended.file}",
        f"             on {recommended.engine}: {recommended.reason}",
    ]


def acceptance_lines(missed: Sequence[str]) -> str:
    """Returns what to say about missed acceptance criteria."""
    return "\n".join(["the acceptance criteria are missed:", *(f"  - {line}" for line in missed)])


def interval(value: Interval | None) -> str:
    """Returns a 95 % interval, such as ``95 % interval 0.9710 to 0.9930``."""
    return "" if value is None else f"95 % interval {value.low:.4f} to {value.high:.4f}"


def number(value: float | None) -> str:
    """Returns a ratio with its 4 digits."""
    return UNKNOWN if value is None else f"{value:.4f}"


def percent(value: float) -> str:
    """Returns a share in per cent with one digit."""
    return f"{100 * value:.1f} %"


def megabytes(size: int | None) -> str:
    """Returns a size in megabytes (10^6 bytes)."""
    return UNKNOWN if size is None else f"{size / _MEGABYTE:.1f} MB"


def times(value: float | None) -> str:
    """Returns a factor, such as ``2.05x``."""
    return UNKNOWN if value is None else f"{value:.2f}x"
