"""``status``: the experiments of a cluster as a table, or the whole story of one of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import UsageError
from sparse_transfer_cli.cluster.answers import Document
from sparse_transfer_cli.cluster.attending import attend
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.experiments import Experiments
from sparse_transfer_cli.cluster.following import Listed, follow_all
from sparse_transfer_cli.cluster.interrupted import until_interrupted
from sparse_transfer_cli.cluster.listing import listing
from sparse_transfer_cli.cluster.observed import Observed, observed
from sparse_transfer_cli.cluster.patience import Lost
from sparse_transfer_cli.cluster.story import print_story
from sparse_transfer_cli.console import print_plain, print_whole, stderr, stdout
from sparse_transfer_cli.display import JsonLinesDisplay, ProgressStyle, shows_bars


def show_status(
    name: str | None, target: Target, *, everywhere: bool, watch: bool, as_json: bool
) -> int:
    """Shows how experiments stand.

    Args:
        name: Of the only one to show; None for all.
        target: The cluster.
        everywhere: Those of all namespaces.
        watch: Go on showing what changes.
        as_json: For programs.

    Returns:
        The exit code; of one that was watched to its end, its outcome's.

    Raises:
        SparseTransferError: The cluster cannot be asked, or refuses.
    """
    if everywhere and (name is not None or target.namespace is not None):
        raise UsageError(
            "--all-namespaces shows all experiments; give neither NAME nor --namespace"
        )
    experiments = Experiments(connect(target))
    style: ProgressStyle = "json" if as_json else "auto"
    if name is not None and watch:
        return until_interrupted(
            lambda: attend(experiments, name, style) or ExitCode.DONE,
            told=f"no longer watching; {name} goes on in the cluster",
            code=ExitCode.DONE,
        )
    if watch:
        return until_interrupted(
            lambda: _watch_all(experiments, style, everywhere=everywhere),
            told="no longer watching; the experiments go on in the cluster",
            code=ExitCode.DONE,
        )
    if name is not None:
        _show_one(experiments.get(name), as_json=as_json)
    else:
        _show_all(experiments, everywhere=everywhere, as_json=as_json)
    return ExitCode.DONE


def _show_one(document: Document, *, as_json: bool) -> None:
    if as_json:
        _write_json(_without_managers(document))
    else:
        print_story(stdout(), observed(document), datetime.now(UTC))


def _show_all(experiments: Experiments, *, everywhere: bool, as_json: bool) -> None:
    found = experiments.list(everywhere=everywhere)["items"]
    if as_json:
        items = [_without_managers(each) for each in found]
        _write_json({"apiVersion": "v1", "kind": "List", "items": items})
        return
    if not found:
        where = "any namespace" if everywhere else f"namespace {experiments.namespace}"
        stderr().print(f"no experiments in {where}", highlight=False)
        return
    _print_listing(stdout(), map(observed, found), everywhere=everywhere)


def _print_listing(console: Console, found: Iterable[Observed], *, everywhere: bool) -> None:
    print_whole(console, listing(found, datetime.now(UTC), everywhere=everywhere))


def _watch_all(experiments: Experiments, style: ProgressStyle, *, everywhere: bool) -> int:
    console = stdout()
    bars = shows_bars(style, console)
    lines = JsonLinesDisplay()
    with Live(console=console, auto_refresh=False) if bars else nullcontext() as live:
        for sighting in follow_all(experiments, everywhere=everywhere):
            if isinstance(sighting, Listed):
                if live is None:
                    for key in sighting.changed:
                        lines.line("experiment", **_summary(observed(sighting.documents[key])))
                    continue
                found = map(observed, sighting.documents.values())
                live.update(listing(found, datetime.now(UTC), everywhere=everywhere), refresh=True)
            else:
                text = "the cluster answers again"
                if isinstance(sighting, Lost):
                    text = f"trying again: {sighting.message}"
                if live is None:
                    lines.note(text)
                else:
                    print_plain(live.console, text)
    return ExitCode.DONE


def _summary(experiment: Observed) -> dict[str, Any]:
    """Returns what a line tells of an experiment among others."""
    progress = experiment.status.progress if experiment.running is not None else None
    results = experiment.status.results
    return {
        "name": experiment.name,
        "namespace": experiment.namespace,
        "generation": experiment.generation,
        "phase": experiment.phase,
        "percentage": progress.percentage if progress is not None else None,
        "recovery": results.recovery if results is not None else None,
        "speedup": results.headline.speedup if results is not None else None,
    }


def _without_managers(document: Document) -> dict[str, Any]:
    """Returns an experiment without who manages which field: nobody reads that here."""
    metadata = {key: part for key, part in document["metadata"].items() if key != "managedFields"}
    return {**document, "metadata": metadata}


def _write_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
