"""Whether every listed file is there, with its size and its digest, and no other one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import AccessError
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.output import ATTEMPTS
from sparse_transfer_runner.storage.protocol import Damaged, Missing

from .findings import Check, Finding, Kind
from .folders import StageRecords, StoredStage, unreadable

_SHOWN = 12
"""Characters of a digest: enough to tell two apart."""

Read = Callable[[int], None]


def readable_entries(records: StageRecords) -> dict[str, FileEntry]:
    """Returns the listed files that have the right size, so that reading them tells something."""
    sizes = records.stored.sizes
    return {
        path: entry
        for path, entry in records.entries.items()
        if sizes.get(path) == entry.size_bytes
    }


def check_contents(records: StageRecords, read: Read) -> Iterator[Finding]:
    """Reads every listed file to its end, and yields what is wrong.

    Args:
        records: Of a finished stage's folder.
        read: Told the bytes of each piece.

    Raises:
        Transient: The store could not be reached in spite of retries.
    """
    stored, entries = records.stored, records.entries
    for path, entry in entries.items():
        size = stored.sizes.get(path)
        if size is None:
            yield stored.damage(Check.CONTENTS, path, "listed in the manifest, but missing")
        elif size != entry.size_bytes:
            said = f"has {size} bytes, the manifest says {entry.size_bytes}"
            yield stored.damage(Check.CONTENTS, path, said)
    yield from _differing(stored, readable_entries(records), read)
    yield from _unlisted(stored, entries)


def _differing(stored: StoredStage, entries: dict[str, FileEntry], read: Read) -> Iterator[Finding]:
    suspects = {}
    for path, found in stored.place.digests(entries, read):
        if isinstance(found, AccessError):
            yield _failure(stored, path, found)
        elif found != entries[path].sha256:
            suspects[path] = found
    if suspects and stored.place.folder is None:
        # What was damaged on its way here is whole when it is read again.
        suspects = {
            path: found
            for path, found in stored.place.digests(suspects, lambda _: None)
            if isinstance(found, str) and found != entries[path].sha256
        }
    for path, found in suspects.items():
        said = (
            f"its content has SHA-256 {found[:_SHOWN]}…, "
            f"the manifest says {entries[path].sha256[:_SHOWN]}…"
        )
        yield stored.damage(Check.CONTENTS, path, said)


def _failure(stored: StoredStage, path: str, error: AccessError) -> Finding:
    if isinstance(error, Missing):
        return stored.damage(Check.CONTENTS, path, "vanished while it was checked")
    if isinstance(error, Damaged):
        said = str(error).removeprefix(f"{stored.place.uri}/{path}: ")
        return stored.damage(Check.CONTENTS, path, said)
    return unreadable(stored, Check.CONTENTS, path, error)


def _unlisted(stored: StoredStage, entries: Collection[str]) -> Iterator[Finding]:
    for path in sorted(stored.sizes.keys() - {*entries, MANIFEST}):
        if path.split("/")[0] != ATTEMPTS:
            said = "not listed in the manifest: no part of the result"
            yield stored.finding(Check.CONTENTS, Kind.NOTE, path, said)
