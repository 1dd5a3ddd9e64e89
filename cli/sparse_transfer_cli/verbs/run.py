"""``run`` and ``sparse-transfer``: an experiment from end to end on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml

from sparse_transfer_api.acceptance import judge
from sparse_transfer_api.contract import ENV_CATALOG, ExitCode, Stage
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import (
    JsonLinesDisplay,
    ProgressStyle,
    shows_bars,
    terminal_display,
)
from sparse_transfer_cli.executor import Executor, RunEnd, explain_failure
from sparse_transfer_cli.experiment_file import experiment_from, file_uri, read_experiment
from sparse_transfer_cli.measured import measured
from sparse_transfer_cli.original_arguments import OriginalArguments, experiment_document
from sparse_transfer_cli.requirements import require_runner
from sparse_transfer_cli.stage_process import RUNNER
from sparse_transfer_cli.storage import reaching
from sparse_transfer_cli.summary import acceptance_lines, paths, print_summary


@dataclass(frozen=True)
class RunOptions:
    """How an experiment is run, whatever it says.

    Args:
        style: How progress is shown.
        catalog: Path or address of the user's own catalogue instead of the one in force.
        command: How the runner is started.
    """

    style: ProgressStyle = "auto"
    catalog: str | None = None
    command: Sequence[str] = RUNNER

    def environment(self) -> dict[str, str]:
        """Returns what is set for the stages."""
        return {} if self.catalog is None else {ENV_CATALOG: file_uri(self.catalog, Path.cwd())}


def run_file(path: Path, options: RunOptions) -> int:
    """Runs the experiment of a YAML file; returns the exit code."""
    return run(read_experiment(path), options, again=f"sparse-transfer run -f {path}")


def run_arguments(arguments: OriginalArguments, options: RunOptions, *, show: bool) -> int:
    """Runs the experiment that the original command's arguments describe.

    Args:
        arguments: As typed.
        options: How it is run.
        show: Print the experiment as YAML instead of running it.

    Returns:
        The exit code.
    """
    document = experiment_document(arguments, Path.cwd())
    experiment = experiment_from(document, source="the command line", folder=Path.cwd())
    if show:
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
        return ExitCode.DONE
    return run(experiment, options, again="the same command")


def run(experiment: SparseTransferExperiment, options: RunOptions, again: str) -> int:
    """Runs an experiment's stages, then shows and judges what came out.

    Args:
        experiment: With absolute addresses and an output place.
        options: How it is run.
        again: How to name the command that resumes this run.

    Returns:
        The exit code.
    """
    require_runner()
    if experiment.spec.search.levels:
        from .run_search import run_search

        return run_search(experiment, options, again)
    console = stdout()
    bars = shows_bars(options.style, console)
    lines = JsonLinesDisplay()
    with (
        reaching(experiment.spec.storage) as caching,
        terminal_display(console) if bars else nullcontext(lines) as display,
    ):
        environment = {**caching, **options.environment()}
        end = Executor(experiment, display, options.command, environment).run()
        if end.exit_code != ExitCode.DONE:
            return say_unfinished(end, again)
        folder, results = measured(end.results[Stage.PACKAGE])
    missed = judge(experiment.spec.acceptance, results)
    if not bars:
        lines.line(
            "results",
            results=results.model_dump(mode="json", by_alias=True, exclude_none=True),
            paths=paths(results, folder),
            missed=missed,
        )
    # Beside JSON lines on standard output, the table still serves whoever watches.
    print_summary(console if bars else stderr(), results, folder)
    if missed:
        stderr().print(acceptance_lines(missed), style="bold red", highlight=False)
        return ExitCode.ACCEPTANCE
    return ExitCode.DONE


def say_unfinished(end: RunEnd, again: str) -> int:
    """Says why a run did not come to its end; returns the exit code."""
    console = stderr()
    if end.stopped:
        print_plain(console, f"stopped; to go on: {again}")
    elif end.failure is not None:
        console.print("error:", style="bold red", end=" ")
        print_plain(console, explain_failure(end.failure))
        if end.exit_code == ExitCode.TRANSIENT:
            print_plain(console, f"to try again: {again}")
    return end.exit_code
