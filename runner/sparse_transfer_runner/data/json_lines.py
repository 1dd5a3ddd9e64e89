"""JSON lines: one object a line, parsed a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.source import SourceFile


def line_chunks(source: SourceFile) -> Iterator[Chunk]:
    """Yields the rows of a file of JSON lines; blank lines are skipped, broken ones reported."""
    first = 1
    for block in source.line_blocks():
        rows = _parsed_at_once(block)
        if rows is None:
            chunk = _parsed_by_line(block, first, source)
            if chunk.rows:
                yield chunk
            first += block.count(b"\n")
        else:
            yield Chunk(rows, range(first, first + len(rows)))
            first += len(rows)


def _parsed_at_once(block: bytes) -> list[Any] | None:
    """Parses a block as one array: a third faster than line by line.

    The line ends stay where they were, so that a string broken over two lines is no valid JSON;
    any other irregularity changes the number of rows. None then: each line has to be looked at.
    """
    body = block.removesuffix(b"\n")
    separated = body.replace(b"\n", b"\n,")
    try:
        rows = orjson.loads(b"[" + separated + b"]")
    except orjson.JSONDecodeError:
        return None
    # Each line end grew by a byte: counting them in the block takes as long as half the parsing.
    lines = 1 + len(separated) - len(body)
    return rows if len(rows) == lines else None


def _parsed_by_line(block: bytes, first: int, source: SourceFile) -> Chunk:
    rows, lines = [], []
    for line, raw in enumerate(block.split(b"\n"), start=first):
        if not raw.strip():
            continue
        try:
            rows.append(orjson.loads(raw))
            lines.append(line)
        except orjson.JSONDecodeError as error:
            text = source.add_undecodable(raw, line)
            if text is not None:
                source.findings.add(
                    "broken JSON",
                    source.path,
                    f"{shown(text.strip())} is not JSON ({error.msg} at column {error.colno}); "
                    "expected one whole object a line",
                    line,
                )
    return Chunk(rows, lines)
