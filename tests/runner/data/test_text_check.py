"""Checking text data: what is accepted, and every mistake with its file, line and value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import Columns, Data, ProblemType
from sparse_transfer_runner.data.label_profile import MAX_VALUES
from sparse_transfer_runner.data.text_check import CheckedText, check_text
from sparse_transfer_runner.digests import sha256_of

GOOD = 'text,label\n"a good, kind film",1\na bad film,0\n'


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(raw)
    return folder


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def labelled(*labels: object) -> str:
    return jsonl(*({"text": f"film {i} was so", "label": label} for i, label in enumerate(labels)))


def check(
    folder: Path,
    files: Mapping[str, str | bytes],
    *,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
    problem_type: ProblemType | None = None,
) -> CheckedText:
    asked = Data(
        uri="file:///data", columns=Columns(text=text, label=label), problem_type=problem_type
    )
    return check_text(write(folder, files), asked)


def problems(folder: Path, files: Mapping[str, str | bytes], **asked: object) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        check(folder, files, **asked)  # type: ignore[arg-type]
    return list(caught.value.problems)


def test_good_data_gives_columns_labels_rows_and_digests(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.csv": GOOD, "val.csv": GOOD + "so so,1\n"})

    assert checked.columns.text == ("text",)
    assert checked.rule.problem_type == "single_label_classification"
    assert checked.rule.names == ("0", "1")
    assert [(name, s.rows) for name, s in checked.splits.items()] == [("train", 2), ("val", 3)]
    assert checked.splits["val"].digest == sha256_of(tmp_path / "val.csv")


@pytest.mark.parametrize(
    ("train", "content"),
    [
        ("train.csv", GOOD),
        ("train.csv", b"\xef\xbb\xbf" + GOOD.encode()),
        ("train.csv", GOOD.replace("\n", "\r\n")),
        ("my_TRAINING_set.CSV", GOOD),
        ("train.jsonl", labelled(1, 0)),
        ("train.jsonl", labelled(1, 0).replace("\n", "\r\n\r\n")),
        ("train.jsonl", "\ufeff" + labelled(1, 0).rstrip()),
        ("train.json", labelled(1, 0)),
        ("train.json", json.dumps([{"text": "a b", "label": i} for i in (1, 0)], indent=2)),
        ("train.json", "\ufeff " + json.dumps([{"text": "a b", "label": i} for i in (1, 0)])),
    ],
)
def test_every_format_is_read_alike(tmp_path: Path, train: str, content: str | bytes) -> None:
    checked = check(tmp_path, {train: content, "val.csv": GOOD})

    assert checked.splits["train"].rows == 2
    assert checked.rule.names == ("0", "1")
    assert checked.splits["train"].digest == sha256_of(tmp_path / train)


@pytest.mark.parametrize(
    ("labels", "problem_type", "names"),
    [
        ([1, 0, 10, 2], "single_label_classification", ("0", "1", "2", "10")),
        (["b", "a", "10", "9"], "single_label_classification", ("10", "9", "a", "b")),
        ([True, False], "single_label_classification", ("false", "true")),
        ([1.0, 0.0], "single_label_classification", ("0", "1")),
        ([1, 2, 2.5], "regression", ()),
        ([["b", "a"], [], ["c"]], "multi_label_classification", ("a", "b", "c")),
        ([[10], [9, 10]], "multi_label_classification", ("9", "10")),
    ],
)
def test_the_whole_train_column_decides_the_problem(
    tmp_path: Path, labels: list[object], problem_type: str, names: tuple[str, ...]
) -> None:
    checked = check(tmp_path, {"train.jsonl": labelled(*labels), "val.jsonl": labelled(*labels)})

    assert checked.rule.problem_type == problem_type
    assert checked.rule.names == names


@pytest.mark.parametrize(
    ("labels", "problem_type", "names"),
    [
        (["10", "9"], "single_label_classification", ("9", "10")),
        (["250", "V27"], "single_label_classification", ("250", "V27")),
        (["007", "012"], "single_label_classification", ("007", "012")),
        (["1", "1.5"], "regression", ()),
        (["1e-3", "2"], "regression", ()),
    ],
)
def test_csv_labels_are_read_as_what_they_look_like(
    tmp_path: Path, labels: list[str], problem_type: str, names: tuple[str, ...]
) -> None:
    table = "text,label\n" + "".join(f"a film,{label}\n" for label in labels)

    checked = check(tmp_path, {"train.csv": table, "val.csv": table})

    assert (checked.rule.problem_type, checked.rule.names) == (problem_type, names)


def test_a_stated_problem_type_goes_before_the_rule(tmp_path: Path) -> None:
    files = {"train.jsonl": labelled(1, 2, 3), "val.jsonl": labelled(2)}
    scores = {"train.jsonl": labelled(0.5, 2.5, 10), "val.jsonl": labelled(2.5)}

    regression = check(tmp_path / "a", files, problem_type=ProblemType.REGRESSION)
    classes = check(tmp_path / "b", scores, problem_type=ProblemType.SINGLE_LABEL)
    several = check(tmp_path / "c", files, problem_type=ProblemType.MULTI_LABEL)

    assert regression.rule.problem_type == "regression"
    assert classes.rule.names == ("0.5", "2.5", "10")
    assert several.rule.problem_type == "multi_label_classification"
    assert several.rule.names == ("1", "2", "3")


def test_a_label_has_one_name_in_every_format(tmp_path: Path) -> None:
    checked = check(
        tmp_path,
        {"train.csv": GOOD, "val.jsonl": labelled("1", 0), "test.json": labelled(1.0, "0")},
    )

    assert checked.splits["test"].rows == 2


MISTAKES = {
    "no val": ({"train.csv": GOOD}, None, "no val split; expected a file with 'val' in its name"),
    "no train": ({"val.csv": GOOD}, None, "no train split"),
    "two trains": (
        {"train.csv": GOOD, "train.jsonl": labelled(1, 0), "val.csv": GOOD},
        None,
        "2 files look like the train split (train.csv, train.jsonl)",
    ),
    "one file for two splits": (
        {"train_val.csv": GOOD, "test.csv": GOOD},
        None,
        "its name stands for train and val",
    ),
    "empty file": ({"train.csv": "", "val.csv": GOOD}, None, "no rows; expected train data"),
    "header only": ({"train.csv": GOOD, "val.csv": "text,label\n"}, None, "no rows"),
    "empty array": ({"train.json": "[]", "val.csv": GOOD}, None, "no rows"),
    "latin-1 in csv": (
        {"train.csv": GOOD.encode() + b"caf\xe9,1\n", "val.csv": GOOD},
        4,
        "byte 0xE9 at byte 4 of the line is not UTF-8",
    ),
    "latin-1 in json lines": (
        {"train.jsonl": labelled(0, 1).encode() + b'{"text":"\xe9","label":1}', "val.csv": GOOD},
        3,
        "byte 0xE9 at byte 10 of the line is not UTF-8",
    ),
    "latin-1 in a json array": (
        {"train.json": b'[{"text":"a b","label":1},\n{"text":"\xe9"', "val.csv": GOOD},
        2,
        "byte 0xE9 at byte 37 of the file is not UTF-8",
    ),
    "utf-16": (
        {"train.csv": GOOD.encode("utf-16"), "val.csv": GOOD},
        1,
        "begins as UTF-16 (byte 0xFF at byte 1); save it as UTF-8",
    ),
    "ragged csv": (
        {"train.csv": GOOD + "a film, so good,1\n", "val.csv": GOOD},
        4,
        "3 fields, starting 'a film'; expected 2 (text, label)",
    ),
    "open quote": (
        {"train.csv": GOOD + '"a film,1\nanother,0\n', "val.csv": GOOD},
        4,
        "unexpected end of data (up to line 5)",
    ),
    "semicolons": (
        {"train.csv": GOOD.replace(",", ";"), "val.csv": GOOD},
        1,
        "separated by ';'; expected commas",
    ),
    "doubled header": (
        {"train.csv": "text,label,text\na b,1,c\n", "val.csv": GOOD},
        1,
        "column 'text' occurs 2 times in the header",
    ),
    "label only in val": (
        {"train.csv": GOOD, "val.csv": GOOD + "a film,2\n"},
        4,
        "label '2' does not occur in train; expected one of '0', '1'",
    ),
    "misspelt label in test": (
        {
            "train.jsonl": labelled("good", "bad"),
            "val.jsonl": labelled("bad"),
            "test.jsonl": labelled("bad", "godo"),
        },
        2,
        "label 'godo' does not occur in train; expected one of 'bad', 'good'; did you mean good?",
    ),
    "one of several labels only in val": (
        {"train.jsonl": labelled(["a"], ["b"]), "val.jsonl": labelled(["a", "c"])},
        1,
        "label 'c' does not occur in train",
    ),
    "one class": (
        {"train.csv": "text,label\na b,1\nc d,1\n", "val.csv": GOOD},
        None,
        "every label is '1'; expected at least two classes",
    ),
    "constant scores": (
        {"train.jsonl": labelled(0.5, 0.5), "val.jsonl": labelled(0.5)},
        None,
        "every label is 0.5; expected numbers that differ",
    ),
    "null text": (
        {"train.jsonl": labelled(0, 1) + jsonl({"text": None, "label": 1}), "val.csv": GOOD},
        3,
        "empty text in 'text' (None); expected text",
    ),
    "empty text in csv": ({"train.csv": GOOD + ",1\n", "val.csv": GOOD}, 4, "empty text in 'text'"),
    "blank text": ({"train.csv": GOOD + " \t,1\n", "val.csv": GOOD}, 4, "empty text in 'text'"),
    "number as text": (
        {"train.jsonl": labelled(0, 1) + jsonl({"text": 7, "label": 1}), "val.csv": GOOD},
        3,
        "7 in 'text' is no text; expected a string",
    ),
    "null label": (
        {"train.jsonl": labelled(0, 1, None), "val.csv": GOOD},
        3,
        "empty label (None); expected an integer or text, as 0 in line 1",
    ),
    "empty label in csv": ({"train.csv": GOOD, "val.csv": GOOD + "a b,\n"}, 4, "empty label"),
    "missing key": (
        {"train.jsonl": labelled(0, 1) + jsonl({"txt": "a b", "label": 1}), "val.csv": GOOD},
        3,
        "no 'text' in this row; it has 'txt', 'label'",
    ),
    "broken json line": (
        {"train.jsonl": labelled(0, 1) + '{"text": "a b", "label"\n', "val.csv": GOOD},
        3,
        "is not JSON",
    ),
    "string over two lines": (
        {"train.jsonl": labelled(0, 1) + '{"text": "a\nb", "label": 1}\n', "val.csv": GOOD},
        3,
        "is not JSON",
    ),
    "line that is no object": (
        {"train.jsonl": labelled(0, 1) + "[1, 2]\n", "val.csv": GOOD},
        3,
        "[1, 2] is no object; expected one with text, label",
    ),
    "no objects at all": (
        {"train.jsonl": " 7\n[1, 2]\n", "val.csv": GOOD},
        1,
        "7 is no object; expected one with text and label",
    ),
    "one object over many lines": (
        {"train.json": json.dumps({"text": "a b"}, indent=1), "val.csv": GOOD},
        1,
        "'{' is not JSON",
    ),
    "open array": (
        {
            "train.json": '[{"text": "a b", "label": 1},\n {"text": "c d", "label": 0}',
            "val.csv": GOOD,
        },
        2,
        "the end of the file after a row instead of ',' or ']'",
    ),
    "broken array element": (
        {"train.json": '[{"text": "a b", "label": 1},\n {"text": oops}]', "val.csv": GOOD},
        2,
        "not JSON: Expecting value",
    ),
    "array too deep": ({"train.json": "[" * 100_000, "val.csv": GOOD}, 1, "nested too deeply"),
    "unknown label column": (
        {"train.csv": GOOD.replace("label", "labels"), "val.csv": GOOD},
        1,
        "no column 'label'; the columns are 'text', 'labels'; did you mean labels? "
        "(name another one in spec.data.columns.label)",
    ),
    "column missing in val": (
        {"train.csv": GOOD, "val.csv": GOOD.replace("text", "review")},
        1,
        "no column 'text'; the columns are 'review', 'label' (name another one in "
        "spec.data.columns.text)",
    ),
    "ids only": (
        {"train.csv": "name,label\nr-1,0\nr-2,1\n", "val.csv": "name,label\nr-3,0\n"},
        1,
        "no text column: 'name' holds identifiers, numbers, categories or mostly nothing",
    ),
    "mixed label types": (
        {"train.jsonl": labelled(1, 0, "1", 1), "val.csv": GOOD},
        3,
        "label '1' (text); expected an integer or text, as 1 in line 1",
    ),
    "text among scores": (
        {"train.csv": "text,label\na,0.5\nb,1.5\nc,high\n", "val.csv": GOOD},
        4,
        "label 'high' (text); expected a number, as 0.5 in line 2",
    ),
    "mixed list": (
        {"train.jsonl": labelled(["a"], ["b", 1]), "val.jsonl": labelled(["a"])},
        2,
        "label ['b', 1] mixes kinds",
    ),
    "object as label": (
        {"train.jsonl": labelled(0, 1, {"a": 1}), "val.csv": GOOD},
        3,
        "label {'a': 1} (object); expected an integer or text",
    ),
    "list as label in val": (
        {"train.csv": GOOD, "val.jsonl": labelled([1])},
        1,
        "label [1] (list); expected an integer or text",
    ),
    "class as score in val": (
        {"train.jsonl": labelled(0.5, 1.5), "val.jsonl": labelled("high")},
        1,
        "label 'high' (text); expected a number",
    ),
    "lists in csv": (
        {"train.csv": 'text,label\na b,"[1, 2]"\nc d,[1]\n', "val.csv": GOOD},
        None,
        "CSV cannot hold lists of labels; write JSON lines",
    ),
}

BROKEN_LINES = {"string over two lines": 2, "one object over many lines": 3}
"""Where one mistake breaks several lines, each of them is named."""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_line_and_value(tmp_path: Path, name: str) -> None:
    files, line, message = MISTAKES[name]

    found = problems(tmp_path, files)

    assert message in found[0].message
    assert found[0].line == line
    assert len(found) == BROKEN_LINES.get(name, 1)


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "train.csv": GOOD + ",1\na,b,c\n",
            "val.csv": GOOD + "a film,9\n",
            "test.jsonl": labelled(1) + "{\n" + labelled(7),
        },
    )

    assert sorted((Path(p.where).name, p.line or 0) for p in found) == [
        ("test.jsonl", 2),
        ("test.jsonl", 3),
        ("train.csv", 4),
        ("train.csv", 5),
        ("val.csv", 4),
    ]


def test_many_mistakes_are_counted_and_a_bounded_part_is_shown(tmp_path: Path) -> None:
    bad = jsonl(*({"text": "", "label": i % 2} for i in range(5000)))

    with pytest.raises(InputError, match=r"5000 problems found \(21 shown\)") as caught:
        check(tmp_path, {"train.jsonl": bad, "val.csv": GOOD})

    assert [p.line for p in caught.value.problems[:20]] == list(range(1, 21))
    assert "empty text: 5000 times" in str(caught.value.problems[20])


def test_mistakes_late_in_a_large_file_have_their_line(tmp_path: Path) -> None:
    rows = [{"text": "a film with a fairly long review " * 3, "label": i % 2} for i in range(3000)]
    rows[2500]["label"] = "oops"
    rows[2999]["text"] = " "

    lines = problems(tmp_path / "lines", {"train.jsonl": jsonl(*rows), "val.csv": GOOD})
    array = problems(
        tmp_path / "array", {"train.json": json.dumps(rows, indent=0), "val.csv": GOOD}
    )

    assert {p.line for p in lines} == {2501, 3000}
    # Four lines an object after the opening bracket.
    assert {p.line for p in array} == {2 + 4 * 2500, 2 + 4 * 2999}


def test_a_line_without_end_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparse_transfer_runner.data.source.MAX_RECORD_BYTES", 1 << 18)

    found = problems(
        tmp_path, {"train.jsonl": labelled(0, 1) + '{"text": "' + "a" * (1 << 20), "val.csv": GOOD}
    )

    assert found[0].line == 3
    assert "without an end" in found[0].message


CHOICES = {
    "the first other column": ("text,label\na b,1\nc d,0\n", ("text",)),
    "a pair by name": ("x,sentence2,label,sentence1\na,b c,1,d e\nf,g h,0,i j\n", None),
    "the first two others": ("premise,hypothesis,label\na b,c d,1\ne f,g h,0\n", None),
    "no id": ("id,review,label\n1,a b,1\n2,c d,0\n", ("review",)),
    "no unnamed index": (",review,label\n0,a b,1\n1,c d,0\n", ("review",)),
    "no identifiers by value": ("code,review,label\nr-1,a b,1\nr-2,c d,0\n", ("review",)),
    "no numbers": ("stars,review,label\n5,a b,1\n2,c d,0\n", ("review",)),
    "no category": (
        "source,review,label\n"
        + "".join(f"{'IMDB' if i % 3 else 'RT'},film {i} was so,{i % 2}\n" for i in range(200)),
        ("review",),
    ),
}
PAIRS = {
    "a pair by name": ("sentence1", "sentence2"),
    "the first two others": ("premise", "hypothesis"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_text_columns_are_chosen_by_the_rule(tmp_path: Path, name: str) -> None:
    table, expected = CHOICES[name]

    checked = check(tmp_path, {"train.csv": table, "val.csv": table})

    assert checked.columns.text == (expected or PAIRS[name])


def test_passing_over_a_column_is_said(tmp_path: Path) -> None:
    table = "id,review,label\n1,a b,1\n2,c d,0\n"

    checked = check(tmp_path, {"train.csv": table, "val.csv": table + "3,e f,0\n"})

    assert checked.warnings == (
        "text is taken from review, not from id; spec.data.columns.text changes that",
    )


def test_stated_columns_go_before_the_rule(tmp_path: Path) -> None:
    table = "id,title,body,stars\n1,a b,c d e,1\n2,f g,h i,0\n"

    checked = check(
        tmp_path, {"train.csv": table, "val.csv": table}, text=("body", "title"), label="stars"
    )

    assert checked.columns.text == ("body", "title")
    assert checked.columns.label == "stars"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ("reviews",),
            "no column 'reviews'; the columns are 'id', 'review', 'label'; did you mean ",
        ),
        (("id",), "column 'id' holds identifiers, such as '1'; expected text"),
        (("label",), "column 'label' is both text and label"),
    ],
)
def test_stated_columns_are_checked(tmp_path: Path, text: tuple[str, ...], message: str) -> None:
    table = "id,review,label\n1,a b,1\n2,c d,0\n"

    found = problems(tmp_path, {"train.csv": table, "val.csv": table}, text=text)

    assert message in found[0].message


def test_a_val_that_is_train_is_warned_of(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.csv": GOOD, "val.csv": GOOD})

    assert "val is the same file as train" in checked.warnings[0]


def test_a_val_with_one_class_is_warned_of(tmp_path: Path) -> None:
    checked = check(tmp_path, {"train.csv": GOOD, "val.csv": "text,label\na b,1\n"})

    assert "every label is '1'" in checked.warnings[0]


def test_files_that_are_no_split_and_folders_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "train", {"part.csv": "broken"})

    checked = check(
        tmp_path,
        {"train.csv": GOOD, "val.csv": GOOD, "._train.csv": "x", "README.md": "x", "notes.csv": ""},
    )

    assert set(checked.splits) == {"train", "val"}


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({"train.tsv": "x", "val.csv": GOOD}, "train.tsv has an extension that is not supported"),
        ({"val.csv": GOOD, "notes.md": ""}, "found notes.md, val.csv"),
    ],
)
def test_a_missing_split_comes_with_a_hint(
    tmp_path: Path, files: dict[str, str], hint: str
) -> None:
    assert hint in problems(tmp_path, files)[0].message


def test_a_missing_split_in_a_folder_below_is_hinted_at(tmp_path: Path) -> None:
    write(tmp_path / "corpus", {"train.csv": GOOD})

    found = problems(tmp_path, {"val.csv": GOOD})

    assert "there is corpus/train.csv" in found[0].message


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD})

    with pytest.raises(InputError, match="names the folder"):
        check_text(tmp_path / "train.csv", Data(uri="file:///data"))


def test_a_read_only_folder_is_enough(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", {"train.csv": GOOD, "val.csv": GOOD})
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}

    check_text(folder, Data(uri="file:///data"))

    assert {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before
    folder.chmod(0o755)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda t: t.strip() != "")
ROWS = st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=2).filter(
    lambda rows: len({label for _, label in rows}) > 1
)


@given(rows=ROWS)
def test_any_text_that_json_can_carry_is_read_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    objects = [{"body text": text, "label": label} for text, label in rows]
    folder = tmp_path_factory.mktemp("data")

    checked = check(
        folder,
        {
            "train.jsonl": "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects),
            "val.json": json.dumps(objects, indent=1),
        },
        text=("body text",),
    )

    assert checked.splits["train"].rows == checked.splits["val"].rows == len(rows)


def test_half_a_character_is_found_before_the_tokenizer_refuses_it(tmp_path: Path) -> None:
    rows = [{"text": "fine \U0001f642", "label": 1}, {"text": "cut \ud83d", "label": 0}]

    (found,) = problems(tmp_path, {"train.json": json.dumps(rows), "val.csv": GOOD})

    assert r"half a character ('\ud83d') in 'text'; expected whole ones" in found.message


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_ids_that_occur_twice_are_warned_of(tmp_path: Path, form: str) -> None:
    rows = [{"id": f"r{n}", "text": "a film", "label": n % 2} for n in (7, 8, 9, 8, 7)]
    forms = {
        "csv": "id,text,label\n" + "".join(f"{','.join(map(str, r.values()))}\n" for r in rows),
        "jsonl": jsonl(*rows),
        "json": json.dumps(rows).replace("}, ", "},\n"),
    }
    lines = "3 and 5" if form == "csv" else "2 and 4"

    warnings = check(tmp_path, {f"train.{form}": forms[form], "val.csv": GOOD}).warnings

    told = f"train.{form}: rows with the id of another one: 2, the first 'r8' in lines {lines}"
    assert any(each.startswith(told) for each in warnings), warnings


@pytest.mark.parametrize("more", [0, 1])
def test_ten_thousand_classes_are_accepted_and_no_more(tmp_path: Path, more: int) -> None:
    files = {"train.jsonl": labelled(*range(MAX_VALUES + more)), "val.jsonl": labelled(1, 2)}

    if more:
        assert f"more than {MAX_VALUES} different labels" in problems(tmp_path, files)[0].message
    else:
        assert len(check(tmp_path, files).rule.names) == MAX_VALUES
