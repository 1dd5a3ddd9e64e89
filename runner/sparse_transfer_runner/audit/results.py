"""The audit of everything below one address. Nothing is changed, and nothing is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from sparse_transfer_runner.storage.file import readable
from sparse_transfer_runner.storage.protocol import Missing, Place
from sparse_transfer_runner.storage.settings import settings

from .chain import Chain
from .contents import check_contents, readable_entries
from .findings import Audit, AuditedFolder, Check, Finding, Kind, states
from .folders import StageRecords, StoredStage, read_records, stage_folders
from .records import check_identity, check_provenance, check_records

_EXPECTED = "give the folder of a stage (such as package-KEY), of an experiment, or an output place"


class Watcher(Protocol):
    """Is told how far the reading is; from several threads."""

    def expect(self, size_bytes: int) -> None:
        """So much will be read in all."""

    def read(self, size_bytes: int) -> None:
        """So much more has been read."""


def audit(place: Place, watcher: Watcher) -> Audit:
    """Checks every stage's folder below a place.

    Args:
        place: A stage's folder, or one above.
        watcher: Told of the progress.

    Raises:
        AccessError: Nothing is there, or it may not be listed.
        Transient: The store could not be reached in spite of retries.
    """
    if place.folder is not None:
        readable(place.uri, place.folder)
    files = place.files()
    folders = stage_folders(place, files)
    if not folders:
        there = f"none of its {len(files)} files is in a stage's folder" if files else "is empty"
        raise Missing(f"{place.uri}: {there}; {_EXPECTED}")
    recorded = [read_records(each) for each in folders if each.finished]
    reading = _Reading(watcher, recorded)
    chain = Chain(recorded)
    done = {each.stored.place.uri: _audited(each, chain, reading) for each in recorded}
    return Audit(
        uri=place.uri,
        folders=[done.get(each.place.uri) or _unfinished(each) for each in folders],
        read_bytes=reading.bytes,
    )


class _Reading:
    """Counts what is read, whichever thread reads it, and ends it when asked to."""

    def __init__(self, watcher: Watcher, recorded: Sequence[StageRecords]) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._stop = settings().raise_if_stopped
        self.bytes = 0
        entries = (entry for each in recorded for entry in readable_entries(each).values())
        watcher.expect(sum(entry.size_bytes for entry in entries))

    def __call__(self, size_bytes: int) -> None:
        self._stop()
        with self._lock:
            self.bytes += size_bytes
            self._watcher.read(size_bytes)


def _audited(records: StageRecords, chain: Chain, reading: _Reading) -> AuditedFolder:
    stored = records.stored
    findings = [*records.findings, *_findings(records, chain, reading)]
    return AuditedFolder(
        uri=stored.place.uri,
        stage=stored.stage,
        key=stored.key,
        finished=True,
        attempts=stored.attempts,
        files=len(records.entries),
        size_bytes=sum(entry.size_bytes for entry in records.entries.values()),
        checks=states(findings),
        findings=findings,
    )


def _findings(records: StageRecords, chain: Chain, reading: _Reading) -> Iterator[Finding]:
    stored, manifest = records.stored, records.manifest
    if manifest is None:
        for check in set(Check) - {Check.MANIFEST}:
            said = f"{check} could not be checked without the manifest"
            yield stored.finding(check, Kind.UNCHECKED, "", said)
        return
    yield from check_identity(stored, manifest)
    yield from check_contents(records, reading)
    yield from check_records(records, manifest)
    yield from chain.check(records)
    yield from check_provenance(records, manifest, chain.plan(records))


def _unfinished(stored: StoredStage) -> AuditedFolder:
    return AuditedFolder(
        uri=stored.place.uri,
        stage=stored.stage,
        key=stored.key,
        finished=False,
        attempts=stored.attempts,
        files=len(stored.sizes),
        size_bytes=sum(stored.sizes.values()),
    )
