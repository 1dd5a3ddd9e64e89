"""Ids that occur twice, found in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import shown

ID_COLUMN = "id"
MAX_IDS = 1_000_000
"""Rows whose ids are kept: about 100 MB for as many; what comes after is not compared."""


class RowIds:
    """The ids of one split's rows, where they have any; give it all chunks."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}
        self.count = 0
        """Rows whose id another row had before."""
        self.doubled: tuple[Any, int, int] | None = None
        """The first such id, and the lines of both rows."""

    def add(self, chunk: Chunk) -> None:
        """Looks at consecutive rows, all of them objects."""
        for line, row in zip(chunk.lines, chunk.rows, strict=True):
            value = row.get(ID_COLUMN)
            if not isinstance(value, str | int):
                continue
            key = hash((type(value), value))
            if key in self._lines:
                self.count += 1
                self.doubled = self.doubled or (value, self._lines[key], line)
            elif len(self._lines) < MAX_IDS:
                self._lines[key] = line

    def note(self, path: Path) -> str | None:
        """Returns what a user should know of a file's ids; None where all differ."""
        if self.doubled is None:
            return None
        value, line, again = self.doubled
        return (
            f"{path.name}: rows with the id of another one: {self.count}, the first "
            f"{shown(value)} in lines {line} and {again}; are rows doubled?"
        )
