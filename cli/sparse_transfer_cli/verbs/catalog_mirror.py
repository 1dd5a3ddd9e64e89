"""``catalog mirror``: foundation models copied to where a cluster without internet reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from sparse_transfer_api.contract import ENV_CATALOG, ExitCode, Stage
from sparse_transfer_api.errors import InputError, SparseTransferError, Transient, UsageError
from sparse_transfer_api.spec import Storage
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import (
    JsonLinesDisplay,
    ProgressStyle,
    activity_display,
    shows_bars,
)
from sparse_transfer_cli.experiment_file import file_uri, read_experiment
from sparse_transfer_cli.requirements import require
from sparse_transfer_cli.storage import reaching
from sparse_transfer_cli.summary import UNKNOWN
from sparse_transfer_runner.catalog.choice import entry_named, must_be_made
from sparse_transfer_runner.catalog.mirror import Mirroring, Outcome, State
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry
from sparse_transfer_runner.catalog.reading import load_catalog
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage import place_for

_WORDS = {
    State.COPIED: "copied",
    State.THERE: "was there",
    State.PLANNED: "would be copied",
    State.FAILED: "failed",
}


@dataclass(frozen=True)
class MirrorArguments:
    """What to mirror, and where to.

    Args:
        names: Of the catalogue's entries.
        everything: All of them, instead of names.
        to: Path or address of the mirror.
        catalog: Path or address of the user's own catalogue; by default the one in force.
        file: An experiment whose ``spec.storage`` says how storage is reached.
        dry_run: Say what would be copied, and copy nothing.
    """

    names: Sequence[str]
    everything: bool
    to: str
    catalog: str | None
    file: Path | None
    dry_run: bool


def mirror(arguments: MirrorArguments, style: ProgressStyle) -> int:
    """Mirrors models, and says what became of each.

    Args:
        arguments: As typed.
        style: How progress is shown.

    Returns:
        The exit code: that of the first model that could not be mirrored.

    Raises:
        UsageError: Neither names nor everything is asked for, or both.
        SparseTransferError: The mirror itself cannot be written.
    """
    if bool(arguments.names) == arguments.everything:
        raise UsageError("name the models to mirror (see 'catalog list'), or all of them: --all")
    storage = read_experiment(arguments.file).spec.storage if arguments.file else Storage()
    to = file_uri(arguments.to, Path.cwd())
    if to.startswith("s3://"):
        require(("boto3",), "runner")
    # The libraries' own bars would run through ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    with reaching(storage):
        catalog = load_catalog(arguments.catalog)
        entries = _chosen(catalog, arguments)
        mirroring = Mirroring(catalog, entries, place_for(to))
        outcomes = list(mirroring.planned()) if arguments.dry_run else _run(mirroring, style)
        dangling = [
            f"note: the teacher catalog:{name} is not in the mirror"
            for name in mirroring.dangling()
        ]
        unmade = [
            f"note: without a sparse model: {must_be_made(entry)}"
            for entry in entries
            if entry.must_be_made
        ]
    _show(
        mirroring, outcomes, [*_closing(mirroring, outcomes, arguments), *dangling, *unmade], style
    )
    return _code(outcomes)


def _chosen(catalog: Catalog, arguments: MirrorArguments) -> Sequence[CatalogEntry]:
    if arguments.everything:
        return catalog.models
    entries = [entry_named(catalog, name) for name in dict.fromkeys(arguments.names)]
    for entry in entries:
        if entry.sparse is None and entry.dense is None:
            raise InputError(must_be_made(entry))
    return entries


def _run(mirroring: Mirroring, style: ProgressStyle) -> list[Outcome]:
    console = stdout()
    with activity_display("Mirror", console, bar=shows_bars(style, console)) as sink:
        # No stage of an experiment; the reporter wants one, and the display leaves it out.
        return list(mirroring.run(Reporter(Stage.PREPARE, sink)))


def _show(
    mirroring: Mirroring, outcomes: Sequence[Outcome], closing: Sequence[str], style: ProgressStyle
) -> None:
    console = stdout()
    if shows_bars(style, console):
        _summary(console, outcomes, closing)
        return
    JsonLinesDisplay().line(
        "mirrored", catalog=mirroring.catalog_uri, parts=[_document(each) for each in outcomes]
    )
    _summary(stderr(), outcomes, closing)


def _document(outcome: Outcome) -> dict[str, Any]:
    """Returns an outcome as it goes into a JSON line."""
    record = outcome.record
    found: dict[str, Any] = {
        "model": outcome.part.entry,
        "part": outcome.part.name,
        "from": record.pinned if record is not None else outcome.part.source,
        "to": outcome.to,
        "state": outcome.state,
    }
    if record is not None:
        found |= {"files": len(record.files), "sizeBytes": record.size_bytes}
        found |= {"digest": record.digest}
    return found if outcome.error is None else {**found, "error": str(outcome.error)}


def _summary(console: Console, outcomes: Sequence[Outcome], closing: Sequence[str]) -> None:
    table = Table("model", "part", "files", "size", "", box=SIMPLE_HEAD)
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    console.print(table)
    lines = [
        *(
            f"{each.part.path}: from {each.part.source}"
            for each in outcomes
            if each.state == State.PLANNED
        ),
        *(f"failed: {each.part.path}: {each.error}" for each in outcomes if each.error),
        *closing,
    ]
    print_plain(console, "\n".join(lines))


def _row(outcome: Outcome) -> tuple[str, ...]:
    record, part = outcome.record, outcome.part
    if record is None:
        return (part.entry, part.name, UNKNOWN, UNKNOWN, _WORDS[outcome.state])
    size = decimal(record.size_bytes)
    return (part.entry, part.name, str(len(record.files)), size, _WORDS[outcome.state])


def _closing(
    mirroring: Mirroring, outcomes: Sequence[Outcome], arguments: MirrorArguments
) -> Iterable[str]:
    if arguments.dry_run:
        yield f"nothing was copied; without --dry-run it goes to {mirroring.place.uri}"
        return
    failed = {outcome.part.entry for outcome in outcomes if outcome.error is not None}
    whole = [
        entry.name
        for entry in mirroring.entries
        if entry.name not in failed and (entry.sparse or entry.dense)
    ]
    if failed:
        yield f"not mirrored: {', '.join(sorted(failed))}; the same command goes on with them"
    if whole:
        yield f"mirrored: {', '.join(whole)}"
        yield f"use them with --catalog {mirroring.catalog_uri}, or by {ENV_CATALOG}"


def _code(outcomes: Sequence[Outcome]) -> int:
    errors: list[SparseTransferError] = [each.error for each in outcomes if each.error is not None]
    # What another attempt may get over is not the reason to look at first.
    errors.sort(key=lambda error: isinstance(error, Transient))
    return int(errors[0].exit_code) if errors else ExitCode.DONE
