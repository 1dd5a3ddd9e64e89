"""``run`` of an experiment that searches: all its levels, the table of them, and the page."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.contract import SEARCH, SEARCH_FOLDER, ExitCode
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_api.status import SearchRecord
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import JsonLinesDisplay, shows_bars, terminal_display
from sparse_transfer_cli.executor import RunEnd, cause_of, explain_failure
from sparse_transfer_cli.level_search import LevelSearch, SearchEnd
from sparse_transfer_cli.search_summary import print_search
from sparse_transfer_cli.storage import reaching
from sparse_transfer_cli.summary import acceptance_lines, paths, print_summary
from sparse_transfer_runner.experiment_folders import output_root

if TYPE_CHECKING:
    from .run import RunOptions

_REPORT = "report.html"


def run_search(experiment: SparseTransferExperiment, options: RunOptions, again: str) -> int:
    """Runs the levels of a search, then shows and judges the one that is kept.

    Args:
        experiment: With levels to try, absolute addresses and an output place.
        options: How it is run.
        again: How to name the command that resumes this run.

    Returns:
        The exit code.
    """
    console = stdout()
    bars = shows_bars(options.style, console)
    lines = JsonLinesDisplay()
    with (
        reaching(experiment.spec.storage) as caching,
        terminal_display(console) if bars else nullcontext(lines) as display,
    ):
        environment = {**caching, **options.environment()}
        end = LevelSearch(experiment, display, options.command, environment).run()
        if end is None:
            print_plain(stderr(), f"stopped; to go on: {again}")
            return ExitCode.STOPPED
        page = _written(experiment, end)
    missed = () if end.choice is None else end.choice.missed
    if not bars:
        lines.line("search", **end.status.to_json_dict(), report=page)
        if end.results is not None:
            lines.line("results", **_results(end), missed=missed)
    shown = console if bars else stderr()
    print_search(shown, end.status)
    if end.choice is not None and end.results is not None:
        print_summary(shown, end.results, end.folders[end.choice.level])
    print_plain(shown, f"search       {page}")
    _explain(end, again)
    if end.choice is None:
        return RunEnd({}, next(iter(end.failures.values()), None)).exit_code
    if missed:
        stderr().print(acceptance_lines(missed), style="bold red", highlight=False)
        return ExitCode.ACCEPTANCE
    return ExitCode.DONE


def _results(end: SearchEnd) -> dict[str, Any]:
    """Returns what the level that is kept came to, as a run without a search writes it."""
    if end.choice is None or end.results is None:
        return {}
    return {
        "results": end.results.to_json_dict(),
        "paths": paths(end.results, end.folders[end.choice.level]),
    }


def _written(experiment: SparseTransferExperiment, end: SearchEnd) -> str:
    """Writes what the search came to beside its levels' folders; returns where its page is."""
    from sparse_transfer_runner.report import SearchReport, render_search

    metadata, spec = experiment.metadata, experiment.spec
    place = output_root(experiment).below(SEARCH_FOLDER)
    report = SearchReport(
        name=metadata.name,
        use_case=spec.use_case,
        search=spec.search,
        acceptance=spec.acceptance,
        status=end.status,
        reports={level: _relative(folder) for level, folder in end.folders.items()},
    )
    html = render_search(report).encode()
    record = SearchRecord(created=datetime.now(UTC), search=end.status).to_json()
    place.put(_REPORT, lambda path: _write(path, html))
    place.put(SEARCH, lambda path: _write(path, record))
    return f"{place.folder or place.uri}/{_REPORT}"


def _relative(folder: str) -> str:
    """Returns where a level's report is, seen from the search's folder beside the level's."""
    return f"../{folder.rstrip('/').rpartition('/')[2]}/{_REPORT}"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _explain(end: SearchEnd, again: str) -> None:
    """Says why levels failed; the same reason once for all of them, with the first one's log."""
    reasons: dict[tuple[str, str], list[float]] = {}
    for level, failure in end.failures.items():
        # Of a stage without a result only its log says why.
        cause = cause_of(failure) if failure.result is not None else f"{level:g}"
        reasons.setdefault((failure.stage, cause), []).append(level)
    for levels in reasons.values():
        named = ", ".join(f"{level:g}" for level in levels)
        stderr().print("error:", style="bold red", end=" ")
        print_plain(stderr(), f"level {named}: {explain_failure(end.failures[levels[0]])}")
    if end.failures:
        print_plain(stderr(), f"to try again what failed: {again}")
