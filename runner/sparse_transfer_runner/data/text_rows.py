"""Reading checked text data: texts and labels of chosen rows, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.data.chunks import Chunk, read_chunks
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.selection import Rows
from sparse_transfer_runner.data.source import SourceFile
from sparse_transfer_runner.data.text_check import label_values


@dataclass(frozen=True)
class TextRows:
    """Consecutive chosen rows.

    Args:
        texts: One list for each text column.
        labels: As in the file; CSV fields as what they look like.
    """

    texts: tuple[list[str], ...]
    labels: Sequence[Any]


def read_text_rows(
    path: Path, text: Sequence[str], label: str, rows: Rows, *, digest: str | None = None
) -> Iterator[TextRows]:
    """Yields the chosen rows of a file in chunks.

    Args:
        path: The split's file.
        text: One or two text columns.
        label: The label column.
        rows: Which rows, ascending from 0.
        digest: SHA-256 that the file had when it was checked.

    Raises:
        InputError: The file is not what was checked.
    """
    findings = Findings()
    source = SourceFile(path, findings)
    start = 0
    for chunk in read_chunks(source):
        first, last = np.searchsorted(rows, (start, start + len(chunk.rows)))
        if last > first:
            yield _columns(chunk, text, label, rows[first:last] - start, path)
        start += len(chunk.rows)
    if findings.total or (digest is not None and source.digest != digest):
        raise InputError(
            f"{path}: changed since prepare checked it; set spec.data.revision to another value, "
            "and run the experiment again"
        )


def _columns(chunk: Chunk, text: Sequence[str], label: str, rows: Rows, path: Path) -> TextRows:
    chosen = Chunk([chunk.rows[row] for row in rows], [chunk.lines[row] for row in rows])
    texts = [chosen.column(name) for name in text]
    labels = chosen.column(label)
    if labels is None or any(column is None for column in texts):
        raise InputError(f"{path}: columns are missing that were there when prepare checked it")
    return TextRows(
        tuple(column for column in texts if column is not None), label_values(labels, path)
    )
