"""``submit``: an experiment to a cluster, and if wanted to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import Transient, UsageError
from sparse_transfer_cli.cluster.attending import attend
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.experiments import Applied, Experiments
from sparse_transfer_cli.cluster.interrupted import until_interrupted
from sparse_transfer_cli.cluster.observed import Observed, observed
from sparse_transfer_cli.cluster.outcome import outcome_of
from sparse_transfer_cli.cluster.patience import Timing
from sparse_transfer_cli.cluster.story import next_steps
from sparse_transfer_cli.cluster.submission import namespaced, submission
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import JsonLinesDisplay, ProgressStyle, shows_bars
from sparse_transfer_cli.experiment_file import read_document


@dataclass(frozen=True)
class SubmitOptions:
    """How an experiment is submitted.

    Args:
        wait: Stay until it ends.
        timeout: Seconds to stay; None as long as it takes.
        dry_run: Let the cluster check it, and change nothing.
        force: Take over fields that others manage.
        style: How progress is shown.
    """

    wait: bool = False
    timeout: float | None = None
    dry_run: bool = False
    force: bool = False
    style: ProgressStyle = "auto"


def submit(file: Path, target: Target, options: SubmitOptions) -> int:
    """Checks an experiment, applies it, and says what happens next.

    Args:
        file: The YAML.
        target: The cluster.
        options: How.

    Returns:
        The exit code.

    Raises:
        InputError: The experiment is not valid, on this machine's or the cluster's account.
        SparseTransferError: The cluster cannot be asked, or refuses.
    """
    if options.timeout is not None and not options.wait:
        raise UsageError("--timeout says how long --wait waits; give that too")
    if options.dry_run and options.wait:
        raise UsageError("--dry-run changes nothing, so there is nothing to --wait for")
    prepared = submission(read_document(file), str(file))
    connection = connect(target)
    document, namespace = namespaced(prepared, target.namespace, connection.namespace)
    experiments = Experiments(replace(connection, namespace=namespace))
    applied = experiments.apply(document, dry_run=options.dry_run, force=options.force)
    _say(applied, options)
    if not options.wait:
        return ExitCode.DONE
    name = prepared.experiment.metadata.name
    again = f"sparse-transfer status {name} --namespace {namespace} --watch"
    return until_interrupted(
        lambda: _wait(experiments, name, options, again),
        told=f"no longer waiting; {name} goes on in the cluster: {again}",
        code=ExitCode.STOPPED,
    )


def _wait(experiments: Experiments, name: str, options: SubmitOptions, again: str) -> int:
    timing = Timing()
    until = None if options.timeout is None else timing.clock() + options.timeout
    code = attend(experiments, name, options.style, until=until, timing=timing)
    if code is None:
        raise Transient(
            f"{name}: has not ended within {options.timeout:g} s; it goes on in the cluster; "
            f"to wait on: {again}"
        )
    return code


def _say(applied: Applied, options: SubmitOptions) -> None:
    experiment = observed(applied.document)
    how = f"{applied.change} (dry run: nothing was changed)" if options.dry_run else applied.change
    lines = [f"{experiment.name} in {experiment.namespace}: {how}"]
    if not options.dry_run and not options.wait:
        lines += _next(applied, experiment)
    console = stdout()
    if options.wait and not shows_bars(options.style, console):
        # Standard output carries JSON lines only.
        JsonLinesDisplay().line(
            "submitted",
            name=experiment.name,
            namespace=experiment.namespace,
            generation=experiment.generation,
            change=applied.change,
        )
        console = stderr()
    print_plain(console, "\n".join(lines))


def _next(applied: Applied, experiment: Observed) -> Iterator[str]:
    option = f"{experiment.name} --namespace {experiment.namespace}"
    if experiment.managed_by is not None:
        yield f"it is left to {experiment.managed_by} (spec.runPolicy.managedBy)"
    if (experiment.spec.get("runPolicy") or {}).get("suspend"):
        yield "it is suspended: nothing runs until spec.runPolicy.suspend is false"
    outcome = outcome_of(experiment) if applied.change == "unchanged" else None
    if outcome is not None:
        yield f"nothing changed since it ended: {outcome.reason}"
        yield from (f"next: {step}" for step in next_steps(experiment))
        return
    yield "prepare checks data and model first, then train and package run"
    yield f"next: sparse-transfer status {option} --watch"
    yield f"      sparse-transfer logs {option} --follow"
