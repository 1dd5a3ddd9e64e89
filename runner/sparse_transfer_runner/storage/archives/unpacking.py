"""Where an archive's entries go: what is refused, and how much room they may take.

Names that lead out and second entries of one name are refused; links are followed inside the
archive only, and become copies. Entries and bytes are bounded, by the archive's own size too, so
that a small one cannot fill a disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sparse_transfer_api.errors import InputError, Transient

from ..inner_paths import inner_path

MAX_ENTRIES = 500_000
"""Data sets of images have a few hundred thousand files."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one; tables of numbers and text stay below 50."""
FREE_BYTES = 256 << 20
"""So many unpacked bytes need no justification by the ratio."""
_LEFTOVERS = ("__MACOSX", ".DS_Store")
"""What one system's packer adds beside the files that were meant."""
_MAX_LINKS = 40
"""Links to links that are followed, as the system does."""
_CHUNK = 1 << 20


@dataclass
class Unpacking:
    """An archive's files as they are written.

    Args:
        archive: Its name, for messages.
        folder: Empty at first.
        allowed_bytes: What is in proportion to the archive's size.
        room_bytes: What was free on the disk.
        raise_if_stopped: Called between parts of the work.
        files: Those written so far.
        links: What each link leads to.
        entries: Seen so far.
        read_bytes: Of the unpacked stream, where there is one.
        written_bytes: To the disk.
    """

    archive: str
    folder: Path
    allowed_bytes: int
    room_bytes: int
    raise_if_stopped: Callable[[], None]
    files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    entries: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    @classmethod
    def of(
        cls, archive: Path, name: str, folder: Path, raise_if_stopped: Callable[[], None]
    ) -> Unpacking:
        """Returns a beginning, with the limits that fit the archive and the disk."""
        allowed = FREE_BYTES + MAX_RATIO * archive.stat().st_size
        return cls(name, folder, allowed, shutil.disk_usage(folder).free, raise_if_stopped)

    def refusal(self, name: str, why: str) -> InputError:
        """Returns the error about an entry."""
        return InputError(f"{self.archive}: its entry {name!r} {why}; nothing of it was used")

    def path_of(self, name: str) -> str | None:
        """Returns where an entry goes, None where it goes nowhere; counts it."""
        self.raise_if_stopped()
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise InputError(f"{self.archive}: has more than {MAX_ENTRIES} entries; split it")
        try:
            path = inner_path(name) if name.rstrip("/") != "." else None
        except ValueError as error:
            raise self.refusal(name, str(error)) from error
        if path is None or path.split("/")[0] in _LEFTOVERS or path.endswith("/.DS_Store"):
            return None
        if path in self.files or path in self.links:
            raise self.refusal(name, "is there twice")
        return path

    def add_folder(self, path: str) -> None:
        """Makes a folder, also an empty one."""
        with self._without_clash(path):
            (self.folder / path).mkdir(parents=True, exist_ok=True)

    def add_file(self, path: str, content: IO[bytes]) -> None:
        """Writes a file."""
        self.files.add(path)
        target = self.folder / path
        with self._without_clash(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        with file:
            while chunk := content.read(_CHUNK):
                self.raise_if_stopped()
                self.written_bytes += len(chunk)
                self._require_room(self.written_bytes)
                file.write(chunk)

    def add_link(self, path: str, target: str, base: str) -> None:
        """Notes a link; what it leads to may come later.

        Args:
            path: The link's.
            target: As written in the archive.
            base: The folder that the target is relative to.
        """
        parts = base.split("/") if base else []
        for part in target.split("/"):
            if part == ".." and parts:
                parts.pop()
            elif part == ".." or target.startswith("/"):
                raise self.refusal(path, f"is a link that leads out of the archive, to {target!r}")
            elif part not in ("", "."):
                parts.append(part)
        self.links[path] = "/".join(parts)

    def count_read(self, size: int) -> None:
        """Counts what is read of an archive that is compressed as a whole."""
        self.read_bytes += size
        self._require_proportion(self.read_bytes)

    def make_links(self) -> None:
        """Makes each link a copy of the file that it leads to."""
        for path in self.links:
            target = self.links[path]
            for _ in range(_MAX_LINKS):
                target = self.links.get(target, target)
            if target not in self.files:
                raise self.refusal(path, f"is a link to {target!r}, which is no file in it")
            with (self.folder / target).open("rb") as content:
                self.add_file(path, content)

    def _require_room(self, size: int) -> None:
        self._require_proportion(size)
        if size > self.room_bytes:
            raise Transient(
                f"{self.folder}: {self.archive} does not fit here ({self.room_bytes} bytes were "
                "free); free some, or choose another cache (spec.storage.cache)"
            )

    def _require_proportion(self, size: int) -> None:
        if size > self.allowed_bytes:
            raise InputError(
                f"{self.archive}: unpacks to more than {self.allowed_bytes} bytes, which is out of "
                "proportion to its size; give the files in another archive"
            )

    @contextmanager
    def _without_clash(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise self.refusal(path, "is there as a file and as a folder") from error
