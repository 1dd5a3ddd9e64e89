"""The bytes of a data file, read once in bounded memory: digest, byte order mark, whole lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from sparse_transfer_api.errors import AccessError
from sparse_transfer_runner.data.findings import Findings

BLOCK_BYTES = 1 << 16
"""Small enough that a block and the objects parsed from it stay in the processor's cache."""

MAX_RECORD_BYTES = 16 << 20
"""A longer line, field or element is taken for a damaged file: memory stays bounded."""

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class SourceFile:
    """One data file; iterate over one of its methods once, to the end, and ask for its digest.

    Args:
        path: The file.
        findings: Receives what is wrong with it.
    """

    def __init__(self, path: Path, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self.cut_short = False
        """Whether a part of the rows could not be read, so that the others prove nothing."""
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of what was read: of the file, once iteration has reached its end."""
        return self._hash.hexdigest()

    def first_byte(self) -> bytes:
        """Returns the first byte that is neither white space nor a byte order mark."""
        return self.beginning().lstrip()[:1]

    def beginning(self) -> bytes:
        """Returns the first block of the file without its byte order mark."""
        with self._opened() as file:
            return file.read(BLOCK_BYTES).removeprefix(_UTF8_MARK)

    def blocks(self) -> Iterator[bytes]:
        """Yields the file without its byte order mark, in blocks of about ``BLOCK_BYTES``.

        Nothing is yielded of a file in another Unicode encoding; findings receive that.
        """
        with self._opened() as file:
            block = file.read(BLOCK_BYTES)
            encoding = _OTHER_MARKS.get(block[:2])
            if encoding:
                self.findings.add(
                    "wrong encoding",
                    self.path,
                    f"begins as {encoding} (byte 0x{block[0]:02X} at byte 1); save it as UTF-8",
                    1,
                )
                self.cut_short = True
            if block.startswith(_UTF8_MARK):
                self._hash.update(_UTF8_MARK)
                block = block.removeprefix(_UTF8_MARK)
            while block:
                self._hash.update(block)
                if not encoding:
                    yield block
                block = file.read(BLOCK_BYTES)

    def line_blocks(self) -> Iterator[bytes]:
        """Yields the same in blocks of whole lines; only the last may lack its line end.

        A line longer than ``MAX_RECORD_BYTES`` ends the reading; findings receive that.
        """
        rest = b""
        yielded = 0
        too_long = False
        for block in self.blocks():
            if too_long:
                continue
            rest += block
            cut = rest.rfind(b"\n") + 1
            if cut:
                yield rest[:cut]
                yielded += cut
                rest = rest[cut:]
            elif len(rest) > MAX_RECORD_BYTES:
                too_long = True
                self._add_too_long(yielded)
        if rest and not too_long:
            yield rest

    def _add_too_long(self, offset: int) -> None:
        self.cut_short = True
        # Counting lines all along would cost a tenth of the whole check.
        with self._opened() as file:
            line = 1
            while offset > 0 and (block := file.read(min(BLOCK_BYTES, offset))):
                line += block.count(b"\n")
                offset -= len(block)
        self.findings.add(
            "too long",
            self.path,
            f"longer than {MAX_RECORD_BYTES >> 20} MiB without an end; expected a row "
            "(the rest of the file was not checked)",
            line,
        )

    def add_undecodable(self, raw: bytes, line: int) -> str | None:
        """Decodes one line; where that fails, notes the offending byte and returns None."""
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.findings.add(
                "wrong encoding",
                self.path,
                f"byte 0x{raw[error.start]:02X} at byte {error.start + 1} of the line is not "
                "UTF-8; save the file as UTF-8",
                line,
            )
            return None

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path)
        except PermissionError as error:
            raise AccessError(f"{self.path}: may not be read by this user") from error
