"""``results NAME``: what an experiment on a cluster came to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.ending import (
    explain_failure,
    package_folder,
    print_history,
    print_results,
    results_document,
)
from sparse_transfer_cli.cluster.experiments import Experiments
from sparse_transfer_cli.cluster.listing import phase_of
from sparse_transfer_cli.cluster.observed import Observed, observed
from sparse_transfer_cli.cluster.outcome import outcome_of
from sparse_transfer_cli.cluster.progress import progress_of
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.requirements import require


def show_results(name: str, target: Target, *, as_json: bool, page: Path | None = None) -> int:
    """Shows figures, files and earlier results; of an unfinished experiment, where it stands.

    Args:
        name: The experiment's.
        target: The cluster.
        as_json: One JSON document on standard output.
        page: The HTML file that a search's levels are shown in; None for none.

    Returns:
        0 with the results of the spec as it is; the failure's code where it failed; 75 where it
        has not ended.

    Raises:
        SparseTransferError: The cluster cannot be asked, or refuses.
    """
    experiment = observed(Experiments(connect(target)).get(name))
    outcome = outcome_of(experiment)
    code = ExitCode.TRANSIENT if outcome is None else outcome.exit_code
    if page is not None:
        _write_page(experiment, page)
    if as_json:
        sys.stdout.write(json.dumps(_document(experiment, code), indent=2) + "\n")
        return code
    if outcome is not None and outcome.measured:
        print_results(stdout(), experiment)
    print_history(stdout(), experiment)
    if outcome is None:
        _say_unfinished(experiment)
    elif not outcome.succeeded:
        explain_failure(experiment, outcome)
    return code


def _write_page(experiment: Observed, page: Path) -> None:
    """Writes the page of a search, as far as it has got.

    Raises:
        InputError: It is no search.
        AccessError: The file cannot be written.
    """
    require(("jinja2",), "runner")
    from sparse_transfer_runner.report import SearchReport, render_search

    search = experiment.status.search
    if search is None:
        raise InputError(
            f"{experiment.name}: does not search over levels; its report is at "
            f"{package_folder(experiment)}/report.html"
        )
    report = SearchReport(
        name=experiment.name,
        use_case=experiment.use_case,
        search=experiment.search,
        acceptance=experiment.acceptance,
        status=search,
    )
    try:
        page.write_text(render_search(report), encoding="utf-8")
    except OSError as error:
        raise AccessError(
            f"{page}: cannot be written ({error.strerror}); choose another --report"
        ) from error


def _document(experiment: Observed, code: int) -> dict[str, Any]:
    outcome = outcome_of(experiment)
    return {
        "name": experiment.name,
        "namespace": experiment.namespace,
        "generation": experiment.generation,
        "phase": experiment.phase,
        "exitCode": int(code),
        **({"reason": outcome.reason, "message": outcome.message} if outcome is not None else {}),
        **(results_document(experiment) if outcome is not None and outcome.measured else {}),
        "history": [past.to_json_dict() for past in experiment.status.history],
    }


def _say_unfinished(experiment: Observed) -> None:
    report = progress_of(experiment)
    share = f", {report.percentage:.0f} %" if report is not None and report.percentage else ""
    stands = phase_of(experiment)
    if not experiment.up_to_date:
        stands = "edited, not looked at since"
    elif experiment.retry_pending:
        stands = f"{stands}, to be tried again"
    line = (
        f"{experiment.name} has not ended ({stands}{share}), so there are no results of it yet: "
        f"sparse-transfer status {experiment.name} --namespace {experiment.namespace} --watch"
    )
    print_plain(stderr(), line)
