"""``benchmark``: a finished experiment's files, measured again where they are going to serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sparse_transfer_cli.console import print_plain, stdout
from sparse_transfer_cli.display import JsonLinesDisplay, ProgressStyle, shows_bars
from sparse_transfer_cli.finished import Finished, find_finished
from sparse_transfer_cli.requirements import require
from sparse_transfer_cli.summary import engine_table, note_lines, recommended_lines


@dataclass(frozen=True)
class BenchmarkArguments:
    """What to measure; None for the runner's own choice."""

    engines: Sequence[str] | None = None
    batch_sizes: Sequence[int] | None = None
    sequence_lengths: Sequence[int] | None = None
    threads: int | None = None


def measure(result: str, arguments: BenchmarkArguments, style: ProgressStyle) -> None:
    """Measures and shows latencies and speed-ups; what the experiment recorded stays as it is.

    Args:
        result: Path or address of the experiment's result.
        arguments: What to measure.
        style: A table, or one JSON line.
    """
    require(("numpy", "onnxruntime"), "runner")
    from sparse_transfer_cli.within_reach import within_reach

    with TemporaryDirectory() as folder:
        _measure(find_finished(within_reach(result, Path(folder), stages=False)), arguments, style)


def _measure(finished: Finished, arguments: BenchmarkArguments, style: ProgressStyle) -> None:
    from sparse_transfer_runner.packaging.remeasure import remeasure

    console = stdout()
    if not shows_bars(style, console):
        found = remeasure(finished.package, **asdict(arguments))
        JsonLinesDisplay().line(
            "benchmark",
            package=str(finished.package),
            engines=[engine.to_json_dict() for engine in found.engines],
            recommended=found.recommended.to_json_dict(),
        )
        return
    with console.status(f"measuring {finished.package}"):
        found = remeasure(finished.package, **asdict(arguments))
    console.print(engine_table(found.engines))
    lines = [
        *note_lines(found.engines),
        *recommended_lines(found.recommended, str(finished.package)),
    ]
    print_plain(console, "\n".join(lines))
