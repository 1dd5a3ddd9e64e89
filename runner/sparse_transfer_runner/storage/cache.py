"""The shared cache of what was fetched: folders by the digest of their content.

Layout below the root::

    objects/DIGEST/…        the files, complete and never changed
    objects/DIGEST.json     number and bytes of its files; its modification time is the last use
    sources/IDENTITY        which object an address led to, when it looked like IDENTITY
    locks/, work/           who fetches what just now

Many processes and pods use one cache at once. One of them fetches while the others wait for it; an
object appears by a rename, so that it is complete or absent; and an object in use is held by a
shared lock, which keeps others from evicting it. Where the file system knows no locks, everybody
fetches for himself, and nothing is evicted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sparse_transfer_runner.digests import digest_of_digests, digest_of_tree
from sparse_transfer_runner.disk import explained

from .settings import StorageSettings, scratch_folder

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_ABANDONED_SECONDS = 24 * 3600
"""After which a working folder is taken for one whose process has died."""


Download = Callable[[Path], Mapping[str, str] | None]
"""Fills an empty folder; may return the SHA-256 of each file by its path, where it knows them."""


def identity_of(parts: Sequence[object]) -> str:
    """Returns the name of a source's state, such as address, version and size of each file."""
    return hashlib.sha256(json.dumps(list(parts), default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """A cache folder.

    Args:
        root: Made when missing; shared by any number of processes.
        limit_bytes: Objects that were not used for longest are removed above this.
        raise_if_stopped: Called while waiting for another process.
    """

    root: Path
    limit_bytes: int | None = None
    raise_if_stopped: Callable[[], None] = lambda: None

    def fetched(self, identity: str, download: Download) -> Path:
        """Returns the object of a source's state, after downloading it where it is not there.

        Args:
            identity: Of the source's state, from ``identity_of``.
            download: Fills an empty folder; see ``Download``.

        Raises:
            Transient: The disk is full; nothing is left behind.
        """
        with self._locked(identity):
            found = self.known(identity)
            if found is None:
                found = self._download(download)
                self._remember(identity, found.name)
        return found

    def known(self, identity: str) -> Path | None:
        """Returns the object that a source's state is known to lead to, if it is there."""
        try:
            digest = (self.root / "sources" / identity).read_text()
        except FileNotFoundError:
            return None
        return self.find(digest)

    def find(self, digest: str) -> Path | None:
        """Returns the object of a digest, held from now on until the process ends."""
        folder, record = self._object(digest), self._record(digest)
        if not folder.is_dir() or not self._hold(digest):
            return None
        try:
            expected = json.loads(record.read_text())
        except (OSError, ValueError):
            expected = None
        if expected != _inventory(folder):
            _LOG.warning("%s: not what was put there; fetched again", folder)
            self._release(digest)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        record.touch()
        return folder

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yields an empty folder beside the objects; what is left in it is removed."""
        work = self.root / "work"
        with explained(work):
            work.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=work))
        try:
            with explained(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, folder: Path, digest: str) -> Path:
        """Makes a folder on the same file system an object, by a rename.

        Args:
            folder: With complete files; gone afterwards.
            digest: Of its content.

        Returns:
            The object's folder.
        """
        target = self._object(digest)
        with self._locked(f"adopt-{digest}"):
            if self.find(digest) is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o755)
                _write(self._record(digest), json.dumps(_inventory(folder)))
                folder.rename(target)
                self._hold(digest)
        self.evict()
        return target

    def evict(self) -> None:
        """Removes the objects that were not used for longest, until the limit is kept."""
        self._clear_abandoned()
        if self.limit_bytes is None:
            return
        records = {}
        for record in (self.root / "objects").glob("*.json"):
            try:
                records[record] = (record.stat().st_mtime, json.loads(record.read_text())["bytes"])
            except (OSError, ValueError):
                continue
        total = sum(size for _, size in records.values())
        for record, (_, size) in sorted(records.items(), key=lambda item: item[1]):
            if total <= self.limit_bytes:
                return
            if self._evicted(record.stem):
                total -= size
        if total > self.limit_bytes:
            _LOG.warning(
                "%s: %d bytes are in use just now, above the limit of %d",
                self.root,
                total,
                self.limit_bytes,
            )

    def _download(self, download: Download) -> Path:
        with self.workspace() as folder:
            content = folder / "content"
            content.mkdir()
            digests = download(content)
            whole = digest_of_tree(content) if digests is None else digest_of_digests(digests)
            return self.adopt(content, whole)

    def _remember(self, identity: str, digest: str) -> None:
        sources = self.root / "sources"
        sources.mkdir(parents=True, exist_ok=True)
        _write(sources / identity, digest)

    def _evicted(self, digest: str) -> bool:
        with self._lock_file(digest) as lock:
            # Our own objects are held by another handle on the file, which counts like another's.
            if not _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
            self._record(digest).unlink(missing_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root / "work") as trash:
                self._object(digest).rename(Path(trash) / digest)
        return True

    def _clear_abandoned(self) -> None:
        now = time.time()
        for folder in (self.root / "work").glob("*"):
            try:
                if now - folder.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                continue

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Lets one process at a time do what belongs to a name."""
        with explained(self.root), self._lock_file(name) as lock:
            while _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB) is False:
                self.raise_if_stopped()
                time.sleep(_POLL_SECONDS)
            yield

    def _hold(self, digest: str) -> bool:
        """Keeps others from evicting an object; False when somebody is doing that just now."""
        if self._object(digest) in _held:
            return True
        lock = self._lock_file(digest)
        if _lock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB) is False:
            lock.close()
            return False
        _held[self._object(digest)] = lock
        return True

    def _release(self, digest: str) -> None:
        _held.pop(self._object(digest)).close()

    def _lock_file(self, name: str) -> IO[str]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return (locks / name).open("a")

    def _object(self, digest: str) -> Path:
        return self.root / "objects" / digest

    def _record(self, digest: str) -> Path:
        return self.root / "objects" / f"{digest}.json"


_held: dict[Path, IO[str]] = {}
"""The locks of the objects that this process uses, until it ends."""
_process_folder: tempfile.TemporaryDirectory[str] | None = None


def cache(chosen: StorageSettings) -> Cache:
    """Returns the cache of these settings; without one, a cache that ends with the process."""
    root = chosen.cache or _ending_with_the_process()
    return Cache(root, chosen.cache_limit_bytes, chosen.raise_if_stopped)


def _ending_with_the_process() -> Path:
    global _process_folder
    if _process_folder is None:
        _process_folder = tempfile.TemporaryDirectory(
            prefix="sparse-transfer-", dir=scratch_folder(), ignore_cleanup_errors=True
        )
    return Path(_process_folder.name)


def _inventory(folder: Path) -> dict[str, int]:
    """Returns the number and the bytes of a folder's files."""
    count = size = 0
    pending = [os.fspath(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    count, size = count + 1, size + entry.stat().st_size
    return {"files": count, "bytes": size}


def _lock(file: IO[str], operation: int) -> bool | None:
    """Returns whether the lock was taken; None where the file system knows none."""
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)
