"""Checking questions in the SQuAD format: what is accepted, and every mistake with its place."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import Columns, Data
from sparse_transfer_runner.data.squad import Answer, Question
from sparse_transfer_runner.data.squad_check import CheckedQuestions, check_questions
from sparse_transfer_runner.data.squad_rows import read_questions
from sparse_transfer_runner.digests import sha256_of

MILL = "The mill at Ahlen was built in 1820. Anna Berg ran it until 1855."


def row(name: str = "q1", **fields: Any) -> dict[str, Any]:
    """Returns a good flat row, some of its fields replaced."""
    good = {
        "id": name,
        "question": "When was the mill built?",
        "context": MILL,
        "answers": {"text": ["1820"], "answer_start": [31]},
    }
    return {**good, **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in row().items() if key != name}


def answered(text: Any, start: Any) -> dict[str, Any]:
    return row(answers={"text": [text], "answer_start": [start]})


def whole(context: str) -> dict[str, Any]:
    """Returns a row whose context is its answer."""
    return row(context=context, answers=[{"text": context, "answer_start": 0}])


def nested(*rows: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Returns the same rows as SQuAD nests them, a paragraph for each."""
    paragraphs = []
    for each in rows:
        answers = [
            {"text": text, "answer_start": start}
            for text, start in zip(*each["answers"].values(), strict=True)
        ]
        question = {"id": each["id"], "question": each["question"], "answers": answers, **more}
        paragraphs.append({"context": each["context"], "qas": [question]})
    return {"version": "1.1", "data": [{"title": "mills", "paragraphs": paragraphs}]}


def lines(*rows: Any) -> str:
    return "".join(json.dumps(each) + "\n" for each in rows)


def check(folder: Path, files: Mapping[str, str]) -> CheckedQuestions:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return check_questions(folder, Data(uri="file:///data"))


def problems(folder: Path, content: str, name: str = "val.jsonl") -> list[Problem]:
    """Returns the problems of a file beside a good train split."""
    with pytest.raises(InputError) as caught:
        check(folder, {"train.jsonl": lines(row()), name: content})
    return list(caught.value.problems)


