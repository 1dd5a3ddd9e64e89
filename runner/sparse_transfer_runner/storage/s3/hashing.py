"""Digests of objects, read from beginning to end and kept nowhere.

Small objects are read whole, several at once; a large one in parts of which a few are fetched
ahead. So the disk is not touched, and memory is bounded whatever the size and number of objects.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sparse_transfer_api.errors import AccessError

from ..parallel import at_once
from .attempts import persistently
from .bucket import Bucket
from .objects import Listed

_PART_BYTES = 8 << 20
_PARTS_AHEAD = 4
_WHOLE_AT_ONCE = 8
"""Small objects at once; with the parts' size this is what bounds memory."""

Read = Callable[[int], None]


def digests(
    bucket: Bucket, objects: Sequence[Listed], read: Read
) -> Iterator[tuple[Listed, str | AccessError]]:
    """Yields each object with its SHA-256, or with why it cannot be read.

    Args:
        bucket: Where they are.
        objects: As listed; one that was changed since is said to be so.
        read: Told the bytes of each part; ends the reading by raising.

    Raises:
        Transient: The store did not answer in spite of retries, or an object was just changed.
    """

    def attempt(each: Listed) -> str | AccessError:
        try:
            return (_whole if each.size_bytes <= _PART_BYTES else _in_parts)(bucket, each, read)
        except AccessError as error:
            return error

    for each in objects:
        if each.size_bytes > _PART_BYTES:
            yield each, attempt(each)
    small = (each for each in objects if each.size_bytes <= _PART_BYTES)
    yield from at_once(attempt, small, _WHOLE_AT_ONCE)


def _whole(bucket: Bucket, wanted: Listed, read: Read) -> str:
    with bucket.explained(wanted.key):
        content = persistently(
            lambda: bucket.client.get_object(
                Bucket=bucket.name, Key=wanted.key, IfMatch=wanted.etag
            )["Body"].read()
        )
    read(len(content))
    return hashlib.sha256(content).hexdigest()


def _in_parts(bucket: Bucket, wanted: Listed, read: Read) -> str:
    digest = hashlib.sha256()

    def take(part: Future[bytes]) -> None:
        content = part.result()
        digest.update(content)
        read(len(content))

    ahead: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_PARTS_AHEAD) as pool:
        for start in range(0, wanted.size_bytes, _PART_BYTES):
            ahead.append(pool.submit(_part, bucket, wanted, start))
            if len(ahead) > _PARTS_AHEAD:
                take(ahead.popleft())
        while ahead:
            take(ahead.popleft())
    return digest.hexdigest()


def _part(bucket: Bucket, wanted: Listed, start: int) -> bytes:
    """Returns the part that begins at a byte, of the object as it was listed."""
    last = min(start + _PART_BYTES, wanted.size_bytes) - 1
    with bucket.explained(wanted.key):
        return persistently(
            lambda: bucket.client.get_object(
                Bucket=bucket.name,
                Key=wanted.key,
                IfMatch=wanted.etag,
                Range=f"bytes={start}-{last}",
            )["Body"].read()
        )
