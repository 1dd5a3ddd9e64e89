"""Reading checked questions: chosen ones of a file, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.selection import Rows
from sparse_transfer_runner.data.source import SourceFile
from sparse_transfer_runner.data.squad import Question, WrongAnswers, question_of, read_entries

_QUESTIONS_OF_A_CHUNK = 256


def read_questions(
    path: Path, rows: Rows, *, digest: str | None = None
) -> Iterator[list[tuple[int, Question]]]:
    """Yields the chosen questions of a file with their lines, in chunks.

    Args:
        path: The split's file.
        rows: Which questions, ascending from 0.
        digest: SHA-256 that the file had when it was checked.

    Raises:
        InputError: The file is not what was checked.
    """
    findings = Findings()
    source = SourceFile(path, findings)
    found, last = 0, len(rows)
    chunk: list[tuple[int, Question]] = []
    for row, entry in enumerate(read_entries(source)):
        if found < last and row == rows[found]:
            found += 1
            try:
                chunk.append((entry.line, question_of(entry.row)))
            except (KeyError, TypeError, WrongAnswers) as error:
                raise _changed(path) from error
        if len(chunk) == _QUESTIONS_OF_A_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
    if findings.total or (digest is not None and source.digest != digest):
        raise _changed(path)


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path}: changed since prepare checked it; set spec.data.revision to another value, "
        "and run the experiment again"
    )
