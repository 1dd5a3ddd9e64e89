"""One part's copy in a mirror: its files, and beside them the record that makes it complete.

Nothing of a copy is ever changed or replaced. So many mirrors may run at once: whoever finds a file
that another has put there compares it with his own. Files appear whole, the record appears last; a
copy without one goes on where it was left.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from sparse_transfer_api.base import Record
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.storage.protocol import Missing, Place
from sparse_transfer_runner.storage.settings import scratch_folder, settings

from .mirror_source import Part, SourceFiles

_STAGING = ".mirroring-"
"""Begins the names of folders in which files wait to be moved to their place."""
_ABANDONED_SECONDS = 24 * 3600
"""After which such a folder is taken for one whose process has died."""


class CopyRecord(Record):
    """Written last, beside the folder of a copy: all of it is there, with these digests."""

    source: str = Field(description="The address that the catalogue gave.")
    pinned: str = Field(
        description="The same, leading to this version forever, where there are such addresses."
    )
    digest: str = Field(description="Of all the files, as catalogues record it.")
    created: datetime
    files: list[FileEntry]

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def model_file(self) -> str | None:
        """The file's name where the model is one file: its digest is then that file's."""
        only = self.files[0] if len(self.files) == 1 else None
        return only.path if only is not None and only.sha256 == self.digest else None


@dataclass(frozen=True)
class Copy:
    """A part's place in a mirror.

    Args:
        mirror: The mirror.
        part: What is copied.
    """

    mirror: Place
    part: Part

    @property
    def place(self) -> Place:
        """Where the files are."""
        return self.mirror.below(self.part.entry).below(self.part.name)

    def complete(self) -> CopyRecord | None:
        """Returns the record of a complete copy of the right version; None where there is none.

        Raises:
            InputError: There is a copy of another version, or one that was changed.
        """
        record = self._record()
        if record is None:
            return None
        part = self.part
        if (record.digest != part.digest) if part.digest else (record.source != part.source):
            raise self._occupied(_version(record))
        sizes = {file.path: file.size_bytes for file in self.place.files()}
        for file in record.files:
            if sizes.get(file.path, file.size_bytes) != file.size_bytes:
                raise self._occupied(f"{file.path} in it was changed")
        # Listings leave hidden files out.
        unlisted = [file for file in record.files if file.path not in sizes]
        return record if len(self._digests(unlisted)) == len(unlisted) else None

    def write(self, source: SourceFiles) -> CopyRecord:
        """Copies what is not there yet, and records that all of it is.

        Raises:
            InputError: Something else is there, or the source was changed meanwhile.
            AccessError: The mirror may not be written.
            Transient: The mirror could not be reached, or is full.
        """
        expected = {file.path: file for file in source.files}
        there = [file.path for file in self.place.files()]
        for path in there:
            if path not in expected:
                raise self._occupied(f"holds {path}, which {source.pinned} does not have")
        missing = [file for path, file in expected.items() if path not in there]
        same = [expected[path] for path in there] + self._published(source, missing)
        if self._digests(same) != {file.path: file.sha256 for file in same}:
            raise self._occupied(f"a file in it differs from that of {source.pinned}")
        return self._recorded(source)

    def _recorded(self, source: SourceFiles) -> CopyRecord:
        record = CopyRecord(
            source=self.part.source,
            pinned=source.pinned,
            digest=source.digest,
            created=datetime.now(UTC),
            files=source.files,
        )
        if self.mirror.create(self._record_path, record.to_json()):
            return record
        other = self._record()
        if other is None or other.digest != record.digest:
            raise self._occupied(_version(other) if other is not None else "vanishes")
        return other

    def _published(self, source: SourceFiles, files: Sequence[FileEntry]) -> list[FileEntry]:
        """Writes files; returns those that another put there meanwhile."""
        if self.mirror.folder is None and all(
            source.names[each.path] == each.path for each in files
        ):
            return self.place.publish(source.folder, files)
        left = []
        for file in files:
            settings().raise_if_stopped()
            with self._staged(source, file) as folder:
                left += self.place.publish(folder, [file])
        return left

    @contextmanager
    def _staged(self, source: SourceFiles, file: FileEntry) -> Iterator[Path]:
        """Yields a folder with a copy of one file: publication on a disk moves what it is given."""
        where = self.mirror.folder or scratch_folder()
        with explained(where, "another --to"):
            where.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=where, prefix=_STAGING) as folder:
                copy = Path(folder) / file.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.path(file), copy)
                copy.chmod(0o644)
                if sha256_of(copy) != file.sha256:
                    raise InputError(
                        f"{self.part.source}: {file.path} was changed while it was copied; mirror "
                        "it again"
                    )
                yield Path(folder)

    def _digests(self, files: Sequence[FileEntry]) -> dict[str, str]:
        """Returns the digests of those of the files that are there."""
        found = {}
        stop = settings().raise_if_stopped
        for path, digest in self.place.digests([file.path for file in files], lambda _: stop()):
            if isinstance(digest, str):
                found[path] = digest
            elif not isinstance(digest, Missing):
                raise digest
        return found

    @property
    def _record_path(self) -> str:
        return f"{self.part.path}.json"

    def _record(self) -> CopyRecord | None:
        try:
            return CopyRecord.model_validate_json(self.mirror.read(self._record_path))
        except Missing:
            return None
        except ValidationError as error:
            raise self._occupied(f"its record {self.part.name}.json cannot be read") from error

    def _occupied(self, what: str) -> InputError:
        return InputError(
            f"{self.place.uri}: {what}; nothing is ever replaced: move the folder and "
            f"{self.part.name}.json beside it away, or mirror to another place"
        )


def sweep(mirror: Place) -> None:
    """Removes what processes left in a mirror's folder that were killed long ago."""
    for folder in mirror.folder.glob(f"{_STAGING}*") if mirror.folder is not None else ():
        try:
            abandoned = time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)


def _version(record: CopyRecord) -> str:
    return f"holds {record.pinned} (digest {record.digest[:12]}…)"
