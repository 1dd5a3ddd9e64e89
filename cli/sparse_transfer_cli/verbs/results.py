"""``results verify``: whether recorded results are still what was recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from sparse_transfer_api.contract import MANIFEST, ExitCode
from sparse_transfer_api.errors import AccessError, UsageError
from sparse_transfer_api.spec import SparseTransferExperiment, Storage
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.experiment_file import file_uri, read_experiment
from sparse_transfer_cli.requirements import require
from sparse_transfer_cli.storage import reaching
from sparse_transfer_cli.summary import UNKNOWN
from sparse_transfer_runner.audit.findings import (
    Audit,
    AuditedFolder,
    Check,
    CheckState,
    Finding,
    Kind,
    Verdict,
)
from sparse_transfer_runner.audit.results import Watcher, audit
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.protocol import Place

_CODES = {
    Verdict.WHOLE: ExitCode.DONE,
    Verdict.DAMAGED: ExitCode.INPUT,
    Verdict.DENIED: ExitCode.ACCESS,
    Verdict.UNFINISHED: ExitCode.ACCESS,
}
_WORDS = {
    Kind.DAMAGED: "damaged",
    Kind.DENIED: "no access",
    Kind.UNCHECKED: "not checked",
    Kind.NOTE: "note",
}
_NOTES_SHOWN = 20


def verify(uri: str | None, file: Path | None, *, as_json: bool) -> int:
    """Checks all results below an address, and says what was checked and what is wrong.

    Args:
        uri: Path or address of a stage's folder or of one above; None for where the experiment
            of ``file`` puts its results.
        file: An experiment whose ``spec.storage`` says how storage is reached.
        as_json: One JSON document on standard output instead of the table.

    Returns:
        The exit code.

    Raises:
        UsageError: Neither is given.
        AccessError: Nothing is there, nothing of it is finished, or it may not be listed.
    """
    experiment = read_experiment(file) if file is not None else None
    with reaching(experiment.spec.storage if experiment is not None else Storage()):
        place = _place(uri, experiment)
        with _watching(shown=not as_json) as watcher:
            found = audit(place, watcher)
    if as_json:
        document = {"verdict": found.verdict, **found.to_json_dict()}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _show(found)
    if found.verdict == Verdict.UNFINISHED:
        raise AccessError(
            f"{found.uri}: no stage has finished here, so that there is nothing to check; the same "
            "'sparse-transfer run' goes on with it"
        )
    return _CODES[found.verdict]


def _place(uri: str | None, experiment: SparseTransferExperiment | None) -> Place:
    if uri is None:
        if experiment is None or experiment.spec.output.uri is None:
            raise UsageError("give the address of results, or their experiment with --file YAML")
        metadata = experiment.metadata
        root = experiment.spec.output.uri.rstrip("/")
        uri = f"{root}/{metadata.namespace}/{metadata.name}"
    address = file_uri(uri, Path.cwd()).removesuffix(f"/{MANIFEST}")
    if address.startswith("s3://"):
        require(("boto3",), "runner")
    return place_for(address)


class _Silent:
    """Shows nothing."""

    def expect(self, size_bytes: int) -> None:
        """Nothing is shown."""

    def read(self, size_bytes: int) -> None:
        """Nothing is shown."""


class _Bar:
    """Shows how much is read."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("reading", total=None)

    def expect(self, size_bytes: int) -> None:
        """Sets the whole."""
        self._bars.update(self._task, total=size_bytes)

    def read(self, size_bytes: int) -> None:
        """Moves the bar."""
        self._bars.advance(self._task, size_bytes)


@contextmanager
def _watching(*, shown: bool) -> Iterator[Watcher]:
    console = stderr()
    if not (shown and console.is_terminal):
        yield _Silent()
        return
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bar(bars)


def _show(found: Audit) -> None:
    console = stdout()
    table = Table("stage", "files", "size", *Check, box=SIMPLE_HEAD)
    for folder in found.folders:
        table.add_row(*_row(folder, found.uri))
    console.print(table)
    lines = [*_findings(found), *_closing(found)]
    print_plain(console, "\n".join(lines))


def _row(folder: AuditedFolder, root: str) -> tuple[str, ...]:
    name = folder.uri.removeprefix(f"{root}/") if folder.uri != root else root.rpartition("/")[2]
    size = (str(folder.files), decimal(folder.size_bytes))
    if not folder.finished:
        attempts = f"{folder.attempts} attempt{'s' if folder.attempts != 1 else ''}"
        return (name, *size, "unfinished", attempts, *[UNKNOWN] * (len(Check) - 2))
    return (name, *size, *(_state(folder, check) for check in Check))


def _state(folder: AuditedFolder, check: Check) -> str:
    mine = [each.kind for each in folder.findings if each.check == check]
    match folder.checks[check]:
        case CheckState.PASSED:
            return "ok"
        case CheckState.UNCHECKED:
            return _WORDS[Kind.UNCHECKED]
        case CheckState.FAILED:
            kind = Kind.DAMAGED if Kind.DAMAGED in mine else Kind.DENIED
            count = mine.count(kind)
            return _WORDS[kind] if count == 1 else f"{_WORDS[kind]} ({count})"


def _findings(found: Audit) -> Iterator[str]:
    for kind in (Kind.DAMAGED, Kind.DENIED, Kind.UNCHECKED):
        yield from map(_line, found.findings(kind))
    notes = found.findings(Kind.NOTE)
    yield from map(_line, notes[:_NOTES_SHOWN])
    if len(notes) > _NOTES_SHOWN:
        yield f"{_WORDS[Kind.NOTE]:<12} {len(notes) - _NOTES_SHOWN} more; --json lists them all"


def _line(finding: Finding) -> str:
    return f"{_WORDS[finding.kind]:<12} {finding}"


def _closing(found: Audit) -> Iterator[str]:
    checked = found.finished
    if not checked:
        return
    yield (
        f"checked      {_count(len(checked), 'finished stage')}: "
        f"{_count(sum(folder.files for folder in checked), 'file')}, {decimal(found.read_bytes)} "
        "read to the end and compared with the recorded SHA-256"
    )
    yield f"             {_passed(checked)}"
    unfinished = len(found.folders) - len(checked)
    if unfinished:
        yield f"             not checked: {_count(unfinished, 'unfinished stage')}"
    yield _verdict(found)


def _passed(checked: Sequence[AuditedFolder]) -> str:
    """Returns how many stages passed each check."""
    counts = (
        (check, sum(folder.checks[check] == CheckState.PASSED for folder in checked))
        for check in Check
    )
    return ", ".join(f"{check} {count} of {len(checked)}" for check, count in counts) + " passed"


def _verdict(found: Audit) -> str:
    damages, denials = (len(found.findings(kind)) for kind in (Kind.DAMAGED, Kind.DENIED))
    if found.verdict == Verdict.WHOLE:
        return "whole        everything that was checked is as it was recorded"
    parts = [
        f"{_count(count, 'problem')}{what}"
        for count, what in ((damages, ", named above"), (denials, " with access"))
        if count
    ]
    return f"{found.verdict.lower():<12} {' and '.join(parts)}; nothing was changed"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
