"""Checking tagged words: what is accepted, and every mistake with its file, line and value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import Columns, Data
from sparse_transfer_runner.data.tag_check import MAX_TAGS
from sparse_transfer_runner.data.tagged_check import CheckedTags, check_tagged
from sparse_transfer_runner.digests import sha256_of

PERSON = {"tokens": ["Ada", "Lovelace", "wrote"], "tags": ["B-person", "I-person", "O"]}
PLACE = {"tokens": ["in", "London"], "tags": ["O", "B-place"]}
NAMES = ("B-person", "B-place", "I-person", "O")


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


GOOD = jsonl(PERSON, PLACE)


def tagged(*tags: object, tokens: Sequence[object] | None = None) -> dict[str, object]:
    return {"tokens": list(tokens or [f"word{i}" for i in range(len(tags))]), "tags": list(tags)}


def check(
    folder: Path,
    files: Mapping[str, str | bytes],
    *,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
) -> CheckedTags:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    asked = Data(uri="file:///data", columns=Columns(text=text, label=label))
    return check_tagged(folder, asked)


def problems(folder: Path, files: Mapping[str, str | bytes], **asked: Any) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        check(folder, files, **asked)
    return list(caught.value.problems)


def test_good_data_gives_columns_tags_rows_and_digests(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.jsonl": GOOD, "val.json": json.dumps([PLACE])})

    assert (checked.columns.tokens, checked.columns.tags) == ("tokens", "tags")
    assert checked.names == NAMES
    assert [(name, s.rows) for name, s in checked.splits.items()] == [("train", 2), ("val", 1)]
    assert checked.splits["val"].digest == sha256_of(tmp_path / "val.json")
    assert checked.warnings == ()


@pytest.mark.parametrize("column", ["tags", "ner_tags", "pos_tags", "labels", "chunk_tags"])
def test_tags_are_found_by_the_usual_names(tmp_path: Path, column: str) -> None:
    content = GOOD.replace('"tags"', f'"{column}"')

    checked = check(tmp_path, {"train.jsonl": content, "val.jsonl": content})

    assert checked.columns.tags == column


def test_of_several_columns_with_tags_the_entities_are_taken_and_that_is_said(
    tmp_path: Path,
) -> None:
    rows = jsonl({**PERSON, "pos_tags": ["N", "N", "V"], "ner_tags": ["O", "O", "B-x"]})

    checked = check(tmp_path, {"train.jsonl": rows, "val.jsonl": rows + "\n"})

    assert checked.columns.tags == "ner_tags"
    assert checked.warnings[0].startswith("tags are taken from ner_tags, not from tags, pos_tags;")


def test_stated_columns_go_before_the_rule(tmp_path: Path) -> None:
    rows = jsonl({"words": ["a"], "tokens": ["b", "c"], "tags": ["O"], "kinds": ["X", "Y"]})
    files = {"train.jsonl": rows, "val.jsonl": rows + "\n"}

    checked = check(tmp_path, files, text=("tokens",), label="kinds")

    assert (checked.columns.tokens, checked.columns.tags) == ("tokens", "kinds")
    assert checked.warnings == ()


def features(names: Any) -> Any:
    return {"features": {"tags": {"feature": {"names": names, "_type": "ClassLabel"}}}}


STATED = {
    "labels.txt": "O\nB-person\nI-person\n",
    "classes.txt": b"\xef\xbb\xbfO\r\nB-person\r\nI-person",
    "label_names.txt": "O\nB-person\nI-person",
    "labels.json": json.dumps(["O", "B-person", "I-person"]),
    "label_names.json": json.dumps({"2": "I-person", "0": "O", "1": "B-person"}),
    "features.json": json.dumps(features(["O", "B-person", "I-person"])),
    "dataset_info.json": json.dumps(
        {
            "features": [
                {"name": "tokens", "sequence": "string"},
                {
                    "name": "tags",
                    "sequence": {"class_label": {"names": {"0": "O", "1": "B-person"}}},
                },
            ]
        }
    ),
    "dataset_infos.json": json.dumps({"default": features(["O", "B-person", "I-person"])}),
}


@pytest.mark.parametrize(
    ("file", "content"),
    [*STATED.items(), ("labels.json", json.dumps({"I-person": 2, "O": 0, "B-person": 1}))],
)
def test_integers_get_their_names_from_a_file_beside_the_data(
    tmp_path: Path, file: str, content: str | bytes
) -> None:
    rows = jsonl(tagged(1, 0))

    checked = check(tmp_path, {"train.jsonl": rows, "val.jsonl": rows + "\n", file: content})

    assert checked.names[:2] == ("O", "B-person")
    assert checked.warnings == ()


def test_a_file_that_names_other_columns_values_is_passed_over(tmp_path: Path) -> None:
    files = {"labels.json": '{"topic": ["a", "b"]}', "train.jsonl": GOOD, "val.jsonl": GOOD}

    assert check(tmp_path, files).names == NAMES


def test_names_beside_the_data_allow_what_train_lacks_and_decide_the_order(tmp_path: Path) -> None:
    files = {
        "labels.txt": "O\nB-place\nB-person\nI-person\n",
        "train.jsonl": jsonl(PERSON),
        "val.jsonl": GOOD,
    }

    assert check(tmp_path, files).names == ("O", "B-place", "B-person", "I-person")


def test_integers_without_names_are_their_own_in_their_order_and_that_is_said(
    tmp_path: Path,
) -> None:
    rows = jsonl(tagged(10, 9, 2))

    checked = check(tmp_path, {"train.jsonl": rows, "val.jsonl": rows + "\n"})

    assert checked.names == ("2", "9", "10")
    assert "integers without names, so that every word counts by itself" in checked.warnings[0]


def test_how_words_of_train_begin_and_end_is_found(tmp_path: Path) -> None:
    train = GOOD + jsonl(tagged("O", "O", tokens=["$5", "7%"]))
    val = GOOD + jsonl(tagged("O", "O", tokens=["€5", "-7"]))

    marks = check(tmp_path, {"train.jsonl": train, "val.jsonl": val}).marks

    assert (marks.before, marks.after) == ("#$@", "%")


@pytest.mark.parametrize(("train", "val"), [("jsonl", "json"), ("json", "jsonl")])
def test_train_and_val_may_have_different_forms(tmp_path: Path, train: str, val: str) -> None:
    forms = {"jsonl": GOOD, "json": json.dumps([PERSON, PLACE])}

    checked = check(tmp_path, {f"train.{train}": forms[train], f"val.{val}": forms[val]})

    assert [split.rows for split in checked.splits.values()] == [2, 2]


MISTAKES: dict[str, tuple[Mapping[str, str], int | None, str]] = {
    "no val": ({"train.jsonl": GOOD}, None, "no val split; expected a file with 'val' in its name"),
    "two trains": (
        {"train.jsonl": GOOD, "training.json": GOOD, "val.jsonl": GOOD},
        None,
        "2 files look like the train split (train.jsonl, training.json)",
    ),
    "csv": (
        {"train.csv": "tokens,tags\n[a],[O]\n", "val.jsonl": GOOD},
        None,
        "CSV cannot hold lists of tokens; write JSON lines",
    ),
    "empty file": ({"train.jsonl": "", "val.jsonl": GOOD}, None, "no rows; expected train data"),
    "broken line": ({"train.jsonl": GOOD + "{oops\n", "val.jsonl": GOOD}, 3, "is not JSON"),
    "no object": ({"train.jsonl": GOOD + "[1]\n", "val.jsonl": GOOD}, 3, "[1] is no object"),
    "no objects at all": ({"train.jsonl": "7\n", "val.jsonl": GOOD}, 1, "7 is no object"),
    "no tokens column": (
        {"train.jsonl": GOOD.replace("tokens", "token"), "val.jsonl": GOOD},
        1,
        "no column 'tokens' or 'words'; the columns are 'token', 'tags'; did you mean token? "
        "(name another one in spec.data.columns.text)",
    ),
    "no tags column": (
        {"train.jsonl": GOOD.replace("tags", "kinds"), "val.jsonl": GOOD},
        1,
        "(name another one in spec.data.columns.label)",
    ),
    "column missing in a row": (
        {"train.jsonl": GOOD + jsonl({"tokens": ["a"]}), "val.jsonl": GOOD},
        3,
        "no 'tags' in this row; it has 'tokens'",
    ),
    "column missing in val": (
        {"train.jsonl": GOOD, "val.jsonl": GOOD.replace("tokens", "words")},
        1,
        "no 'tokens' in this row; it has 'words', 'tags'",
    ),
    "different lengths": (
        {"train.jsonl": GOOD + jsonl(tagged("O", tokens=["a", "b"])), "val.jsonl": GOOD},
        3,
        "2 tokens and 1 tags, starting ['a', 'b'] and ['O']; expected as many tags as tokens",
    ),
    "different lengths in val": (
        {"train.jsonl": GOOD, "val.jsonl": jsonl(tagged("O", "O", tokens=["a"]))},
        1,
        "1 tokens and 2 tags",
    ),
    "empty row": (
        {"train.jsonl": GOOD + jsonl(tagged()), "val.jsonl": GOOD},
        3,
        "no tokens in this row; expected at least one",
    ),
    "text instead of tokens": (
        {"train.jsonl": GOOD + jsonl({"tokens": "a b", "tags": ["O"]}), "val.jsonl": GOOD},
        3,
        "tokens 'a b': no list",
    ),
    "null tags": (
        {"train.jsonl": GOOD + jsonl({"tokens": ["a"], "tags": None}), "val.jsonl": GOOD},
        3,
        "tags None: no list",
    ),
    "number as token": (
        {"train.jsonl": GOOD + jsonl(tagged("O", "O", tokens=["a", 7])), "val.jsonl": GOOD},
        3,
        "token 2 is 7; expected a string",
    ),
    "half a character in a token": (
        {"train.jsonl": GOOD, "val.json": json.dumps([tagged("O", "O", tokens=["a", "b\ud83d"])])},
        1,
        "token 2 holds half a character ('\\ud83d'); expected whole ones",
    ),
    "half a character in a tag": (
        {"train.json": json.dumps([PERSON, tagged("B-\ud83d")]), "val.jsonl": GOOD},
        1,
        "tag 1 is 'B-\\ud83d', with half a character; expected whole ones",
    ),
    "null tag": (
        {"train.jsonl": GOOD + jsonl(tagged("O", None)), "val.jsonl": GOOD},
        3,
        "tag 2 is None; expected a string or an integer",
    ),
    "list as tag": (
        {"train.jsonl": GOOD + jsonl(tagged(["O"])), "val.jsonl": GOOD},
        3,
        "tag 1 is ['O']; expected a string or an integer",
    ),
    "true as tag": (
        {"train.jsonl": jsonl(tagged(0, 1), tagged(True)), "val.jsonl": jsonl(tagged(0))},
        2,
        "tag 1 is True; expected a string or an integer",
    ),
    "fraction as tag": (
        {"train.jsonl": jsonl(tagged(0, 1), tagged(1.0)), "val.jsonl": jsonl(tagged(0))},
        2,
        "tag 1 is 1.0; expected a string or an integer",
    ),
    "blank tag": (
        {"train.jsonl": GOOD + jsonl(tagged("O", " ")), "val.jsonl": GOOD},
        3,
        "tag 2 is empty (' '); expected a name, such as O",
    ),
    "negative tag": (
        {"train.jsonl": jsonl(tagged(0, 1, -100)), "val.jsonl": jsonl(tagged(0))},
        1,
        "tag 3 is -100; expected 0 or more",
    ),
    "tag only in val": (
        {"train.jsonl": GOOD, "val.jsonl": jsonl(tagged("O", "B-persn"))},
        1,
        "tag 2 is 'B-persn', which does not occur in train (labels.txt, one name a line, would "
        "allow it); expected one of 'B-person', 'B-place', 'I-person', 'O'; did you mean B-person?",
    ),
    "number only in val": (
        {"train.jsonl": jsonl(tagged(0, 1)), "val.jsonl": jsonl(tagged(2))},
        1,
        "tag 1 is '2', which does not occur in train",
    ),
    "tag beyond the names": (
        {
            "labels.txt": "O\nB-x\n",
            "train.jsonl": jsonl(tagged(0, 1), tagged(2)),
            "val.jsonl": jsonl(tagged(0)),
        },
        2,
        "tag 1 is 2; there are names for 0 to 1 only",
    ),
    "tag that is not among the names": (
        {"labels.txt": "O\nB-x\n", "train.jsonl": GOOD, "val.jsonl": jsonl(tagged("O"))},
        1,
        "tag 1 is 'B-person', which is not among the names beside the data",
    ),
    "integers and text": (
        {"train.jsonl": jsonl(tagged(0, 1), tagged("O")), "val.jsonl": jsonl(tagged(0))},
        2,
        "tags are integers and text; expected one of both, or names in labels.txt",
    ),
    "one tag": (
        {"train.jsonl": jsonl(tagged("O", "O")), "val.jsonl": jsonl(tagged("O"))},
        None,
        "every tag is 'O'; expected at least two tags",
    ),
    "doubled name": (
        {"labels.txt": "O\nB-x\nB-x\n", "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "'B-x' names 2 numbers; expected one each",
    ),
    "no names": (
        {"labels.txt": "\n", "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "no names; expected one a line",
    ),
    "empty name": (
        {"labels.txt": "O\n\nB-x\n", "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "an empty name; expected one for every number from 0 on",
    ),
    "numbers as names": (
        {"labels.txt": "0\n1\n", "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "the names are numbers, such as '0'; expected names",
    ),
    "numbers of names that leave one out": (
        {"labels.json": '{"O": 0, "B-x": 2}', "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "{'O': 0, 'B-x': 2} names no tags; expected a list of names, or an object",
    ),
    "names that are no JSON": (
        {"labels.json": "[", "train.jsonl": GOOD, "val.jsonl": GOOD},
        None,
        "cannot be read",
    ),
}


@pytest.mark.parametrize(("files", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_its_place(
    tmp_path: Path, files: Mapping[str, str], line: int | None, message: str
) -> None:
    found = problems(tmp_path, files)

    assert any(message in each.message and each.line == line for each in found), found


def test_two_columns_of_tokens_are_refused(tmp_path: Path) -> None:
    files = {"train.jsonl": GOOD, "val.jsonl": GOOD}

    found = problems(tmp_path, files, text=("tokens", "words"))

    assert "names 2 columns; expected the one with tokens" in found[0].message


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    train = GOOD + jsonl(tagged(), tagged("O", tokens=["a", "b"]))
    val = jsonl(tagged("B-thing"), tagged("O", tokens=[3]))

    found = problems(tmp_path, {"train.jsonl": train, "val.jsonl": val})

    assert [(Path(each.where).name, each.line) for each in found] == [
        ("train.jsonl", 3),
        ("train.jsonl", 4),
        ("val.jsonl", 1),
        ("val.jsonl", 2),
    ]


def test_more_tags_than_anyone_learns_are_refused(tmp_path: Path) -> None:
    rows = jsonl(*(tagged(*range(start, start + 100)) for start in range(0, MAX_TAGS + 100, 100)))

    found = problems(tmp_path, {"train.jsonl": rows, "val.jsonl": jsonl(tagged(0))})

    assert f"more than {MAX_TAGS} different tags" in found[0].message


def test_more_names_than_tags_may_be_are_refused(tmp_path: Path) -> None:
    names = "".join(f"name {number}\n" for number in range(MAX_TAGS + 1))
    rows = jsonl(tagged(0, 1))

    found = problems(tmp_path, {"labels.txt": names, "train.jsonl": rows, "val.jsonl": rows})

    assert f"{MAX_TAGS + 1} names; expected {MAX_TAGS} at most" in found[0].message


def test_ten_thousand_tags_are_accepted(tmp_path: Path) -> None:
    rows = jsonl(*(tagged(*range(start, start + 100)) for start in range(0, MAX_TAGS, 100)))

    checked = check(tmp_path, {"train.jsonl": rows, "val.jsonl": jsonl(tagged(0))})

    assert len(checked.names) == MAX_TAGS


@pytest.mark.parametrize(
    ("rows", "slips"),
    [
        ([tagged("B-x", "I-x"), tagged("O", "I-x", "I-x")], 1),
        ([tagged("B-x", "I-y"), tagged("O", "B-y")], 1),
        ([tagged("B-x", "I-x", "O", "B-x")], 0),
        ([tagged("I-x", "I-x", "B-x", "O", "I-y")], 0),
    ],
    ids=["begins with I-", "goes on with another type", "IOB2", "IOB1"],
)
def test_entities_that_begin_in_two_ways_are_warned_of(
    tmp_path: Path, rows: list[object], slips: int
) -> None:
    every = jsonl(*rows, tagged("B-x", "I-x", "O") if slips else tagged("O"))
    files = {"train.jsonl": every, "val.jsonl": jsonl(rows[0])}

    warnings = check(tmp_path, files).warnings

    assert (
        sum(each.startswith("train.jsonl: entities that begin with I-") for each in warnings)
        == slips
    )


WARNINGS = {
    "val without entities": (GOOD, jsonl(tagged("O")), "val: every tag is O; F1 is then 0"),
    "a tag without a prefix among others": (
        GOOD + jsonl(tagged("X")),
        jsonl(PERSON),
        "tags are not read as entities, so that their beginnings and insides are counted as "
        "different kinds: 'X' has no prefix where 'B-person' has one;",
    ),
    "val is train": (GOOD, GOOD, "val is the same file as train"),
    "blank tokens": (
        GOOD + jsonl(tagged("O", "O", tokens=["a", "\u2003"])),
        jsonl(PERSON),
        "train.jsonl: blank tokens: 1, the first in line 3",
    ),
    "ids that occur twice": (
        jsonl({"id": 7, **PERSON}, {"id": "7", **PLACE}, {"id": 7, **PLACE}),
        jsonl(PERSON),
        "train.jsonl: rows with the id of another one: 1, the first 7 in lines 1 and 3",
    ),
}


@pytest.mark.parametrize(("train", "val", "message"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_no_mistake_but_worth_knowing_is_said(
    tmp_path: Path, train: str, val: str, message: str
) -> None:
    warnings = check(tmp_path, {"train.jsonl": train, "val.jsonl": val}).warnings

    assert any(each.startswith(message) for each in warnings), warnings


@given(
    rows=st.lists(
        st.lists(st.tuples(st.text(max_size=4), st.sampled_from(["O", "B-x", "I-x"])), min_size=1),
        min_size=1,
        max_size=8,
    )
)
def test_any_words_with_known_tags_are_accepted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[str, str]]]
) -> None:
    known = jsonl(tagged("O", "B-x", "I-x"))
    val = jsonl(*({"tokens": [w for w, _ in row], "tags": [t for _, t in row]} for row in rows))

    checked = check(tmp_path_factory.mktemp("data"), {"train.jsonl": known, "val.jsonl": val})

    assert checked.splits["val"].rows == len(rows)
