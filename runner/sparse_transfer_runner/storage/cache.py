"""The shared cache of what was fetched: folders by the digest of their content.

Layout below the root::

    objects/DIGEST/…        the files, complete and never changed
    objects/DIGEST.json     number and bytes of its files; its modification time is the last use
    sources/IDENTITY        which object an address led to, when it looked like IDENTITY; and what
                            else is worth remembering of an address
    locks/, work/           who fetches what just now

Many processes and pods use one cache at once. One of them fetches while the others wait for it; an
object appears by a rename, so that it is complete or absent; and an object in use is held by a
shared lock, which keeps others from evicting it. Where the file system knows no locks, everybody
fetches for himself, and nothing is evicted.

An object is recognized as damaged when files are missing or have other sizes; contents are not read
again at each use.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.contract import ENV_CACHE
from sparse_transfer_runner.digests import digest_of_digests, digest_of_tree
from sparse_transfer_runner.disk import explained, write_atomically

from .locks import Outcome, exclusive, hold, lock_file, release
from .settings import StorageSettings, scratch_folder

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_YOUNG_SECONDS = 60
"""A working folder of this age may not have its lock yet."""
_ABANDONED_SECONDS = 30 * 24 * 3600
"""After which a working folder is abandoned where nobody can lock his: longer than any training."""
_DIGEST = re.compile("[0-9a-f]{64}")
_INSTEAD = f"another cache (spec.storage.cache, or {ENV_CACHE})"

Download = Callable[[Path], Mapping[str, str] | None]
"""Fills an empty folder; may return the SHA-256 of each file by its path, where it knows them.

