"""A bucket: many files moved at once, small ones by a request each, large ones in parts.

Memory is bounded by the number of requests at once, whatever the size and number of files.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from sparse_transfer_api.errors import AccessError, Transient

from ..parallel import at_once
from ..protocol import Damaged
from . import parts
from .attempts import persistently
from .client import CONNECTIONS
from .direct import DirectRequests
from .errors import explained_s3, is_missing, is_refusal
from .objects import Arrived, Download, Listed, Upload, lowered

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import PaginatorConfigTypeDef

_LOG = logging.getLogger(__name__)
_WHOLE_BYTES = 8 << 20
"""Files up to this are moved by one request each, and may be in memory as often as that."""
_PIECE_BYTES = 256 << 10
_FETCHES = 2
"""Of an object that does not arrive as it was written."""
_DIGEST = "sha256"
"""Metadata of the objects that we write: what a reader checks the content against."""
_WRITER = "writer"
"""Metadata that tells one's own object, written by a request whose answer was lost."""
_DELETED_AT_ONCE = 1000
"""The protocol's limit."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how it is reached.

    Args:
        client: Of the store.
        exclusive: A client whose uploads never replace an object.
        name: The bucket's.
        parameters: Added to every upload, such as encryption.
        direct: For small objects; None where all have to be asked for through the clients.
    """

    client: S3Client
    exclusive: S3Client
    name: str
    parameters: dict[str, Any]
    direct: DirectRequests | None = None

    @property
    def store(self) -> str:
        """The store's address."""
        return self.client.meta.endpoint_url

    def uri(self, key: str) -> str:
        """Returns an object's address."""
        return f"s3://{self.name}/{key}"

    @contextmanager
    def explained(self, key: str) -> Iterator[None]:
        """Turns what goes wrong with an object into errors that say what to do."""
        with explained_s3(self.uri(key), self.store):
            try:
                yield
            except HTTPError as error:
                raise ResponseStreamingError(error=error) from error

    def listed(self, prefix: str, most: int | None = None) -> list[Listed]:
        """Returns the objects whose keys begin so; markers of empty folders are left out.

        Args:
            prefix: What the keys begin with.
            most: How many to ask for, the first by code point; None for all.
        """
        pages = self.client.get_paginator("list_objects_v2")
        limit: PaginatorConfigTypeDef = {} if most is None else {"MaxItems": most, "PageSize": most}

        def attempt() -> list[Listed]:
            return [
                Listed(each["Key"], each["Size"], each["ETag"])
                for page in pages.paginate(Bucket=self.name, Prefix=prefix, PaginationConfig=limit)
                for each in page.get("Contents", ())
                if not each["Key"].endswith("/")
            ]

        with self.explained(prefix):
            return persistently(attempt)

    def names_in(self, prefix: str) -> list[str]:
        """Returns some names of what lies directly below a prefix."""
        with self.explained(prefix):
            page = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix, Delimiter="/")
        found = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        found += [each["Key"] for each in page.get("Contents", ())]
        return sorted(name.removeprefix(prefix) for name in found if name != prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; those that do not exist are passed over."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            batch = keys[start : start + _DELETED_AT_ONCE]
            with self.explained(batch[0]):
                persistently(partial(self._delete, batch))

    def _delete(self, keys: Sequence[str]) -> None:
        answer = self.client.delete_objects(
            Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for error in answer.get("Errors", ()):
            raise self.client.exceptions.ClientError(
                {"Error": {"Code": error["Code"], "Message": error["Message"]}}, "DeleteObjects"
            )

    def abort_uploads(self, prefix: str) -> None:
        """Aborts the unfinished uploads of keys that begin so, as far as rights allow."""
        try:
            with self.explained(prefix):
                pages = self.client.get_paginator("list_multipart_uploads")
                for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                    for upload in page.get("Uploads", ()):
                        self.client.abort_multipart_upload(
                            Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
        except AccessError as error:
            # Housekeeping: a lifecycle rule of the bucket does the same, where rights are few.
            _LOG.debug("unfinished uploads are left to the bucket's rules: %s", error)

    def read(self, key: str) -> bytes:
        """Returns the content of an object that fits into memory."""
        with self.explained(key):
            return persistently(
                lambda: self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
            )

    def create(self, key: str, content: bytes, writer: str) -> bool:
        """Writes a small object unless there is one.

        Args:
            key: The object's.
            content: All of it.
            writer: Unique; tells a success whose answer was lost from another's object.
        """
        with self.explained(key):
            return self._written(
                key,
                writer,
                lambda: persistently(
                    lambda: self.exclusive.put_object(
                        Bucket=self.name,
                        Key=key,
                        Body=content,
                        Metadata={_WRITER: writer},
                        **self.parameters,
                    )
                ),
            )

    def put(self, key: str, source: Path, writer: str) -> None:
        """Writes an object, in the place of one of the same name.

        Args:
            key: The object's.
            source: The file.
            writer: Unique; tells a success whose answer was lost from an upload that failed.
        """
        with self.explained(key):
            if source.stat().st_size > _WHOLE_BYTES:
                self._put_in_parts(key, source, writer)
            else:
                content = source.read_bytes()
                persistently(
                    lambda: self.client.put_object(
                        Bucket=self.name, Key=key, Body=content, **self.parameters
                    )
                )

    def _put_in_parts(self, key: str, source: Path, writer: str) -> None:
        described = {"Metadata": {_WRITER: writer}, **self.parameters}
        try:
            parts.upload(self.client, self.name, key, source, described)
        except ClientError as error:
            # A store forgets an upload when it completes it; then it is asked again in vain.
            if not is_refusal(error) or (self._metadata_if_any(key) or {}).get(_WRITER) != writer:
                raise

    def upload(self, files: Sequence[Upload], writer: str) -> list[Upload]:
        """Writes files as new objects.

        Args:
            files: What to write.
            writer: Unique to this attempt.

        Returns:
            Those that were left out, because there is such an object already.
        """
        sizes = {file.key: file.source.stat().st_size for file in files}
        large = [file for file in files if sizes[file.key] > _WHOLE_BYTES]
        small = [file for file in files if sizes[file.key] <= _WHOLE_BYTES]
        # One after another: each has as many parts in memory as there may be.
        done = [(file, self._upload(file, writer)) for file in large]
        done += at_once(lambda file: self._upload(file, writer), small, CONNECTIONS)
        return [file for file, written in done if not written]

    def download(
        self, objects: Sequence[Download], check: Callable[[], None]
    ) -> Iterator[tuple[Download, str]]:
        """Fetches objects, and yields each with the SHA-256 of what was written.

        Args:
            objects: What to fetch.
            check: Called between parts and files; ends the download by raising.

        Raises:
            Damaged: What arrived is not what was written.
        """
        large = [each for each in objects if each.size_bytes > _WHOLE_BYTES]
        small = [each for each in objects if each.size_bytes <= _WHOLE_BYTES]
        for each in large:
            yield each, self._download_in_parts(each, check)
        for each, digest in at_once(self._download_whole, small, CONNECTIONS):
            check()
            yield each, digest

    def _upload(self, file: Upload, writer: str) -> bool:
        described = {"Metadata": {_DIGEST: file.sha256, _WRITER: writer}, **self.parameters}
        with self.explained(file.key):
            if file.source.stat().st_size > _WHOLE_BYTES:
                return self._written(
                    file.key,
                    writer,
                    lambda: parts.upload(
                        self.exclusive, self.name, file.key, file.source, described
                    ),
                )
            return self._upload_whole(file, writer, described)

    def _upload_whole(self, file: Upload, writer: str, described: dict[str, Any]) -> bool:
        content = file.source.read_bytes()
        checksum = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        described = {**described, "ChecksumSHA256": checksum}
        if self.direct is not None and self.direct.put(
            file.key, content, {**described, "IfNoneMatch": "*"}
        ):
            return True
        # What a direct request was not told may have happened all the same.
        return self._written(
            file.key,
            writer,
            lambda: persistently(
                lambda: self.exclusive.put_object(
                    Bucket=self.name, Key=file.key, Body=content, **described
                )
            ),
        )

    def _written(self, key: str, writer: str, write: Callable[[], object]) -> bool:
        """Returns whether a conditional write succeeded, of which an answer may have been lost."""
        try:
            write()
        except Exception as error:
            if not is_refusal(error):
                raise
            metadata = self._metadata_if_any(key)
            if metadata is None:
                raise
            return metadata.get(_WRITER) == writer
        return True

    def _download_whole(self, wanted: Download) -> str:
        """Fetches an object by one request, hashing it on the way."""

        def attempt() -> Arrived:
            answer = self.client.get_object(Bucket=self.name, Key=wanted.key)
            digest = hashlib.sha256()
            # A body that is not read to its end keeps its connection.
            with closing(answer["Body"]) as body, wanted.target.open("wb") as file:
                for piece in body.iter_chunks(_PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
            return Arrived(digest.hexdigest(), lowered(answer["Metadata"]), answer.get("ETag"))

        def directly() -> Arrived:
            got = self.direct and self.direct.get(wanted.key, wanted.target)
            return got or persistently(attempt)

        return self._intact(wanted, directly)

    def _download_in_parts(self, wanted: Download, check: Callable[[], None]) -> str:
        return self._intact(
            wanted,
            lambda: parts.download(self.client, self.name, wanted.key, wanted.target, check),
        )

    def _intact(self, wanted: Download, fetched: Callable[[], Arrived]) -> str:
        """Returns the digest of what was fetched, after comparing it with what was written.

        Parts come without checksums of their own; so what differs is fetched once more.
        """
        for _ in range(_FETCHES):
            with self.explained(wanted.key):
                found = fetched()
                self._require_as_listed(wanted, found)
            expected = wanted.sha256 or found.metadata.get(_DIGEST)
            if expected in (None, found.sha256):
                return found.sha256
        wanted.target.unlink()
        raise Damaged(
            f"{self.uri(wanted.key)}: what arrived has sha256 {found.sha256[:12]}…, but "
            f"{str(expected)[:12]}… was written; it was damaged in the store or on the way: "
            "write it again"
        )

    def _require_as_listed(self, wanted: Download, found: Arrived) -> None:
        """Refuses another version than the listed one, by whose ETag others will know it.

        Some stores list other ETags than they answer with; so a listing decides.
        """
        if wanted.etag in (None, found.etag):
            return
        if [each.etag for each in self.listed(wanted.key, most=1)] != [wanted.etag]:
            raise Transient(
                f"{self.uri(wanted.key)}: was changed by somebody else after it was listed"
            )

    def _metadata_if_any(self, key: str) -> Mapping[str, str] | None:
        try:
            head = persistently(lambda: self.client.head_object(Bucket=self.name, Key=key))
        except ClientError as error:
            if not is_missing(error):
                raise
            return None
        return lowered(head["Metadata"])
