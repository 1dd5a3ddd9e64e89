"""What a storage scheme must be able to do; each scheme is one module that implements this.

A *source* is read: data, models, recipes. A *place* is written: where the stages put their results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sparse_transfer_api.errors import AccessError
from sparse_transfer_api.records import FileEntry


class Missing(AccessError):
    """A named object does not exist."""

    reason = "ObjectMissing"


@dataclass(frozen=True, order=True)
class StoredFile:
    """A file of a place.

    Args:
        path: Below the place, with ``/`` between its parts.
        size_bytes: Its size.
    """

    path: str
    size_bytes: int


class Source(Protocol):
    """Access to the addresses of one scheme, such as ``file``."""

    scheme: str
    """What stands before ``://``."""

    def fetch(self, uri: str) -> Path:
        """Returns a local path to a file or folder, to be read and never written.

        Args:
            uri: The address, with its scheme.

        Raises:
            InputError: The address is malformed.
            AccessError: Nothing is there, or it may not be read.
            Transient: It could not be reached just now, in spite of retries.
        """


@runtime_checkable
class PinningSource(Source, Protocol):
    """A source whose addresses may lead to something else tomorrow, as a branch does."""

    def pinned(self, uri: str) -> str:
        """Returns the address of what is there now.

        Args:
            uri: The address, with its scheme.

        Raises:
            InputError: The address is malformed.
            AccessError: Nothing is there, or it may not be read.
            Transient: It could not be reached just now, in spite of retries.
        """


class Place(Protocol):
    """A folder that can be written, such as a stage's.

    Every method raises ``AccessError`` where a right is missing, and ``Transient`` where the store
    could not be reached in spite of retries or is full. A reader never sees a part of a file.
    """

    @property
    def uri(self) -> str:
        """Its address, without a slash at the end."""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine where files can be read in place; None where it is far."""

    def below(self, name: str) -> Place:
        """Returns the folder of that name in this one; it need not exist."""

    def files(self) -> list[StoredFile]:
        """Returns all complete files below, sorted by path; none where nothing is there."""

    def read(self, path: str) -> bytes:
        """Returns the content of a small file.

        Raises:
            Missing: It does not exist.
        """

    def create(self, path: str, content: bytes) -> bool:
        """Writes a small file unless there is one of that name.

        Of many writers at once exactly one succeeds.

        Returns:
            Whether it was written.
        """

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        """Writes a file, in the place of one of the same name.

        Args:
            path: Below this place.
            write: Fills the file whose path on this machine it is given.
        """

    def publish(self, source: Path, files: Sequence[FileEntry]) -> list[FileEntry]:
        """Writes files of a folder of this machine, never in the place of others.

        Args:
            source: The folder; files that were written may be gone from it afterwards.
            files: Which ones; their digests are checked on arrival.

        Returns:
            Those that were left out, because there is one of that name already.
        """

    def get(self, files: Sequence[FileEntry], target: Path) -> None:
        """Copies files into a folder of this machine.

        Args:
            files: Checked against their sizes and digests on arrival.
            target: An existing folder.

        Raises:
            Missing: One of them does not exist.
            Damaged: One of them is not what was recorded.
        """

    def digests(
        self, paths: Collection[str], read: Callable[[int], None]
    ) -> Iterator[tuple[str, str | AccessError]]:
        """Reads files to their ends, and yields each path with its SHA-256 as it is done.

        Nothing is kept of them, neither in memory nor on this machine's disk.

        Args:
            paths: Below this place.
            read: Told the bytes of each piece that was read; ends the reading by raising.

        Yields:
            The path, and the hexadecimal digest or the error that says why there is none:
            ``Missing``, ``Damaged``, or another one where a right is missing.
        """

    def remove(self, paths: Iterable[str]) -> None:
        """Deletes files; those that do not exist are passed over."""

    def sweep(self) -> None:
        """Deletes what was being written when its writer was killed; no file that is complete."""


class Damaged(AccessError):
    """A file is not what was recorded of it."""

    reason = "Damaged"
