"""``file://``: folders and files of this machine, used where they lie."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.disk import explained, settle, temporary_beside, write_exclusively

from .file_digests import digests
from .protocol import Damaged, Missing, StoredFile

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
"""What file systems answer that know no hard links."""
_ELSEWHERE = "another place to write to (spec.output.uri, or --to)"


class FileSource:
    """Addresses such as ``file:///data/reviews``; nothing is copied."""

    scheme = "file"

    def fetch(self, uri: str) -> Path:
        """Returns the addressed path itself, after checking that it is there and readable.

        Raises:
            InputError: The address is relative, or names another machine.
            AccessError: Nothing is there, or this user may not read it.
        """
        return readable(uri, local_path(uri))


class FilePlace:
    """A folder of this machine.

    Args:
        folder: It need not exist.
        uri: Its address, where that is not a ``file://`` one.
    """

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder = folder
        self.uri = (uri or folder.as_uri()).rstrip("/")

    def below(self, name: str) -> FilePlace:
        """Returns the folder of that name in this one."""
        return FilePlace(self.folder / name, f"{self.uri}/{name}")

    def files(self) -> list[StoredFile]:
        """Returns all complete files below; what is being written is hidden by its name."""
        with explained(self.folder, _ELSEWHERE):
            return sorted(self._stored())

    def read(self, path: str) -> bytes:
        """Returns the content of a small file."""
        try:
            with explained(self.folder / path, _ELSEWHERE):
                return (self.folder / path).read_bytes()
        except FileNotFoundError as error:
            raise Missing(f"{self.uri}/{path}: no such file") from error

    def create(self, path: str, content: bytes) -> bool:
        """Writes a small file unless there is one of that name."""
        return write_exclusively(self.folder / path, content)

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        """Writes a file under a temporary name and renames it."""
        target = self.folder / path
        with explained(self.folder, _ELSEWHERE), temporary_beside(target) as temporary:
            write(temporary)
            settle(temporary)
            temporary.chmod(0o644)
            temporary.replace(target)
            settle(target.parent)

    def publish(self, source: Path, files: Sequence[FileEntry]) -> list[FileEntry]:
        """Moves files out of ``source`` by hard links, which never replace anything."""
        folders, refused = set(), []
        with explained(self.folder, _ELSEWHERE):
            for entry in files:
                target = self.folder / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                settle(source / entry.path)
                if not _moved(source / entry.path, target):
                    refused.append(entry)
                folders.add(target.parent)
            for folder in folders:
                settle(folder)
        return refused

    def get(self, files: Sequence[FileEntry], target: Path) -> None:
        """Copies files into a folder."""
        with explained(target):
            for entry in files:
                copy = target / entry.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(self.folder / entry.path, copy)
                except FileNotFoundError as error:
                    raise Missing(f"{self.uri}/{entry.path}: no such file") from error
                if sha256_of(copy) != entry.sha256:
                    raise Damaged(f"{self.uri}/{entry.path}: differs from what was recorded of it")

    def digests(
        self, paths: Collection[str], read: Callable[[int], None]
    ) -> Iterator[tuple[str, str | AccessError]]:
        """Yields each file's path with its SHA-256, or with why it cannot be read."""
        return digests(self.folder, self.uri, paths, read)

    def remove(self, paths: Iterable[str]) -> None:
        """Deletes files, and the folders that this leaves empty."""
        with explained(self.folder, _ELSEWHERE):
            for path in paths:
                file = self.folder / path
                file.unlink(missing_ok=True)
                self._remove_empty(file.parent)

    def sweep(self) -> None:
        """Deletes temporary files and folders, which are hidden by their names."""
        with explained(self.folder, _ELSEWHERE):
            for path in [*self.folder.rglob(".*")]:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self.folder:
                folder.rmdir()
                folder = folder.parent

    def _stored(self) -> Iterator[StoredFile]:
        for path in self._paths():
            # What is removed meanwhile is not there.
            with suppress(FileNotFoundError):
                yield StoredFile(path, (self.folder / path).stat().st_size)

    def _paths(self) -> Iterable[str]:
        for root, folders, names in os.walk(self.folder, onerror=_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(root).relative_to(self.folder)
            yield from (str(below / name) for name in names if not name.startswith("."))


def readable(uri: str, path: Path) -> Path:
    """Returns a path of this machine after checking that it is there and readable.

    Args:
        uri: For messages.
        path: What it stands for.

    Raises:
        AccessError: Nothing is there, or this user may not read it.
    """
    try:
        present = path.exists()
    except PermissionError as error:
        raise AccessError(f"{uri}: {error.filename} may not be read by this user") from error
    if not present:
        raise Missing(f"{uri}: no such file or folder{_last_existing(path)}")
    # A folder that cannot be listed would otherwise look like an empty one.
    needed = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
    if not os.access(path, needed):
        raise AccessError(f"{uri}: may not be read by this user; change its permissions")
    return path


def local_path(uri: str) -> Path:
    """Returns the path that a ``file://`` address names.

    Raises:
        InputError: The address is relative, or names another machine.
    """
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InputError(
            f"{uri}: not an absolute address; expected file:///folder "
            "(a relative one is understood inside a YAML file only, relative to that file)"
        )
    # '?' and '#' are ordinary characters of file names.
    rest = uri.split("://", 1)[1]
    return Path(unquote(rest.removeprefix("localhost")))


def place(uri: str) -> FilePlace:
    """Returns the folder of an address, to be written."""
    return FilePlace(local_path(uri), uri)


def _last_existing(path: Path) -> str:
    for parent in path.parents:
        if parent.is_dir():
            return f" ({parent} exists, {path.relative_to(parent).parts[0]!r} in it does not)"
    return ""


def _moved(source: Path, target: Path) -> bool:
    """Moves a file unless there is one of that name; returns whether it did."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            return False
        shutil.move(source, target)
        return True
    source.unlink()
    return True


def _unless_gone(error: OSError) -> None:
    """Lets a folder go that was removed meanwhile; one that may not be listed is not empty."""
    if not isinstance(error, FileNotFoundError):
        raise error
