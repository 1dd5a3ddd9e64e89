"""Questions on contexts, in the SQuAD format, a question at a time in constant memory.

Nested: ``{"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}``, as
SQuAD 1.1 and 2.0 are published. Flat: an array of objects, one object a line, or ``{"data":
[rows]}``, each with ``id``, ``question``, ``context`` and ``answers``. Answers are a list of
objects with ``text`` and ``answer_start``, or one object with a list of each. Limits: a paragraph
fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sparse_transfer_runner.data.chunks import read_chunks
from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.json_cursor import JsonCursor
from sparse_transfer_runner.data.source import SourceFile

_EXPECTED = 'an object whose "data" is an array of articles or of questions'


@dataclass(frozen=True)
class Answer:
    """A part of a context.

    Args:
        text: As it stands there.
        start: Its first character, counted from 0 in Unicode code points.
    """

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question, the context that may answer it, and the right answers; none: unanswerable."""

    question: str
    context: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Entry:
    """A question as a file has it, not checked.

    Args:
        row: An object with ``id``, ``question``, ``context``, ``answers``; else a user's mistake.
        line: 1-based: the row's, or that in which its paragraph begins.
        place: In a nested file, such as ``data[0].paragraphs[2].qas[1]``.
    """

    row: Any
    line: int
    place: str = ""


class WrongAnswers(ValueError):
    """The answers have another form; the message says what was found and expected."""


def read_entries(source: SourceFile) -> Iterator[Entry]:
    """Yields the questions of a file, nested or flat; what cannot be read goes to its findings."""
    if _is_nested(source):
        yield from _nested_entries(source)
        return
    for chunk in read_chunks(source):
        for line, row in zip(chunk.lines, chunk.rows, strict=True):
            yield Entry(row, line)


def answers_of(row: Mapping[str, Any]) -> tuple[tuple[Any, Any], ...]:
    """Returns text and start of each answer, neither of them checked.

    Raises:
        WrongAnswers: They have another form.
    """
    answers = row["answers"]
    if isinstance(answers, dict):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list):
            raise WrongAnswers(
                f"answers is {shown(answers)}; expected a list in each of text and answer_start"
            )
        if len(texts) != len(starts):
            raise WrongAnswers(
                f"answers has {len(texts)} in text, but {len(starts)} in answer_start; expected "
                "one start for each text"
            )
        return tuple(zip(texts, starts, strict=True))
    if not isinstance(answers, list):
        raise WrongAnswers(
            f"answers is {shown(answers)}; expected a list of objects with text and answer_start, "
            "empty where the context does not answer"
        )
    for answer in answers:
        if not isinstance(answer, dict) or not {"text", "answer_start"} <= answer.keys():
            raise WrongAnswers(f"answer {shown(answer)}; expected text and answer_start")
    return tuple((answer["text"], answer["answer_start"]) for answer in answers)


def question_of(row: Mapping[str, Any]) -> Question:
    """Returns a question that was checked."""
    answers = answers_of(row) if "answers" in row else ()
    return Question(row["question"], row["context"], tuple(Answer(*each) for each in answers))


def _is_nested(source: SourceFile) -> bool:
    """Whether a file is one object with all questions, rather than an array or an object a line.

    Of an object a line the first line is whole, or the next one begins an object again.
    """
    if source.path.suffix.lower() == ".csv" or source.first_byte() != b"{":
        return False
    first, ended, rest = source.beginning().lstrip().partition(b"\n")
    try:
        row = orjson.loads(first)
    except orjson.JSONDecodeError:
        if not ended:
            return b'"data"' in first
        return not rest.lstrip().startswith(b"{")
    return isinstance(row, dict) and "data" in row


def _nested_entries(source: SourceFile) -> Iterator[Entry]:
    cursor = JsonCursor(source, _EXPECTED)
    found = False
    for name in _names(cursor):
        if name == "data" and cursor.next_character() == "[":
            found = True
            yield from _articles(cursor, source)
        else:
            cursor.value()
    if not found and not cursor.failed:
        source.findings.add("no data", source.path, f'no array "data"; expected {_EXPECTED}', 1)
    cursor.end("the object")


def _articles(cursor: JsonCursor, source: SourceFile) -> Iterator[Entry]:
    """Yields what the array of articles holds; an article's paragraphs are read one by one."""
    for index in _indices(cursor):
        line, place = cursor.line, f"data[{index}]"
        if cursor.next_character() != "{":
            found = cursor.value()
            if found is not None:
                yield Entry(found[0], line, place)
            continue
        row: dict[str, Any] = {}
        paragraphs = False
        for name in _names(cursor):
            if name == "paragraphs" and cursor.next_character() == "[":
                paragraphs = True
                yield from _paragraphs(cursor, source, place)
            elif (found := cursor.value()) is not None:
                row[name] = found[0]
        if not paragraphs and not cursor.failed:
            yield Entry(row, line, place)


def _paragraphs(cursor: JsonCursor, source: SourceFile, article: str) -> Iterator[Entry]:
    for index in _indices(cursor):
        line, place = cursor.line, f"{article}.paragraphs[{index}]"
        found = cursor.value()
        if found is None:
            return
        paragraph = found[0]
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list):
            message = f"{place}: {shown(paragraph)}; expected an object with context and qas"
            source.findings.add("no paragraph", source.path, message, line)
            continue
        context = {"context": paragraph["context"]} if "context" in paragraph else {}
        for number, question in enumerate(questions):
            row = {**question, **context} if isinstance(question, dict) else question
            yield Entry(row, line, f"{place}.qas[{number}]")


def _names(cursor: JsonCursor) -> Iterator[str]:
    """Yields the names in an object, whose values the caller reads before it asks for the next."""
    cursor.skip("{")
    if cursor.skip("}"):
        return
    while not cursor.failed:
        name = cursor.value()
        if name is None:
            return
        if not isinstance(name[0], str):
            cursor.fail(f"{shown(name[0])} instead of a name")
            return
        if not cursor.skip(":"):
            _fail(cursor, "after a name instead of ':'")
            return
        yield name[0]
        if cursor.failed or cursor.skip("}"):
            return
        if not cursor.skip(","):
            _fail(cursor, "after a value instead of ',' or '}'")


def _indices(cursor: JsonCursor) -> Iterator[int]:
    """Yields the indices of an array, whose items the caller reads before it asks for the next."""
    cursor.skip("[")
    if cursor.skip("]"):
        return
    index = 0
    while not cursor.failed:
        cursor.next_character()
        yield index
        index += 1
        if cursor.failed or cursor.skip("]"):
            return
        if not cursor.skip(","):
            _fail(cursor, "after an item instead of ',' or ']'")


def _fail(cursor: JsonCursor, message: str) -> None:
    following = cursor.next_character()
    cursor.fail(f"{shown(following) if following else 'the end of the file'} {message}")
