"""``s3://BUCKET/path``: stores that speak Amazon's S3 protocol, for sources and for results."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.disk import explained

from ..cache import cache, identity_of
from ..protocol import Missing, StoredFile
from ..settings import scratch_folder, settings
from .bucket import Bucket
from .client import CONNECTIONS, client, credentials, encryption, exclusive_client
from .direct import direct_requests
from .errors import explained_s3
from .hashing import digests
from .objects import Download, Listed, Upload

_LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""
_NAMED = 5


class S3Source:
    """Addresses such as ``s3://bucket/reviews/``: all objects below, or one object."""

    scheme = "s3"

    def fetch(self, uri: str) -> Path:
        """Returns the cached copy of what is there now, fetched where it is not cached.

        Raises:
            InputError: The address is malformed, or names that no file can have are below it.
            AccessError: Nothing is there, or it may not be read.
            Transient: The store did not answer in spite of retries.
        """
        bucket, prefix = _located(uri)
        if not prefix or prefix.endswith("/"):
            return _fetched(uri, bucket, prefix, bucket.listed(prefix))
        found = bucket.listed(f"{prefix}/")
        if found:
            return _fetched(uri, bucket, f"{prefix}/", found)
        # Of all keys that begin so, the very key is the first.
        single = [each for each in bucket.listed(prefix, most=1) if each.key == prefix]
        folder, _, name = prefix.rpartition("/")
        if not single:
            raise Missing(f"{uri}: nothing is there{_around(bucket, prefix)}")
        return _fetched(uri, bucket, f"{folder}/" if folder else "", single) / name


@dataclass(frozen=True)
class S3Place:
    """A folder of a bucket that can be written.

    Args:
        bucket: The bucket.
        prefix: The folder's keys begin so; with a slash at the end, or empty.
    """

    bucket: Bucket
    prefix: str

    @property
    def uri(self) -> str:
        """Its address, without a slash at the end."""
        return self.bucket.uri(self.prefix).rstrip("/")

    @property
    def folder(self) -> None:
        """Nothing of it is on this machine."""
        return None

    def below(self, name: str) -> S3Place:
        """Returns the folder of that name in this one."""
        return S3Place(self.bucket, f"{self.prefix}{name}/")

    def files(self) -> list[StoredFile]:
        """Returns all objects below, sorted by path."""
        found = self.bucket.listed(self.prefix)
        return sorted(StoredFile(each.key[len(self.prefix) :], each.size_bytes) for each in found)

    def read(self, path: str) -> bytes:
        """Returns the content of a small object."""
        return self.bucket.read(self.prefix + path)

    def create(self, path: str, content: bytes) -> bool:
        """Writes a small object unless there is one of that name."""
        return self.bucket.create(self.prefix + path, content, uuid.uuid4().hex)

    def put(self, path: str, write: Callable[[Path], None]) -> None:
        """Writes an object from a file of the scratch folder."""
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            file = Path(folder) / PurePosixPath(path).name
            with explained(file):
                write(file)
            self.bucket.put(self.prefix + path, file, uuid.uuid4().hex)

    def publish(self, source: Path, files: Sequence[FileEntry]) -> list[FileEntry]:
        """Writes files as new objects, their digests checked by the store or by readers."""
        entries = {self.prefix + file.path: file for file in files}
        uploads = [Upload(key, source / file.path, file.sha256) for key, file in entries.items()]
        return [entries[left.key] for left in self.bucket.upload(uploads, uuid.uuid4().hex)]

    def get(self, files: Sequence[FileEntry], target: Path) -> None:
        """Fetches objects into a folder, each checked against its recorded digest."""
        objects = [
            Download(self.prefix + file.path, file.size_bytes, target / file.path, file.sha256)
            for file in files
        ]
        _download(self.bucket, objects, target)

    def digests(
        self, paths: Collection[str], read: Callable[[int], None]
    ) -> Iterator[tuple[str, str | AccessError]]:
        """Yields each object's path with its SHA-256, or with why it cannot be read."""
        listed = {each.key: each for each in self.bucket.listed(self.prefix)}
        wanted = {self.prefix + path: path for path in paths}
        for key in wanted.keys() - listed.keys():
            yield wanted[key], Missing(f"{self.bucket.uri(key)}: no such object")
        found = [listed[key] for key in wanted.keys() & listed.keys()]
        for each, digest in digests(self.bucket, found, read):
            yield wanted[each.key], digest

    def remove(self, paths: Iterable[str]) -> None:
        """Deletes objects; those that do not exist are passed over."""
        self.bucket.delete([self.prefix + path for path in paths])

    def sweep(self) -> None:
        """Aborts uploads that were begun and never ended; the store keeps their parts till then."""
        self.bucket.abort_uploads(self.prefix)


