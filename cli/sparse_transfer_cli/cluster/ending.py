"""What is said when an experiment has ended: its figures, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparse_transfer_api.contract import MANIFEST, Stage
from sparse_transfer_api.search import missed_by
from sparse_transfer_api.status import PastResult
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import JsonLinesDisplay
from sparse_transfer_cli.search_summary import print_search
from sparse_transfer_cli.summary import (
    UNKNOWN,
    acceptance_lines,
    megabytes,
    number,
    paths,
    percent,
    print_summary,
    times,
)

from .observed import Observed
from .outcome import Outcome
from .story import next_steps


def show_end(experiment: Observed, outcome: Outcome, *, bars: bool) -> None:
    """Shows how an experiment ended, in the forms that a run on this machine has.

    Args:
        experiment: As it was seen last.
        outcome: How it ended.
        bars: For a terminal; JSON lines otherwise, and the tables on standard error.
    """
    if not bars:
        lines = JsonLinesDisplay()
        if outcome.measured and experiment.status.results is not None:
            lines.line("results", **results_document(experiment))
        lines.line(
            "end",
            phase=experiment.phase,
            reason=outcome.reason,
            message=outcome.message,
            exitCode=outcome.exit_code,
        )
    if outcome.measured:
        print_results(stdout() if bars else stderr(), experiment)
    if not outcome.succeeded:
        explain_failure(experiment, outcome)


def explain_failure(experiment: Observed, outcome: Outcome) -> None:
    """Says on standard error why an experiment failed, and what leads on from there."""
    console = stderr()
    missed = missed_criteria(experiment) if outcome.measured else []
    if missed:
        console.print(acceptance_lines(missed), style="bold red", highlight=False)
        return
    console.print("error:", style="bold red", end=" ")
    lines = [
        f"{experiment.name} failed ({outcome.reason})"
        f"{f': {outcome.message}' if outcome.message else ''}",
        *(f"next: {step}" for step in next_steps(experiment)),
    ]
    print_plain(console, "\n".join(lines))


def missed_criteria(experiment: Observed) -> list[str]:
    """Returns a sentence for each criterion that the results miss."""
    results = experiment.status.results
    if results is None:
        return []
    return missed_by(experiment.search, experiment.acceptance, results)


def package_folder(experiment: Observed) -> str:
    """Returns the address of the package stage's folder, which is where everything is."""
    stage = experiment.stage(Stage.PACKAGE)
    uri = stage.manifest_uri if stage is not None else None
    return uri.removesuffix(f"/{MANIFEST}") if uri is not None else "package's folder"


def print_results(console: Console, experiment: Observed) -> None:
    """Prints the table that a run on this machine closes with, and what there is to take away."""
    results = experiment.status.results
    if experiment.status.search is not None:
        print_search(console, experiment.status.search)
    lines = []
    if results is None:
        # A termination message has no room for everything.
        lines.append(f"the figures are in {package_folder(experiment)}/{MANIFEST}")
    else:
        print_summary(console, results, package_folder(experiment))
        if not results.engines:
            lines.append(f"every measured point is in {package_folder(experiment)}/{MANIFEST}")
    lines += _artifact_lines(experiment)
    if lines:
        print_plain(console, "\n".join(lines))


def _artifact_lines(experiment: Observed) -> Iterator[str]:
    for artifact in experiment.status.artifacts:
        size = f" ({megabytes(artifact.size_bytes)})" if artifact.size_bytes is not None else ""
        yield f"artifact     {artifact.name}: {artifact.uri}{size}"
        if artifact.sha256 is not None:
            yield f"             SHA-256 {artifact.sha256}"


def print_history(console: Console, experiment: Observed) -> None:
    """Prints what earlier versions of the spec came to, newest first, and where that is."""
    history = experiment.status.history
    if not history:
        return
    table = Table(
        "earlier", "ended", "outcome", "level", "sparsity", "recovery", "speed-up", box=SIMPLE_HEAD
    )
    for past in history:
        table.add_row(*history_row(past))
    console.print(table)
    lines = [f"earlier      {past.manifest_uri}" for past in history if past.manifest_uri]
    if lines:
        print_plain(console, "\n".join(lines))


def history_row(past: PastResult) -> tuple[str, ...]:
    """Returns one earlier result's row."""
    ended = past.completion_time
    why = f" ({past.reason})" if past.outcome == "Failed" and past.reason else ""
    return (
        UNKNOWN if past.generation is None else f"generation {past.generation}",
        UNKNOWN if ended is None else f"{ended:%Y-%m-%d %H:%M}",
        f"{past.outcome}{why}",
        UNKNOWN if past.level is None else f"{past.level:g}",
        UNKNOWN if past.sparsity is None else percent(past.sparsity),
        number(past.recovery),
        times(past.speedup),
    )


def results_document(experiment: Observed) -> dict[str, Any]:
    """Returns the results as a program reads them: as ``run`` writes them, and artifacts."""
    results = experiment.status.results
    if results is None:
        return {}
    return {
        "results": results.to_json_dict(),
        "paths": paths(results, package_folder(experiment)),
        "missed": missed_criteria(experiment),
        "artifacts": [artifact.to_json_dict() for artifact in experiment.status.artifacts],
        **_search_document(experiment),
    }


def _search_document(experiment: Observed) -> dict[str, Any]:
    search = experiment.status.search
    return {} if search is None else {"search": search.to_json_dict()}
