"""Rows of a data file in chunks, whatever its format.

Checking goes over a chunk's columns, not over its rows: that is what keeps Python's cost per row
near that of parsing. Rows get their line only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.source import SourceFile


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file.

    Args:
        rows: As parsed; dicts by column, anything else is a mistake of the user's.
        lines: 1-based first line of each row.
        header: Column names in order, where the file states them.
    """

    rows: Sequence[Any]
    lines: Sequence[int]
    header: tuple[str, ...] | None = None

    @property
    def named_in(self) -> int:
        """The line in which the columns are named: the header's, or the first row's."""
        return self.lines[0] if self.header is None else 1

    def column(self, name: str) -> list[Any] | None:
        """Returns a column's values, or None where some row has no such column."""
        try:
            return list(map(itemgetter(name), self.rows))
        except (KeyError, TypeError):
            return None

    def names(self) -> list[str]:
        """Returns the column names that occur, in the order of their first occurrence."""
        if self.header is not None:
            return list(self.header)
        return list(dict.fromkeys(n for row in self.rows if isinstance(row, dict) for n in row))


def read_chunks(source: SourceFile) -> Iterator[Chunk]:
    """Yields a file's rows; what cannot be read goes to the source's findings.

    ``.csv`` is CSV with a header; ``.json`` and ``.jsonl`` hold either an array of objects or one
    object a line, whichever their first character says.
    """
    if source.path.suffix.lower() == ".csv":
        from sparse_transfer_runner.data.csv_rows import csv_chunks

        yield from csv_chunks(source)
    elif source.first_byte() == b"[":
        from sparse_transfer_runner.data.json_array import array_chunks

        yield from array_chunks(source)
    else:
        from sparse_transfer_runner.data.json_lines import line_chunks

        yield from line_chunks(source)


def whole_rows(chunk: Chunk, path: Path, names: Sequence[str], findings: Findings) -> Chunk:
    """Returns a chunk's rows that are objects with all the columns.

    Args:
        chunk: Any rows.
        path: Their file.
        names: The columns that each row needs.
        findings: Receives the rows that are left out.
    """
    rows, lines = [], []
    for line, row in zip(chunk.lines, chunk.rows, strict=True):
        if not isinstance(row, dict):
            message = f"{shown(row)} is no object; expected one with {', '.join(names)}"
            findings.add("no object", path, message, line)
            continue
        missing = [name for name in names if name not in row]
        for name in missing:
            found = ", ".join(map(shown, list(row)[:8]))
            message = f"no {shown(name)} in this row; it has {found or 'nothing'}"
            findings.add("missing value", path, message, line)
        if not missing:
            rows.append(row)
            lines.append(line)
    return Chunk(rows, lines, chunk.header)