It may put what is passing beside the folder, into its parent."""


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
            AccessError: The cache cannot be written.
        """
        with self._locked(identity):
            found = self.known(identity)
            if found is None:
                found = self.added(download)
                self.note(identity, found.name)
        return found

    def known(self, identity: str) -> Path | None:
        """Returns the object that a source's state is known to lead to, if it is there."""
        digest = self.noted(identity)
        return self.find(digest) if digest is not None else None

    def note(self, identity: str, text: str) -> None:
        """Remembers a short text under a name from ``identity_of``."""
        with self._explained():
            write_atomically(self.root / "sources" / identity, text.encode())

    def noted(self, identity: str) -> str | None:
        """Returns what was last remembered under a name."""
        with self._explained():
            try:
                return (self.root / "sources" / identity).read_text("utf-8")
            except (FileNotFoundError, UnicodeDecodeError):
                return None

    def find(self, digest: str) -> Path | None:
        """Returns the object of a digest, held from now on until the process ends."""
        if not _DIGEST.fullmatch(digest):
            return None
        folder = self._object(digest)
        with self._explained():
            if not folder.is_dir() or not hold(self._lock(digest)):
                return None
            if self._intact(digest):
                self._record(digest).touch()
                return folder
            release(self._lock(digest))
            self._discard(digest)
            return None

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yields an empty folder beside the objects; what is left in it is removed."""
        work = self.root / "work"
        with self._explained():
            work.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=work))
            with lock_file(self._lock(folder.name)) as lock:
                exclusive(lock)
                try:
                    yield folder
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                    self._lock(folder.name).unlink(missing_ok=True)

    def adopt(self, folder: Path, digest: str) -> Path:
        """Makes a folder on the same file system an object, by a rename.

        Args:
            folder: With complete files; gone afterwards.
            digest: Of its content.

        Returns:
            The object's folder.
        """
        with self._locked(f"adopt-{digest}"):
            # From here on nobody takes the record without a folder for a leftover.
            while not hold(self._lock(digest)):
                self._wait()
            if not self._intact(digest):
                self._put(folder, digest)
        self.evict()
        return self._object(digest)

    def evict(self) -> None:
        """Removes the objects that were not used for longest, until the limit is kept."""
        self._clear_abandoned()
        if self.limit_bytes is None:
            return
        with lock_file(self._lock("evict")) as lock:
            if exclusive(lock) is not Outcome.BUSY:
                self._evict(self.limit_bytes)

    def _evict(self, limit_bytes: int) -> None:
        uses = sorted(self._uses())
        total = sum(size for _, size, _ in uses)
        for _, size, digest in uses:
            if total <= limit_bytes:
                return
            if self._evicted(digest):
                total -= size
        if total > limit_bytes:
            _LOG.warning(
                "%s: %d bytes are in use just now, above the limit of %d",
                self.root,
                total,
                limit_bytes,
            )

    def _uses(self) -> Iterator[tuple[float, int, str]]:
        """Yields last use, bytes and digest of each object."""
        for record in (self.root / "objects").glob("*.json"):
            try:
                used = record.stat().st_mtime
                size = json.loads(record.read_text())["bytes"] if self._at(record) else 0
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                size = 0
            yield used, size, record.stem

    def _at(self, record: Path) -> bool:
        return self._object(record.stem).is_dir()

    def _evicted(self, digest: str) -> bool:
        with lock_file(self._lock(digest)) as lock:
            # Our own objects are held by another handle on the file, which counts like another's.
            if exclusive(lock) is not Outcome.TAKEN:
                return False
            self._remove(digest)
        return True

    def added(self, download: Download) -> Path:
        """Returns a new object, filled by a download.

        Raises:
            Transient: The disk is full; nothing is left behind.
            AccessError: The cache cannot be written.
        """
        with self.workspace() as folder:
            content = folder / "content"
            content.mkdir()
            digests = download(content)
            whole = digest_of_tree(content) if digests is None else digest_of_digests(digests)
            return self.adopt(content, whole)

    def _put(self, folder: Path, digest: str) -> None:
        self._remove(digest)
        folder.chmod(0o755)
        write_atomically(self._record(digest), json.dumps(_inventory(folder)).encode())
        try:
            folder.rename(self._object(digest))
        except OSError:
            # Without locks, somebody else may have been faster.
            if not self._intact(digest):
                raise

    def _discard(self, digest: str) -> None:
        """Removes a damaged object, unless somebody has put a good one in its place by now."""
        with self._locked(f"adopt-{digest}"):
            if self._object(digest).is_dir() and not self._intact(digest):
                _LOG.warning("%s: not what was put there; fetched again", self._object(digest))
                self._remove(digest)

    def _remove(self, digest: str) -> None:
        """Takes an object away at once; a record is left no longer than its object."""
        with self.workspace() as trash:
            with suppress(FileNotFoundError):
                self._object(digest).rename(trash / digest)
            self._record(digest).unlink(missing_ok=True)

    def _intact(self, digest: str) -> bool:
        try:
            expected = json.loads(self._record(digest).read_text())
            return bool(expected == _inventory(self._object(digest)))
        except (FileNotFoundError, ValueError):
            return False

    def _clear_abandoned(self) -> None:
        """Removes the working folders of processes that have died."""
        for folder in (self.root / "work").glob("*"):
            try:
                age = time.time() - folder.stat().st_mtime
                if age > _YOUNG_SECONDS and self._abandoned(folder.name, age):
                    shutil.rmtree(folder, ignore_errors=True)
                    self._lock(folder.name).unlink(missing_ok=True)
            except FileNotFoundError:
                continue

    def _abandoned(self, name: str, age_seconds: float) -> bool:
        with lock_file(self._lock(name)) as lock:
            outcome = exclusive(lock)
        if outcome is Outcome.UNKNOWN:
            return age_seconds > _ABANDONED_SECONDS
        return outcome is Outcome.TAKEN

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Lets one process at a time do what belongs to a name."""
        with self._explained(), lock_file(self._lock(name)) as lock:
            while exclusive(lock) is Outcome.BUSY:
                self._wait()
            yield

    def _wait(self) -> None:
        self.raise_if_stopped()
        time.sleep(_POLL_SECONDS)

    def _lock(self, name: str) -> Path:
        return self.root / "locks" / name

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.root, _INSTEAD)

    def _object(self, digest: str) -> Path:
        return self.root / "objects" / digest

    def _record(self, digest: str) -> Path:
        return self.root / "objects" / f"{digest}.json"


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
