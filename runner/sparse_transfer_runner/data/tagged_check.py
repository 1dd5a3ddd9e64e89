"""Checking tagged words: one pass over every split in constant memory, all problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.records import WordMarks
from sparse_transfer_api.spec import Data
from sparse_transfer_runner.data.chunks import Chunk, read_chunks, whole_rows
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.labels import sorted_names
from sparse_transfer_runner.data.row_ids import RowIds
from sparse_transfer_runner.data.source import SourceFile
from sparse_transfer_runner.data.splits import find_splits
from sparse_transfer_runner.data.tag_check import MAX_TAGS, TagCheck
from sparse_transfer_runner.data.tag_names import names_beside
from sparse_transfer_runner.data.tagged_columns import (
    TaggedColumns,
    choose_tagged_columns,
)
from sparse_transfer_runner.data.tags import (
    OUTSIDE,
    Beginnings,
    Tagging,
    parts_counted_apart,
    tagging_of,
)
from sparse_transfer_runner.data.text_check import CheckedSplit


@dataclass(frozen=True)
class CheckedTags:
    """Tagged data without errors.

    Args:
        columns: The columns in use.
        names: The tags in the order of the model's outputs.
        splits: Split name to split; train and val at least.
        warnings: What a user should know, though nothing is wrong.
        marks: What the words of train begin and end with.
    """

    columns: TaggedColumns
    names: tuple[str, ...]
    splits: dict[str, CheckedSplit]
    warnings: tuple[str, ...]
    marks: WordMarks

    @property
    def digest(self) -> str:
        """SHA-256 over all splits' names and contents, and over the tags' names."""
        listed = "".join(f"{name}\0{split.digest}\n" for name, split in self.splits.items())
        return hashlib.sha256("\0".join([listed, *self.names]).encode()).hexdigest()


def check_tagged(root: Path, asked: Data) -> CheckedTags:
    """Checks all splits of a data folder.

    Args:
        root: The folder; only read.
        asked: The user's choice of columns: ``text`` names the tokens', ``label`` the tags'.

    Raises:
        InputError: With every problem found (bounded), each with file and line.
        AccessError: A file may not be read.
    """
    findings = Findings()
    check = _Check(root, asked, findings)
    splits = {name: check.split(name, path) for name, path in find_splits(root, findings).items()}
    findings.raise_if_any(str(root))
    if check.columns is None or not check.names:
        raise AssertionError("without columns or tags there must have been findings")
    warnings = tuple(check.warnings(splits))
    return CheckedTags(check.columns, check.names, splits, warnings, check.marks)


class _Check:
    """What has been found out so far, split after split; train comes first."""

    def __init__(self, root: Path, asked: Data, findings: Findings) -> None:
        self._root = root
        self._asked = asked
        self._findings = findings
        self._stated: tuple[str, ...] | None = None
        self._notes: list[str] = []
        self.columns: TaggedColumns | None = None
        self.names: tuple[str, ...] = ()
        self.marks = WordMarks(before="", after="")

    def split(self, name: str, path: Path) -> CheckedSplit:
        """Checks one split's file."""
        if path.suffix.lower() == ".csv":
            message = "CSV cannot hold lists of tokens; write JSON lines or a JSON array"
            self._findings.add("lists in CSV", path, message)
            return CheckedSplit(path, 0, "")
        source = SourceFile(path, self._findings)
        before = self._findings.total
        rows = self._rows(name, read_chunks(source), source)
        if not rows and self._findings.total == before:
            self._findings.add("empty file", path, f"no rows; expected {name} data")
        return CheckedSplit(path, rows, source.digest)

    def _rows(self, name: str, chunks: Iterator[Chunk], source: SourceFile) -> int:
        path, train = source.path, name == "train"
        # Where train says too little, only what needs no knowledge of its tags is checked.
        check = TagCheck(path, self._findings, self._stated, self.names or None)
        ids = RowIds()
        rows = 0
        for chunk in chunks:
            if train and not rows:
                self._decide_columns(chunk, path)
                check = TagCheck(path, self._findings, self._stated, None)
            rows += len(chunk.rows)
            if self.columns is not None:
                self._check_chunk(chunk, self.columns, check, ids, path)
        if train and not source.cut_short:
            self._decide_names(check, path)
            self.marks = check.marks.found()
        self._note(name, path, check, ids)
        return rows

    def _decide_columns(self, first: Chunk, path: Path) -> None:
        self.columns = choose_tagged_columns(self._asked.columns, first, path, self._findings)
        if self.columns is not None:
            self._stated = names_beside(self._root, self.columns.tags, self._findings)

    def _check_chunk(
        self, chunk: Chunk, columns: TaggedColumns, check: TagCheck, ids: RowIds, path: Path
    ) -> None:
        wanted = columns.tokens, columns.tags
        if any(chunk.column(name) is None for name in wanted):
            chunk = whole_rows(chunk, path, wanted, self._findings)
        ids.add(chunk)
        tokens, tags = (chunk.column(name) or [] for name in wanted)
        for line, words, their in zip(chunk.lines, tokens, tags, strict=True):
            check.row(words, their, line)

    def _decide_names(self, check: TagCheck, path: Path) -> None:
        used, numbers, texts = check.seen, check.kinds.get(int), check.kinds.get(str)
        if not used:
            return
        if self._stated is None and numbers and texts:
            message = "tags are integers and text; expected one of both, or names in labels.txt"
            self._findings.add("mixed tags", path, message, max(numbers, texts))
        elif len(used) == 1:
            message = f"every tag is {shown(next(iter(used)))}; expected at least two tags"
            self._findings.add("one tag", path, message)
        elif len(used) > MAX_TAGS:
            message = f"more than {MAX_TAGS} different tags, such as {shown(next(iter(used)))}"
            self._findings.add("too many tags", path, f"{message}; is this the right column?")
        else:
            self.names = self._stated or tuple(sorted_names(map(int, used) if numbers else used))

    def _note(self, name: str, path: Path, check: TagCheck, ids: RowIds) -> None:
        """Keeps what is worth knowing of a split that has no errors."""
        blank = check.blank
        if blank.count:
            self._notes.append(
                f"{path.name}: blank tokens: {blank.count}, the first in line {blank.line}; no "
                "model sees them, and each is scored as a word without an answer"
            )
        self._note_beginnings(path, check.beginnings)
        if note := ids.note(path):
            self._notes.append(note)
        if name != "train" and check.seen == {OUTSIDE}:
            self._notes.append(
                f"{name}: every tag is {OUTSIDE}; F1 is then 0 whatever the model says, so that no "
                "recovery can be stated"
            )

    def _note_beginnings(self, path: Path, found: Beginnings) -> None:
        if found.mixed and found.first and tagging_of(self.names) == Tagging.ENTITIES:
            line, tag = found.first
            self._notes.append(
                f"{path.name}: entities that begin with I- where others begin with B-: "
                f"{found.inside}, the first {shown(tag)} in line {line}; each is read as an "
                "entity, as seqeval and conlleval do"
            )

    def warnings(self, splits: dict[str, CheckedSplit]) -> Iterator[str]:
        """Yields what a user should know of data without errors."""
        if self.columns is None:
            return
        if self.columns.other_tags:
            yield (
                f"tags are taken from {self.columns.tags}, not from "
                f"{', '.join(self.columns.other_tags)}; spec.data.columns.label changes that"
            )
        if self._stated is None and all(name.isdecimal() for name in self.names):
            yield (
                "tags are integers without names, so that every word counts by itself; figures of "
                "entities need names, such as B-person in labels.txt, one a line"
            )
        apart = parts_counted_apart(self.names)
        if apart is not None:
            yield (
                "tags are not read as entities, so that their beginnings and insides are counted "
                f"as different kinds: {apart}; entities need O and tags such as B-person only, "
                "among the names beside the data too"
            )
        yield from self._notes
        for name in [n for n in splits if n != "train"]:
            if splits[name].digest == splits["train"].digest:
                yield f"{name} is the same file as train: its figures say nothing of new data"