FORMS = {
    "one object a line": lines(row(), row("q2")),
    "one object a line, spaced": lines(row(), row("q2")).replace("\n", "\r\n\r\n"),
    "an array": json.dumps([row(), row("q2")], indent=2),
    "nested": json.dumps(nested(row(), row("q2"))),
    "nested over many lines": "\ufeff\n" + json.dumps(nested(row(), row("q2")), indent=2) + "\n",
    "nested, with more beside the data": json.dumps(
        {"about": {"data": []}, **nested(row(), row("q2")), "licence": ["none"]}
    ),
    "rows below data": json.dumps({"version": "0.1.0", "data": [row(), row("q2")]}, indent=1),
    "a list of answers": lines(
        *(row(n, answers=[{"text": "1820", "answer_start": 31}]) for n in ("q1", "q2"))
    ),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_every_form_is_read_alike(tmp_path: Path, content: str, suffix: str) -> None:
    checked = check(tmp_path, {f"train.{suffix}": content, "val.json": json.dumps([row()])})
    path = tmp_path / f"train.{suffix}"

    (chunk,) = read_questions(path, np.arange(2), digest=checked.splits["train"].digest)

    assert checked.splits["train"].rows == 2
    assert checked.splits["train"].digest == sha256_of(path)
    right = Question("When was the mill built?", MILL, (Answer("1820", 31),))
    assert [question for _, question in chunk] == [right, right]


def test_train_and_val_may_have_different_forms(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.json": FORMS["nested"], "val.jsonl": lines(row())})

    assert [(name, split.rows) for name, split in checked.splits.items()] == [
        ("train", 2),
        ("val", 1),
    ]


@pytest.mark.parametrize(
    ("train", "may_be_none", "max_tokens"),
    [
        ([row()], False, 30),
        ([row(), row("q2", answers={"text": [], "answer_start": []})], True, 30),
        ([row(), row("q2", answers=[])], True, 30),
        ([row(context="so " * 40, answers=[{"text": "so " * 40, "answer_start": 0}])], False, 80),
        ([whole("北京" * 18 + "。")], False, 74),
        ([whole("ก" * 20 + " so")], False, 42),
    ],
)
def test_the_data_says_what_an_answer_may_be(
    tmp_path: Path, train: list[dict[str, Any]], may_be_none: bool, max_tokens: int
) -> None:
    checked = check(tmp_path, {"train.jsonl": lines(*train), "val.jsonl": lines(row())})

    assert checked.rule.may_be_none == may_be_none
    assert checked.rule.max_tokens == max_tokens


def test_impossible_questions_of_squad_2_need_no_answers(tmp_path: Path) -> None:
    question = {"id": "q9", "question": "Who burnt it?", "is_impossible": True}
    more = nested(row(), is_impossible=False)
    more["data"][0]["paragraphs"][0]["qas"].append(question)

    checked = check(tmp_path, {"train.json": json.dumps(more), "val.jsonl": lines(row())})

    assert (checked.splits["train"].rows, checked.splits["train"].answerable) == (2, 1)


WRONG: dict[str, tuple[dict[str, Any] | list[Any], str]] = {
    "another text there": (
        answered("1820", 4),
        "answer '1820' is said to start at 4, but 'mill' stands there; it starts at 31",
    ),
    "nowhere in the context": (
        answered("1821", 31),
        "answer '1821' is said to start at 31, but '1820' stands there; the context does not hold",
    ),
    "beyond the context": (
        answered("1855.", 63),
        "answer '1855.' at 63 ends at 68, beyond the 65 characters of the context; it starts at 60",
    ),
    "a start that is text": (answered("1820", "31"), "starts at '31'; expected its first charac"),
    "a negative start": (answered("1820", -34), "starts at -34; expected its first character"),
    "an empty answer": (answered(" ", 3), "answer ' '; expected text, or no answer at all"),
    "an answer that is no text": (answered(1820, 31), "answer 1820; expected text"),
    "more texts than starts": (
        row(answers={"text": ["1820", "1855"], "answer_start": [31]}),
        "answers has 2 in text, but 1 in answer_start; expected one start for each text",
    ),
    "answers without starts": (
        row(answers={"text": ["1820"]}),
        "expected a list in each of text and answer_start",
    ),
    "answers that are text": (row(answers="1820"), "answers is '1820'; expected a list of objects"),
    "an answer without a start": (
        row(answers=[{"text": "1820"}]),
        "answer {'text': '1820'}; expected text and answer_start",
    ),
    "impossible, but answered": (
        row(is_impossible=True),
        "is_impossible is true, but there is the",
    ),
    "possible, but unanswered": (
        row(answers=[], is_impossible=False),
        "is_impossible is false, but there is no answer",
    ),
    "an empty question": (row(question="  "), "question is '  '; expected text"),
    "an empty context": (row(context=""), "context is ''; expected text"),
    "a question that is no text": (row(question=7), "question is 7; expected text"),
    "no question": (without("question"), "no question; it has 'id', 'context', 'answers'"),
    "no context": (without("context"), "no context; it has 'id', 'question', 'answers'"),
    "no answers": (without("answers"), "no answers; it has 'id', 'question', 'context'"),
    "no id": (without("id"), "no id; it has 'question', 'context', 'answers'"),
    "an id that is none": (row(id=None), "id is None; expected a string or an integer"),
    "no object": ([row()], "is no object; expected one with id, question, context, answers"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, wrong: Any, message: str) -> None:
    (found,) = problems(tmp_path, lines(row("good"), wrong))

    assert message in found.message
    assert (found.where, found.line) == (str(tmp_path / "val.jsonl"), 2)


def test_in_a_nested_file_the_place_and_the_id_are_said(tmp_path: Path) -> None:
    content = json.dumps(nested(row("good"), answered("1820", 0)), indent=1)

    (found,) = problems(tmp_path, content, "val.json")

    assert found.message.startswith("data[0].paragraphs[1].qas[0] (question 'q1'): answer '1820'")
    assert found.line is not None
    assert content.splitlines()[found.line - 1].strip() == "{"


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    content = lines(answered("1820", 0), row("q1"), row("q2", question=""), "no row")

    assert len(problems(tmp_path, content)) == 4


def test_an_id_that_was_used_before_is_said_with_the_first_place(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, lines(row("a"), row("b"), row("a")))

    assert "id 'a' was used before, in line 1" in found.message
    assert found.line == 3


def test_beyond_a_million_questions_ids_are_kept_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparse_transfer_runner.data.squad_check.MAX_IDS", 2)
    content = lines(*(row(name) for name in ("a", "b", "c", "c", "a")))

    (found,) = problems(tmp_path, content)

    assert "id 'a' was used before, in line 1" in found.message


def test_the_same_id_in_two_splits_is_no_mistake(tmp_path: Path) -> None:
    check(tmp_path, {"train.jsonl": lines(row()), "val.jsonl": lines(row())})


@pytest.mark.parametrize("field", ["question", "context"])
@pytest.mark.parametrize("form", [nested, lambda each: [each]], ids=["nested", "an array"])
def test_half_a_character_is_found_before_the_tokenizer_refuses_it(
    tmp_path: Path, form: Callable[[dict[str, Any]], Any], field: str
) -> None:
    broken = row(**{field: f"{MILL} cut \ud83d"})

    (found,) = problems(tmp_path, json.dumps(form(broken)), "val.json")

    assert rf"{field} holds half a character ('\ud83d'); expected whole ones" in found.message


@pytest.mark.parametrize("left", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_nested_file_that_is_broken_off_is_said_to_be(
    tmp_path: Path, left: float, indent: int | None
) -> None:
    content = json.dumps(nested(*(row(f"q{n}") for n in range(9))), indent=indent)

    found = problems(tmp_path, content[: int(left * len(content))], "val.json")

    assert any("the rest of the file was not checked" in each.message for each in found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version":\n"1.1"}', 'no array "data"'),
        ('{"data": {"paragraphs": []}}', 'no array "data"'),
        (
            '{"data": [{"paragraphs": [{"context": "a"}]}]}',
            "expected an object with context and qas",
        ),
        ('{"data": [1]}', "data[0]: 1 is no object"),
        ('{"data": []} x', "'x' follows the object's end"),
        ('{"data": [{"paragraphs": []} {}]}', "'{' after an item instead of ',' or ']'"),
        ('{"data": [], 1: 2}', "1 instead of a name"),
        ('{"data" []}', "'[' after a name instead of ':'"),
        ('{"data": []}', "no questions; expected val data"),
        ("", "no questions; expected val data"),
    ],
)
def test_a_nested_file_of_another_shape_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    assert message in problems(tmp_path, content, "val.json")[0].message


def test_train_needs_a_question_that_has_an_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 1 questions has an answer"):
        check(tmp_path, {"train.jsonl": lines(row(answers=[])), "val.jsonl": lines(row())})


def test_csv_is_refused_by_name(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "id,question\n1,why\n", "val.csv")

    assert "CSV cannot express answers" in found.message


def test_two_files_that_look_like_train_are_refused(tmp_path: Path) -> None:
    files = {"train-v1.1.json": FORMS["nested"], "train.jsonl": lines(row())}

    with pytest.raises(InputError, match=r"2 files look like the train split"):
        check(tmp_path, {**files, "val.jsonl": lines(row())})


def test_columns_cannot_be_chosen(tmp_path: Path) -> None:
    asked = Data(uri="file:///data", columns=Columns(text=("q", "c"), label=None))

    with pytest.raises(InputError, match=r"spec\.data\.columns\.text: question answering reads"):
        check_questions(tmp_path, asked)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ([row()], [row(answers=[])], "val: no question can be answered"),
        ([row()], [row(), row("q2", answers=[])], "val has 1 questions without an answer"),
        ([row()], [row()], "val is the same file as train"),
    ],
)
def test_a_split_that_says_little_is_warned_of(
    tmp_path: Path, train: list[Any], val: list[Any], message: str
) -> None:
    checked = check(tmp_path, {"train.jsonl": lines(*train), "val.jsonl": lines(*val)})

    assert message in " ".join(checked.warnings)


def test_one_article_of_any_size_is_checked_in_little_memory(tmp_path: Path) -> None:
    content = json.dumps(nested(*(row(f"q{n}", context=MILL * 90) for n in range(2000))))
    (tmp_path / "train.json").write_text(content)
    (tmp_path / "val.jsonl").write_text(lines(row()))

    tracemalloc.start()
    checked = check_questions(tmp_path, Data(uri="file:///data"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert checked.splits["train"].rows == 2000
    assert len(content) > 11e6
    assert peak < 3e6


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.jsonl": lines(row()), "val.jsonl": lines(row())})
    path = tmp_path / "val.jsonl"
    path.write_text(lines(row("q7")))

    with pytest.raises(InputError, match="changed since prepare checked it"):
        list(read_questions(path, np.arange(1), digest=checked.splits["val"].digest))


@given(
    context=st.text(min_size=1, max_size=40).filter(str.strip),
    cut=st.tuples(st.integers(0, 39), st.integers(1, 40)),
    shift=st.integers(-3, 3),
)
def test_an_answer_counts_exactly_where_it_stands(
    tmp_path_factory: pytest.TempPathFactory, context: str, cut: tuple[int, int], shift: int
) -> None:
    start = cut[0] % len(context)
    text = context[start : start + cut[1]]
    told = start + shift
    right = bool(text.strip()) and told >= 0 and context[told : told + len(text)] == text
    content = lines(row(context=context, answers=[{"text": text, "answer_start": told}]))
    folder = tmp_path_factory.mktemp("squad")

    if right:
        assert check(folder, {"train.jsonl": content, "val.jsonl": lines(row())})
    else:
        assert len(problems(folder, content)) == 1
