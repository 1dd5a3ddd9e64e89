"""A JSON array of objects, read element by element: the file may be larger than memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.source import BLOCK_BYTES, MAX_RECORD_BYTES, SourceFile

_SPACE = re.compile(r"[ \t\r\n]*")
_ROWS_OF_A_CHUNK = 512
_REST_UNCHECKED = "(the rest of the file was not checked)"


def array_chunks(source: SourceFile) -> Iterator[Chunk]:
    """Yields the rows of a file that holds one array; where it breaks, reading ends."""
    elements = _Elements(source)
    rows: list[Any] = []
    lines: list[int] = []
    for line, row in elements:
        rows.append(row)
        lines.append(line)
        if len(rows) == _ROWS_OF_A_CHUNK:
            yield Chunk(rows, lines)
            rows, lines = [], []
    if rows:
        yield Chunk(rows, lines)


class _Elements:
    """The elements of an array with their lines."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._blocks = source.blocks()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._scan = JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._line = 1
        self._bytes = 0
        self._ended = False
        self._failed = False

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._skip("[")
        if self._next_character() == "]":
            self._skip("]")
        else:
            yield from self._elements()
        if not self._failed and self._next_character():
            self._fail(f"{shown(self._text[self._at : self._at + 40])} follows the array's end")
        for _ in self._blocks:
            pass  # the digest is that of the whole file

    def _elements(self) -> Iterator[tuple[int, Any]]:
        while not self._failed:
            self._next_character()
            line = self._line
            found = self._element()
            if found is None:
                return
            yield line, found[0]
            following = self._next_character()
            if following not in (",", "]"):
                place = shown(following) if following else "the end of the file"
                self._fail(f"{place} after a row instead of ',' or ']'")
                return
            self._skip(following)
            if following == "]":
                return

    def _element(self) -> tuple[Any] | None:
        """Parses the element at the current place, reading on while it may be incomplete."""
        wanted = BLOCK_BYTES
        while True:
            try:
                row, end = self._scan(self._text, self._at)
            except RecursionError:
                self._fail("nested too deeply")
                return None
            except JSONDecodeError as error:
                available = len(self._text) - self._at
                if not self._ended and available <= MAX_RECORD_BYTES:
                    # Doubling: a long element is scanned a bounded number of times.
                    wanted = max(wanted, 2 * available)
                    self._fill(wanted)
                    continue
                self._fail(f"not JSON: {error.msg}", error.pos)
                return None
            self._advance(end)
            return (row,)

    def _next_character(self) -> str:
        """Moves over white space; returns the character there, or nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._advance(found.end() if found else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill(BLOCK_BYTES)

    def _skip(self, character: str) -> None:
        if self._next_character() == character:
            self._advance(self._at + 1)

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self, wanted: int) -> None:
        """Reads until ``wanted`` characters lie ahead, or the file ends."""
        parts = [self._text[self._at :]]
        ahead = len(parts[0])
        while ahead < wanted and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            try:
                parts.append(self._decode(block, self._ended))
            except UnicodeDecodeError as error:
                self._undecodable(error, "".join(parts))
                break
            self._bytes += len(block)
            ahead += len(parts[-1])
        self._text, self._at = "".join(parts), 0

    def _undecodable(self, error: UnicodeDecodeError, before: str) -> None:
        self._ended = self._failed = self._source.cut_short = True
        valid = error.object[: error.start]
        self._source.findings.add(
            "wrong encoding",
            self._source.path,
            f"byte 0x{error.object[error.start]:02X} at byte {self._bytes + error.start + 1} of "
            f"the file is not UTF-8; save the file as UTF-8 {_REST_UNCHECKED}",
            self._line + before.count("\n") + valid.count(b"\n"),
        )

    def _fail(self, message: str, at: int | None = None) -> None:
        if self._failed:
            return
        self._failed = self._source.cut_short = True
        line = self._line + self._text.count("\n", self._at, at if at is not None else self._at)
        self._source.findings.add(
            "broken JSON",
            self._source.path,
            f"{message}; expected an array of objects {_REST_UNCHECKED}",
            line,
        )
