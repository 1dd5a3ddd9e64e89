"""Large objects, moved in parts: a few at once, each by a request that is made again by itself.

boto3's transfer manager hands what arrives through queues to one thread that writes, and sends what
leaves in pieces of 16 KiB; and it knows neither the digest of a file while it arrives nor a version
to hold on to. Here each part is written where it belongs by the thread that received it, is hashed
in order as soon as those before it are there, and is refused when the object was changed meanwhile.
Memory is bounded by the parts at once, whatever the size.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError

from .attempts import persistently
from .objects import Arrived, lowered

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_LOG = logging.getLogger(__name__)
PARTS_AT_ONCE = 4
_DOWN_BYTES = 16 << 20
_UP_BYTES = 16 << 20
_MOST_PARTS = 10_000
"""Of one upload: the protocol's limit."""
_PIECE_BYTES = 256 << 10
"""What is in memory of a part that arrives; larger pieces cost page faults with each of them."""

Result = TypeVar("Result")


def download(
    client: S3Client,
    bucket: str,
    key: str,
    target: Path,
    check: Callable[[], None],
) -> Arrived:
    """Fetches one version of an object into a file.

    Args:
        client: Of the store.
        bucket: The bucket.
        key: The object's.
        target: The file to write, in an existing folder.
        check: Called, by several threads, between pieces; ends the download by raising.
    """
    head = persistently(lambda: client.head_object(Bucket=bucket, Key=key))
    size, etag = head["ContentLength"], head["ETag"]

    def part(start: int) -> range:
        """Receives a part and writes it; returns where it is."""
        span = range(start, min(start + _DOWN_BYTES, size))

        def attempt() -> None:
            answer = client.get_object(
                Bucket=bucket,
                Key=key,
                IfMatch=etag,
                Range=f"bytes={span.start}-{span.stop - 1}",
            )
            at = span.start
            # A body that is not read to its end keeps its connection. The file is the part's own:
            # who is interrupted twice does not wait, and others get the number of his, once closed.
            with closing(answer["Body"]) as body, target.open("r+b", buffering=0) as file:
                for piece in body.iter_chunks(_PIECE_BYTES):
                    check()
                    at += len(piece)
                    if at > span.stop:
                        break
                    _write(file.fileno(), piece, at - len(piece))
            if at != span.stop:  # whatever the answer said of its length, which may be of all
                raise IncompleteReadError(actual_bytes=at - span.start, expected_bytes=len(span))

        persistently(attempt)
        return span

    digest = hashlib.sha256()
    with (
        target.open("w+b", buffering=0) as file,
        closing(_in_order(part, range(0, size, _DOWN_BYTES))) as done,
    ):
        for span in done:
            _hash(digest, file.fileno(), span)
    return Arrived(digest.hexdigest(), lowered(head["Metadata"]), etag)


def upload(
    client: S3Client,
    bucket: str,
    key: str,
    source: Path,
    parameters: dict[str, Any],
) -> None:
    """Writes a file as an object; the store checks each part, and keeps none of one that fails.

    Args:
        client: Of the store; with conditions, where the object may not replace another.
        bucket: The bucket.
        key: The object's.
        source: The file.
        parameters: Of the object, such as its metadata and its encryption.
    """
    size = source.stat().st_size
    length = max(_UP_BYTES, -(-size // _MOST_PARTS))
    begun = persistently(
        lambda: client.create_multipart_upload(
            Bucket=bucket, Key=key, ChecksumAlgorithm="CRC32", **parameters
        )
    )["UploadId"]

    def part(start: int) -> CompletedPartTypeDef:
        number = start // length + 1
        with source.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), length, start)
        if len(content) != min(length, size - start):
            raise OSError(errno.EIO, "became shorter while it was sent", str(source))
        answer = persistently(
            lambda: client.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=begun,
                PartNumber=number,
                Body=content,
                ChecksumAlgorithm="CRC32",
            )
        )
        checked: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            checked["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return checked

    with _aborted_on_failure(client, bucket, key, begun):
        done = list(_in_order(part, range(0, size, length)))
        persistently(
            lambda: client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=begun, MultipartUpload={"Parts": done}
            )
        )


def _in_order(work: Callable[[int], Result], starts: range) -> Generator[Result, None, None]:
    """Yields what the parts come to, in their order, a few of them worked on ahead.

    When it ends, and when it is closed, none of them is worked on any more.
    """
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(PARTS_AT_ONCE)
    try:
        for start in starts:
            ahead.append(pool.submit(work, start))
            if len(ahead) > PARTS_AT_ONCE:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # The first failure is final: nobody waits for parts that have not begun.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _aborted_on_failure(client: S3Client, bucket: str, key: str, upload_id: str) -> Iterator[None]:
    """Takes back the parts of an upload that is given up, as far as rights allow."""
    try:
        yield
    except BaseException:
        try:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except (ClientError, BotoCoreError) as error:
            _LOG.debug("the parts of %s are left to the bucket's rules: %s", key, error)
        raise


def _write(file: int, content: bytes, at: int) -> None:
    """Writes all of it: a call may write less when a disk is nearly full."""
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _hash(digest: hashlib._Hash, file: int, span: range) -> None:
    """Adds what was written, which the system still has in memory."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    at = span.start
    while at < span.stop:
        count = os.preadv(file, [buffer[: span.stop - at]], at)
        if count == 0:
            raise OSError(errno.EIO, f"became shorter while it was written, at byte {at}")
        digest.update(buffer[:count])
        at += count
