"""A JSON array of objects, read element by element: the file may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.json_cursor import JsonCursor
from sparse_transfer_runner.data.source import SourceFile

_ROWS_OF_A_CHUNK = 512


def array_chunks(source: SourceFile) -> Iterator[Chunk]:
    """Yields the rows of a file that holds one array; where it breaks, reading ends."""
    cursor = JsonCursor(source, "an array of objects")
    rows: list[Any] = []
    lines: list[int] = []
    for line, row in _elements(cursor):
        rows.append(row)
        lines.append(line)
        if len(rows) == _ROWS_OF_A_CHUNK:
            yield Chunk(rows, lines)
            rows, lines = [], []
    if rows:
        yield Chunk(rows, lines)
    cursor.end("the array")


def _elements(cursor: JsonCursor) -> Iterator[tuple[int, Any]]:
    """Yields the array's elements with their lines."""
    cursor.skip("[")
    if cursor.skip("]"):
        return
    while not cursor.failed:
        cursor.next_character()
        line = cursor.line
        found = cursor.value()
        if found is None:
            return
        yield line, found[0]
        if cursor.skip("]"):
            return
        if not cursor.skip(","):
            following = cursor.next_character()
            place = shown(following) if following else "the end of the file"
            cursor.fail(f"{place} after a row instead of ',' or ']'")
