"""Checking text data: one pass over every split in constant memory, all problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sparse_transfer_api.spec import Data
from sparse_transfer_runner.data.chunks import Chunk, read_chunks, whole_rows
from sparse_transfer_runner.data.columns import TextColumns, choose_columns, unknown_column
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.half_characters import half_character
from sparse_transfer_runner.data.label_check import LabelCheck
from sparse_transfer_runner.data.label_profile import LabelProfile
from sparse_transfer_runner.data.label_rule import SINGLE_LABEL, LabelRule, decide_labels
from sparse_transfer_runner.data.labels import from_csv
from sparse_transfer_runner.data.row_ids import RowIds
from sparse_transfer_runner.data.source import SourceFile
from sparse_transfer_runner.data.splits import find_splits


@dataclass(frozen=True)
class CheckedSplit:
    """A split without errors.

    Args:
        path: Its file.
        rows: Its rows.
        digest: SHA-256 of the file.
    """

    path: Path
    rows: int
    digest: str


@dataclass(frozen=True)
class CheckedText:
    """Text data without errors.

    Args:
        columns: The columns in use.
        rule: What the labels are.
        splits: Split name to split; train and val at least.
        warnings: What a user should know, though nothing is wrong.
    """

    columns: TextColumns
    rule: LabelRule
    splits: dict[str, CheckedSplit]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all splits' names and contents."""
        listed = "".join(f"{name}\0{split.digest}\n" for name, split in self.splits.items())
        return hashlib.sha256(listed.encode()).hexdigest()


def check_text(root: Path, asked: Data) -> CheckedText:
    """Checks all splits of a data folder.

    Args:
        root: The folder; only read.
        asked: The user's choice of columns and problem type.

    Raises:
        InputError: With every problem found (bounded), each with file and line.
        AccessError: A file may not be read.
    """
    findings = Findings()
    check = _Check(asked, findings)
    splits = {name: check.split(name, path) for name, path in find_splits(root, findings).items()}
    findings.raise_if_any(str(root))
    if check.columns is None or check.rule is None:
        raise AssertionError("without columns or labels there must have been findings")
    return CheckedText(check.columns, check.rule, splits, tuple(check.warnings(splits)))


def label_values(values: Sequence[Any], path: Path) -> Sequence[Any]:
    """Returns labels as values; CSV fields become what they look like."""
    return [_from_csv(v) for v in values] if path.suffix.lower() == ".csv" else values


_from_csv = lru_cache(maxsize=1 << 16)(from_csv)


class _Check:
    """What has been found out so far, split after split; train comes first."""

    def __init__(self, asked: Data, findings: Findings) -> None:
        self._asked = asked
        self._findings = findings
        self._seen: dict[str, set[str]] = {}
        self._notes: list[str] = []
        self.columns: TextColumns | None = None
        self.rule: LabelRule | None = None

    def split(self, name: str, path: Path) -> CheckedSplit:
        """Checks one split's file."""
        source = SourceFile(path, self._findings)
        before = self._findings.total
        chunks = read_chunks(source)
        rows = self._train(chunks, source) if name == "train" else self._other(name, chunks, path)
        if not rows and self._findings.total == before:
            self._findings.add("empty file", path, f"no rows; expected {name} data")
        return CheckedSplit(path, rows, source.digest)

    def _train(self, chunks: Iterator[Chunk], source: SourceFile) -> int:
        path = source.path
        profile = LabelProfile()
        ids = RowIds()
        rows = 0
        for chunk in chunks:
            if not rows:
                self.columns = choose_columns(self._asked.columns, chunk, path, self._findings)
            rows += len(chunk.rows)
            if self.columns:
                lines, labels = self._checked(chunk, path, self.columns, ids)
                profile.add(labels, lines)
        self._note_ids(ids, path)
        if profile.counts and not source.cut_short:
            asked = self._asked.problem_type
            kind = asked.transformers_name if asked else None
            self.rule = decide_labels(profile, kind, path, self._findings)
        return rows

    def _other(self, name: str, chunks: Iterator[Chunk], path: Path) -> int:
        check = LabelCheck(self.rule, path, self._findings) if self.rule else None
        usable = self.columns is not None
        ids = RowIds()
        rows = 0
        for chunk in chunks:
            if not rows and self.columns:
                usable = self._has_columns(chunk, path, self.columns)
            rows += len(chunk.rows)
            if usable and self.columns:
                lines, labels = self._checked(chunk, path, self.columns, ids)
                if check:
                    check.add(labels, lines)
        if check:
            self._seen[name] = check.seen
        self._note_ids(ids, path)
        return rows

    def _note_ids(self, ids: RowIds, path: Path) -> None:
        if note := ids.note(path):
            self._notes.append(note)

    def _has_columns(self, first: Chunk, path: Path, columns: TextColumns) -> bool:
        names = first.names()
        missing = [name for name in (*columns.text, columns.label) if name not in names]
        for name in missing:
            self._findings.add(
                "unknown column", path, unknown_column(name, names, columns.label), first.named_in
            )
        return not missing

    def _checked(
        self, chunk: Chunk, path: Path, columns: TextColumns, ids: RowIds
    ) -> tuple[Sequence[int], Sequence[Any]]:
        """Checks a chunk's rows and texts; returns the lines and labels of whole rows."""
        labels = chunk.column(columns.label)
        texts = [chunk.column(name) for name in columns.text]
        if labels is None or any(values is None for values in texts):
            chunk = whole_rows(chunk, path, (*columns.text, columns.label), self._findings)
            labels = chunk.column(columns.label) or []
            texts = [chunk.column(name) for name in columns.text]
        ids.add(chunk)
        for name, values in zip(columns.text, texts, strict=True):
            self._check_texts(name, values or [], chunk.lines, path)
        return chunk.lines, label_values(labels, path)

    def _check_texts(
        self, name: str, values: Sequence[Any], lines: Sequence[int], path: Path
    ) -> None:
        try:
            # The unbound method refuses what is no str, which saves looking at types.
            if all(values) and not any(map(str.isspace, values)):
                "".join(values).encode()
                return
        except (TypeError, UnicodeEncodeError):
            pass  # the rows are looked at one by one below
        for line, value in zip(lines, values, strict=True):
            if value is None or (isinstance(value, str) and not value.strip()):
                message = f"empty text in {shown(name)} ({shown(value)}); expected text"
                self._findings.add("empty text", path, message, line)
            elif not isinstance(value, str):
                message = f"{shown(value)} in {shown(name)} is no text; expected a string"
                self._findings.add("no text", path, message, line)
            elif half := half_character(value):
                message = f"half a character ({shown(half)}) in {shown(name)}; expected whole ones"
                self._findings.add("half a character", path, message, line)

    def warnings(self, splits: dict[str, CheckedSplit]) -> Iterator[str]:
        """Yields what a user should know of data without errors."""
        if self.rule is None or self.columns is None:
            return
        yield from self.rule.warnings
        if self.columns.passed_over and not self._asked.columns.text:
            yield (
                f"text is taken from {' and '.join(self.columns.text)}, not from "
                f"{', '.join(self.columns.passed_over)}; spec.data.columns.text changes that"
            )
        for name, seen in self._seen.items():
            if self.rule.problem_type == SINGLE_LABEL and len(seen) == 1:
                yield (
                    f"{name}: every label is {seen.copy().pop()!r}; a constant answer scores as "
                    "well as any, so that no recovery can be stated"
                )
        yield from self._notes
        for name in [n for n in splits if n != "train"]:
            if splits[name].digest == splits["train"].digest:
                yield f"{name} is the same file as train: its figures say nothing of new data"
