"""HTTP/1.1 messages as bytes with a head that can be read, and what S3 calls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qs, unquote, urlsplit

BLOCK_BYTES = 1 << 16
_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Head:
    """The head of a request or of an answer, as it came.

    Args:
        raw: Including the empty line.
    """

    raw: bytes

    @property
    def first_line(self) -> str:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1")

    @cached_property
    def headers(self) -> dict[str, str]:
        """By lower-case name; of several of one name the last."""
        lines = self.raw.decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        return {name.strip().lower(): value.strip() for name, value in pairs}

    @property
    def length(self) -> int | None:
        """Bytes of the body; None where it comes in chunks."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return None
        return int(self.headers.get("content-length", 0))


@dataclass(frozen=True)
class Request(Head):
    """The head of a request; buckets are in the path."""

    @property
    def method(self) -> str:
        return self.first_line.split(" ")[0]

    @property
    def target(self) -> str:
        """Path and query, also of a request to a forward proxy."""
        target = self.first_line.split(" ")[1]
        if "://" in target:
            parts = urlsplit(target)
            return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return target

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def bucket(self) -> str:
        return unquote(self.target.partition("?")[0]).lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        return unquote(self.target.partition("?")[0]).lstrip("/").partition("/")[2]

    @property
    def operation(self) -> str:
        """S3's name of the call, such as ``PutObject``."""
        present = self.query.keys()
        if not self.key:
            return _BUCKET_OPERATIONS.get(
                (self.method, "delete" in present), f"{self.method}Bucket"
            )
        if "uploadId" in present:
            return _UPLOAD_OPERATIONS.get(self.method, f"{self.method}Upload")
        if "uploads" in present:
            return "CreateMultipartUpload"
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "CopyObject"
        return f"{self.method.capitalize()}Object"

    def forwarded(self) -> bytes:
        """Returns the head as the server itself is asked, headers unchanged."""
        rest = self.raw.split(b"\r\n", 1)[1]
        return f"{self.method} {self.target} HTTP/1.1\r\n".encode("latin-1") + rest


_BUCKET_OPERATIONS = {
    ("GET", False): "ListObjectsV2",
    ("HEAD", False): "HeadBucket",
    ("PUT", False): "CreateBucket",
    ("POST", True): "DeleteObjects",
}
_UPLOAD_OPERATIONS = {
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
    "GET": "ListParts",
}


@dataclass(frozen=True)
class Answer(Head):
    """The head of an answer."""

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])

    def has_body(self, method: str) -> bool:
        """Returns whether a body follows, to a request of that method."""
        return method != "HEAD" and self.status >= 200 and self.status not in (204, 304)


async def read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Returns the bytes of the next head; None where the peer has ended."""
    try:
        return await reader.readuntil(_END)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def blocks(reader: asyncio.StreamReader, head: Head) -> AsyncGenerator[bytes, None]:
    """Yields the body as it is on the wire, chunk sizes included."""
    left = head.length
    if left is not None:
        while left > 0:
            yield (block := await _some(reader, left))
            left -= len(block)
        return
    while True:
        size_line = await reader.readuntil(b"\r\n")
        yield size_line
        left = int(size_line.split(b";")[0], 16)
        if left == 0:
            break
        left += len(b"\r\n")
        while left > 0:
            yield (block := await _some(reader, left))
            left -= len(block)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield b"\r\n"


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    block = await reader.read(min(most, BLOCK_BYTES))
    if not block:
        raise asyncio.IncompleteReadError(b"", most)
    return block