def place(uri: str) -> S3Place:
    """Returns the folder of an address, to be written.

    Raises:
        InputError: The address is malformed.
    """
    bucket, prefix = _located(uri)
    return S3Place(bucket, f"{prefix.rstrip('/')}/" if prefix else "")


def _located(uri: str) -> tuple[Bucket, str]:
    """Returns the bucket and the key or prefix of an address."""
    name, _, prefix = uri.split("://", 1)[1].partition("/")
    if not name:
        raise InputError(f"{uri}: expected s3://BUCKET/path")
    s3 = settings().s3
    with explained_s3(uri, s3.endpoint or "Amazon S3"):
        ordinary = client(s3)
        direct = direct_requests(ordinary, name, credentials(s3), CONNECTIONS)
        return Bucket(ordinary, exclusive_client(s3), name, encryption(s3), direct), prefix


def _fetched(uri: str, bucket: Bucket, prefix: str, objects: Sequence[Listed]) -> Path:
    """Returns the cached folder of listed objects."""
    if not objects:
        raise Missing(f"{uri}: nothing is there{_around(bucket, prefix)}")
    paths = _paths(uri, bucket, prefix, objects)
    state = [(path, each.size_bytes, each.etag) for path, each in paths.items()]
    identity = identity_of(["s3", bucket.store, bucket.name, prefix, state])

    def download(folder: Path) -> Mapping[str, str]:
        wanted = [
            Download(each.key, each.size_bytes, folder / path, etag=each.etag)
            for path, each in paths.items()
        ]
        return _download(bucket, wanted, folder)

    return cache(settings()).fetched(identity, download)


def _download(bucket: Bucket, objects: Sequence[Download], folder: Path) -> dict[str, str]:
    """Fetches objects below a folder; returns the digest of each by its path in it."""
    with explained(folder):
        for parent in {each.target.parent for each in objects}:
            parent.mkdir(parents=True, exist_ok=True)
        return {
            each.target.relative_to(folder).as_posix(): digest
            for each, digest in bucket.download(objects, settings().raise_if_stopped)
        }


def _paths(uri: str, bucket: Bucket, prefix: str, objects: Sequence[Listed]) -> dict[str, Listed]:
    """Returns the objects by the path of the file that each becomes.

    Raises:
        InputError: A key cannot be a path, or is a file and a folder at once.
    """
    paths = {each.key[len(prefix) :]: each for each in objects}
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    for path, each in paths.items():
        wrong = _wrong_with(path) or ("is a folder too" if path in folders else None)
        if wrong is not None:
            raise InputError(
                f"{bucket.uri(each.key)}: {wrong}, so that it cannot become a file; rename the "
                f"object, or move what belongs to {uri} to a prefix of its own"
            )
    return paths


def _wrong_with(path: str) -> str | None:
    """Returns why a key cannot be a path below a folder; None where it can."""
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"has the part {part!r}"
        if "\0" in part or len(part.encode()) > _LONGEST_NAME:
            return "has a part that no file name can be"
    return None


def _around(bucket: Bucket, prefix: str) -> str:
    """Returns what there is instead of a prefix, for a message."""
    above = prefix.rstrip("/").rpartition("/")[0]
    try:
        names = bucket.names_in(f"{above}/" if above else "")
    except AccessError:
        return ""
    if not names:
        return f" ({bucket.uri(above)} is empty)"
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    return f" ({bucket.uri(above)} holds {shown})"
