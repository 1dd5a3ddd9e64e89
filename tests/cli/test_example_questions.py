"""Questions on an invented county: valid, the same on every machine, and of every kind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sparse_transfer_api.spec import Data
from sparse_transfer_cli.example_questions import CONTEXTS, question_splits
from sparse_transfer_cli.verbs.examples import extract
from sparse_transfer_runner.data.squad_check import CheckedQuestions, check_questions

LONG_CHARACTERS = 1900
"""More than 384 tokens of any usual vocabulary."""


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("county") / "data"
    extract("county-questions", folder, file_format=None, rows=None, seed=0)
    return folder


@pytest.fixture(scope="module")
def checked(extracted: Path) -> CheckedQuestions:
    return check_questions(extracted, Data(uri=extracted.as_uri()))


def test_every_answer_stands_where_it_is_said_to(checked: CheckedQuestions) -> None:
    assert checked.warnings == ()
    assert {name: split.rows > 3 * CONTEXTS[name] for name, split in checked.splits.items()} == {
        "train": True,
        "val": True,
        "test": True,
    }


def test_a_fifth_and_more_of_the_questions_has_no_answer(checked: CheckedQuestions) -> None:
    for split in checked.splits.values():
        assert 0.2 < 1 - split.answerable / split.rows < 0.3


def test_some_contexts_are_longer_than_a_window(extracted: Path) -> None:
    for split in CONTEXTS:
        (article,) = json.loads((extracted / f"{split}.json").read_text("utf-8"))["data"]
        long = [len(each["context"]) > LONG_CHARACTERS for each in article["paragraphs"]]
        assert 0.05 < sum(long) / len(long) < 0.25


def test_no_context_is_in_two_splits() -> None:
    contexts = [
        paragraph["context"]
        for split in question_splits(seed=0).values()
        for paragraph in split["data"][0]["paragraphs"]
    ]
    assert len(contexts) == len(set(contexts)) == sum(CONTEXTS.values())


def test_the_choice_is_the_same_everywhere_and_another_with_another_seed() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(json.dumps(question_splits(seed, 8)).encode()).hexdigest()[:16]

    assert digest(0) == "4ee6b1546b0d577c"
    assert digest(0) != digest(1)


def test_fewer_contexts_are_the_first_of_all() -> None:
    few, every = question_splits(0, 5), question_splits(0)

    for split in CONTEXTS:
        paragraphs = every[split]["data"][0]["paragraphs"]
        assert few[split]["data"][0]["paragraphs"] == paragraphs[:5]


def test_nothing_but_the_questions_is_written(extracted: Path) -> None:
    assert sorted(path.name for path in extracted.iterdir()) == [
        "test.json",
        "train.json",
        "val.json",
    ]
