"""Checking questions in the SQuAD format: one pass over every split, all problems at once.

Memory does not grow with the data: of the first million questions of a split the ids are kept
(about 100 MB), so that a second one is found; what comes after is not compared with one another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.records import AnswerRule
from sparse_transfer_api.spec import Data
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.half_characters import half_character
from sparse_transfer_runner.data.row_ids import MAX_IDS
from sparse_transfer_runner.data.source import SourceFile
from sparse_transfer_runner.data.splits import find_splits
from sparse_transfer_runner.data.squad import Entry, WrongAnswers, answers_of, read_entries

SHORT_ANSWER_TOKENS = 30
"""Answers that are always looked for are up to so long: SQuAD's own limit (Devlin et al., 2018)."""

_TOKENS_OF_A_WORD = 2
"""More than any tokenizer makes of a word of usual text."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0003ffff]")
"""Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, and all beyond, of
which Chinese and Japanese are the most; each counts as a word. So does Hangul, cut into as many.
"""

_FIELDS = ("id", "question", "context", "answers")
_IMPOSSIBLE = "is_impossible"


@dataclass(frozen=True)
class QuestionSplit:
    """A split without errors.

    Args:
        path: Its file.
        rows: Its questions.
        answerable: Those of them that have an answer.
        longest_answer: In words; of scripts without spaces in letters.
        digest: SHA-256 of the file.
    """

    path: Path
    rows: int
    answerable: int
    longest_answer: int
    digest: str


@dataclass(frozen=True)
class CheckedQuestions:
    """Questions without errors.

    Args:
        splits: Split name to split; train and val at least.
    """

    splits: dict[str, QuestionSplit]

    @property
    def digest(self) -> str:
        """SHA-256 over all splits' names and contents."""
        listed = "".join(f"{name}\0{split.digest}\n" for name, split in self.splits.items())
        return hashlib.sha256(listed.encode()).hexdigest()

    @property
    def rule(self) -> AnswerRule:
        """What an answer may be, as far as the data says it."""
        return AnswerRule(
            may_be_none=any(split.answerable < split.rows for split in self.splits.values()),
            max_tokens=max(
                SHORT_ANSWER_TOKENS, _TOKENS_OF_A_WORD * self.splits["train"].longest_answer
            ),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know, though nothing is wrong."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        train = self.splits["train"]
        for name, split in self.splits.items():
            if name == "train":
                continue
            if split.digest == train.digest:
                yield f"{name} is the same file as train: its figures say nothing of new data"
            if not split.answerable:
                yield (
                    f"{name}: no question can be answered; a model that never answers scores as "
                    "well as any, so that no recovery can be stated"
                )
            elif split.answerable < split.rows and train.answerable == train.rows:
                yield (
                    f"{name} has {split.rows - split.answerable} questions without an answer, but "
                    "train has none of that kind to learn them from"
                )


def check_questions(root: Path, asked: Data) -> CheckedQuestions:
    """Checks all splits of a data folder.

    Args:
        root: The folder; only read.
        asked: The user's description of the data, which this format leaves nothing to say in.

    Raises:
        InputError: With every problem found (bounded), each with file and line.
        AccessError: A file may not be read.
    """
    _refuse_columns(asked)
    findings = Findings()
    splits = {}
    for name, path in find_splits(root, findings).items():
        if path.suffix.lower() == ".csv":
            message = "CSV cannot express answers; expected .json or .jsonl in the SQuAD format"
            findings.add("csv", path, message)
        else:
            splits[name] = _SplitCheck(path, findings).run(name)
    findings.raise_if_any(str(root))
    return CheckedQuestions(splits)


def _refuse_columns(asked: Data) -> None:
    fields = {
        "spec.data.columns.text": asked.columns.text,
        "spec.data.columns.label": asked.columns.label,
        "spec.data.problemType": asked.problem_type,
    }
    problems = [
        Problem(field, "question answering reads question, context and answers; remove it")
        for field, value in fields.items()
        if value is not None
    ]
    if problems:
        raise InputError("the SQuAD format has fixed fields", problems)


class _SplitCheck:
    """One split's file, and what was seen of it so far."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._findings = findings
        self._ids: dict[int, int] = {}

    def run(self, name: str) -> QuestionSplit:
        """Checks every question."""
        source = SourceFile(self._path, self._findings)
        before = self._findings.total
        rows = answerable = longest = 0
        for entry in read_entries(source):
            rows += 1
            words = self._check(entry)
            answerable += words > 0
            longest = max(longest, words)
        if self._findings.total == before:
            if not rows:
                self._findings.add("empty file", self._path, f"no questions; expected {name} data")
            elif name == "train" and not answerable:
                self._findings.add(
                    "no answers",
                    self._path,
                    f"none of the {rows} questions has an answer; expected some to learn from",
                )
        return QuestionSplit(self._path, rows, answerable, longest, source.digest)

    def _check(self, entry: Entry) -> int:
        """Notes what is wrong with a question; returns the words of its longest answer."""
        row = entry.row
        if not isinstance(row, dict):
            message = f"{shown(row)} is no object; expected one with {', '.join(_FIELDS)}"
            self._add("no object", entry, message)
            return 0
        missing = [name for name in _FIELDS if name not in row]
        if row.get(_IMPOSSIBLE) is True and "answers" in missing:
            missing.remove("answers")
        for name in missing:
            found = ", ".join(map(shown, list(row)[:8]))
            self._add("missing value", entry, f"no {name}; it has {found or 'nothing'}")
        if "id" in row:
            self._check_id(entry, row["id"])
        texts = [self._is_text(entry, name) for name in ("question", "context") if name in row]
        if not all(texts) or "context" not in row or "answers" not in row:
            return 0
        return self._check_answers(entry, row)

    def _check_id(self, entry: Entry, name: Any) -> None:
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            self._add("no id", entry, f"id is {shown(name)}; expected a string or an integer")
            return
        digest = hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8)
        key = int.from_bytes(digest.digest())
        first = self._ids.get(key)
        if first is None:
            if len(self._ids) < MAX_IDS:
                self._ids[key] = entry.line
        else:
            message = f"id {shown(name)} was used before, in line {first}; expected another one"
            self._add("duplicate id", entry, message)

    def _is_text(self, entry: Entry, name: str) -> bool:
        value = entry.row[name]
        if isinstance(value, str) and value.strip():
            half = half_character(value)
            if half:
                message = f"{name} holds half a character ({shown(half)}); expected whole ones"
                self._add("half a character", entry, message)
            return not half
        kind = "empty text" if value is None or isinstance(value, str) else "no text"
        self._add(kind, entry, f"{name} is {shown(value)}; expected text")
        return False

    def _check_answers(self, entry: Entry, row: dict[str, Any]) -> int:
        try:
            answers = answers_of(row)
        except WrongAnswers as error:
            self._add("wrong answers", entry, str(error))
            return 0
        impossible = row.get(_IMPOSSIBLE)
        if impossible is True and answers:
            self._add(
                "contradiction",
                entry,
                f"{_IMPOSSIBLE} is true, but there is the answer {shown(answers[0][0])}; remove "
                "one of them",
            )
        elif impossible is False and not answers:
            message = f"{_IMPOSSIBLE} is false, but there is no answer; expected one"
            self._add("contradiction", entry, message)
        whole = True
        for text, start in answers:
            problem = _problem_of(text, start, row["context"])
            if problem:
                self._add(problem[0], entry, problem[1])
                whole = False
        return max((_words(text) for text, _ in answers), default=0) if whole else 0

    def _add(self, kind: str, entry: Entry, message: str) -> None:
        row = entry.row
        name = row.get("id") if isinstance(row, dict) else None
        known = f"question {shown(name)}" if isinstance(name, str | int) and name != "" else ""
        where = f"{entry.place} ({known})" if entry.place and known else entry.place or known
        self._findings.add(
            kind, self._path, f"{where}: {message}" if where else message, entry.line
        )


def _words(text: str) -> int:
    """Returns the words of a text; where words have no spaces between them, their letters."""
    return sum(max(1, len(_UNSPACED.findall(word))) for word in text.split())


def _problem_of(text: Any, start: Any, context: str) -> tuple[str, str] | None:
    """Returns kind and message of what is wrong with an answer."""
    if not isinstance(text, str) or not text.strip():
        return "empty answer", f"answer {shown(text)}; expected text, or no answer at all"
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        return (
            "wrong start",
            f"answer {shown(text)} starts at {shown(start)}; expected its first character, from 0",
        )
    stands = context[start : start + len(text)]
    if stands == text:
        return None
    found = _nearest(context, text, start)
    hint = (
        "the context does not hold it" if found is None else f"it starts at {found} in the context"
    )
    if start + len(text) > len(context):
        return (
            "answer beyond the context",
            f"answer {shown(text)} at {start} ends at {start + len(text)}, beyond the "
            f"{len(context)} characters of the context; {hint}",
        )
    return (
        "wrong start",
        f"answer {shown(text)} is said to start at {start}, but {shown(stands)} stands there; "
        f"{hint}",
    )


def _nearest(context: str, text: str, start: int) -> int | None:
    """Returns where a text occurs, of several places that next to ``start``."""
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start), default=None)
