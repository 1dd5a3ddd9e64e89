"""From a data folder to batches, outputs and figures of tagged words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.runner.tiny_models import write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.stages.prepare import check_data, check_model, make_plan
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import IGNORED
from sparse_transfer_runner.use_cases.tagged_text import EncodedTags

ROWS = [
    (["the", "good", "film", "was", "bad"], ["O", "B-x", "I-x", "O", "B-y"]),
    (["it", "was", "never"], ["O", "O", "O"]),
    (["a", "\u200b", "film."], ["O", "B-y", "B-x"]),
]
NAMES = ["B-x", "B-y", "I-x", "O"]


def planned(tmp_path: Path, rows: list[tuple[list[str], list[Any]]], **files: str) -> Plan:
    data = tmp_path / "data"
    data.mkdir()
    lines = "".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in rows)
    for split in ("train", "val", "test"):
        (data / f"{split}.jsonl").write_text(lines)
    for name, content in files.items():
        (data / f"{name}.txt").write_text(content)
    model = write_tiny_encoder(tmp_path / "model")
    spec = SparseTransferSpec.model_validate(
        {
            "useCase": "ner",
            "optimLevel": 0.1,
            "data": {"uri": data.as_uri()},
            "model": {"uri": model.as_uri()},
        }
    )
    return make_plan(spec, check_data(spec), check_model(spec))


def loaded(tmp_path: Path, plan: Plan, split: str = "test") -> EncodedTags:
    use = use_case(plan.use_case)
    found = use.load(tmp_path / "data", plan, split, use.preprocessor(tmp_path / "model"))
    assert isinstance(found, EncodedTags)
    return found


def perfect(split: EncodedTags, tags: int) -> np.ndarray:
    """Returns outputs that give every word that is seen its tag."""
    return np.eye(tags)[np.where(split.targets == IGNORED, 0, split.targets)]


@pytest.mark.parametrize("alias", ["ner", "token-classification", "named-entity-recognition"])
def test_the_aliases_stand_for_it(alias: str) -> None:
    assert use_case(alias).program == "tag_words"


def test_words_go_from_file_to_figures(tmp_path: Path) -> None:
    plan = planned(tmp_path, ROWS)
    use, split = use_case(plan.use_case), loaded(tmp_path, plan)

    batch = split.collate(range(3))
    model = use.build(tmp_path / "model", plan)
    with torch.inference_mode():
        logits = model(**{name: torch.as_tensor(v) for name, v in batch.items()}).logits.numpy()
    found = use.score(logits, split, plan)

    assert (plan.problem_type, plan.labels) == ("token_classification", NAMES)
    assert list(batch) == plan.inputs == list(use.example_inputs(plan, 2, 8))
    assert logits.shape == (3, 7, 4)
    assert list(found.metrics) == ["f1", "precision", "recall", "accuracy", "unseen_words"]
    assert use.primary_metric(plan) == "f1"
    assert found.samples == 3
    assert found.resampling("f1").values(np.ones((1, 3)))[0] == found.metrics["f1"]


def test_a_word_that_no_model_sees_counts_as_outside(tmp_path: Path) -> None:
    plan = planned(tmp_path, ROWS)
    split = loaded(tmp_path, plan)

    found = use_case("ner").score(perfect(split, 4), split, plan).metrics

    assert found == {
        "f1": pytest.approx(6 / 7),
        "precision": 1.0,
        "recall": 3 / 4,
        "accuracy": pytest.approx(10 / 11),
        "unseen_words": pytest.approx(1 / 11),
    }


def test_where_there_is_no_outside_it_counts_as_wrong(tmp_path: Path) -> None:
    rows = [(["the", "\u200b"], ["DET", "DET"]), (["film"], ["NOUN"])]
    plan = planned(tmp_path, rows)
    split = loaded(tmp_path, plan)

    found = use_case("ner").score(perfect(split, 2), split, plan).metrics

    assert (found["precision"], found["recall"], found["accuracy"]) == (1.0, 2 / 3, 2 / 3)


def test_no_entity_at_all_is_the_constant_answer(tmp_path: Path) -> None:
    plan = planned(tmp_path, [*ROWS, (["a"] * 9, ["O"] * 9)])
    split, use = loaded(tmp_path, plan), use_case("ner")

    assert use.constant_metric("f1", split, plan) == 0.0
    assert use.constant_metric("accuracy", split, plan) == 15 / 20


def test_the_same_answers_are_counted_by_words(tmp_path: Path) -> None:
    plan = planned(tmp_path, ROWS)
    split, use = loaded(tmp_path, plan), use_case("ner")
    outputs = perfect(split, 4)
    other = outputs.copy()
    other[0, 1] = np.eye(4)[0]

    assert use.same_answers(outputs, outputs, split, plan) == 1.0
    assert use.same_answers(outputs, other, split, plan) == pytest.approx(10 / 11)


@pytest.mark.parametrize(
    ("tags", "labels", "expected"),
    [
        ([[0, 1], [2, 1]], {"labels": "O\nB-x\nI-x\n"}, [0, 1, 2, 1]),
        ([["O", "B-x"], [2, 1]], {"labels": "O\nB-x\nI-x\n"}, [0, 1, 2, 1]),
        ([[7, 10], [3, 10]], {}, [1, 2, 0, 2]),
    ],
    ids=["numbers of names", "names and their numbers", "numbers without names"],
)
def test_tags_are_found_by_name_and_by_number(
    tmp_path: Path, tags: list[list[Any]], labels: dict[str, str], expected: list[int]
) -> None:
    plan = planned(tmp_path, [(["a", "film"], each) for each in tags], **labels)

    assert loaded(tmp_path, plan).gold.tolist() == expected


def test_the_length_fits_the_words_and_what_is_cut_is_counted(tmp_path: Path) -> None:
    rows = [(["film"] * 40, ["O"] * 39 + ["B-x"]), (["film"], ["B-x"])]

    plan = planned(tmp_path, rows)
    split = loaded(tmp_path, plan)

    assert (plan.max_sequence_length, plan.truncated_share) == (32, 0.5)
    assert use_case("ner").score(perfect(split, 2), split, plan).metrics["recall"] == 0.5


def test_a_problem_type_of_whole_texts_is_refused(tmp_path: Path) -> None:
    spec = SparseTransferSpec.model_validate(
        {"useCase": "ner", "data": {"uri": tmp_path.as_uri(), "problemType": "Regression"}}
    )

    with pytest.raises(InputError, match="has no problem types") as caught:
        use_case("ner").inspect(tmp_path, spec)

    assert caught.value.problems[0].where == "spec.data.problemType"
