"""From a data folder of questions to batches that a model takes, and back to answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.runner.tiny_models import WORDS, write_tiny_encoder
from tests.runner.tiny_questions import write_questions
from transformers import PhobertTokenizer

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.stages.prepare import check_data, check_model, make_plan
from sparse_transfer_runner.storage.settings import StorageSettings, using
from sparse_transfer_runner.training.inference import logits_of
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.question_answering import QuestionAnswering
from sparse_transfer_runner.use_cases.question_inputs import EncodedQuestions

QA = QuestionAnswering("nlp-question_answering")


def planned(root: Path, **data: object) -> Plan:
    model = root / "model"
    if not model.exists():
        write_tiny_encoder(model)
    spec = SparseTransferSpec.model_validate(
        {
            "useCase": "qa",
            "optimLevel": 0.1,
            "data": {"uri": (root / "data").as_uri(), **data},
            "model": {"uri": model.as_uri()},
        }
    )
    return make_plan(spec, check_data(spec), check_model(spec))


def loaded(root: Path, plan: Plan, split: str) -> EncodedQuestions:
    return QA.load(root / "data", plan, split, QA.preprocessor(root / "model"))


def sure_of(rows: EncodedQuestions) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Returns outputs of a model that knows every target."""
    outputs = np.zeros((len(rows), int(max(rows.lengths)), 2), dtype=np.float32)
    for side in (0, 1):
        outputs[np.arange(len(rows)), rows.targets[:, side], side] = 9
    return outputs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("questions")
    write_questions(root / "data")
    return root


@pytest.mark.parametrize("name", ["qa", "question-answering", "nlp-question_answering"])
def test_the_use_case_is_there_by_every_name(name: str) -> None:
    assert use_case(name).name == "nlp-question_answering"


def test_questions_go_from_file_to_metric(root: Path) -> None:
    plan = planned(root)
    rows = loaded(root, plan, "test")
    model = QA.build(root / "model", plan)

    outputs = logits_of(model, rows)
    found = QA.score(outputs, rows, plan)

    assert outputs.shape == (len(rows), max(rows.lengths), 2)
    assert list(rows.collate([0])) == plan.inputs == list(QA.example_inputs(plan, 2, 8))
    assert found.samples == 60 < len(rows)
    assert list(found.metrics) == list(QA.metric_names(plan.problem_type, plan.labels))
    assert QA.primary_metric(plan) == "f1"
    assert all(0 <= value <= 1 for value in found.metrics.values())


@pytest.mark.parametrize("split", ["train", "val", "test", "choice"])
def test_a_model_that_knows_the_targets_scores_one(root: Path, split: str) -> None:
    plan = planned(root)
    rows = loaded(root, plan, split)

    found = QA.score(sure_of(rows), rows, plan)

    assert found.metrics == {"f1": 1, "exact_match": 1}
    assert QA.same_answers(sure_of(rows), sure_of(rows), rows, plan) == 1
    assert QA.constant_metric("f1", rows, plan) < 0.5


def test_limits_and_choices_count_questions(root: Path) -> None:
    plan = planned(root, maxTrainSamples=20, maxEvalSamples=10)

    assert len(loaded(root, plan, "train").questions) == 20
    assert len(loaded(root, plan, "test").questions) == 10


def test_without_unanswerable_questions_there_always_is_an_answer(tmp_path: Path) -> None:
    write_questions(tmp_path / "data", unanswerable=False)
    plan = planned(tmp_path)
    rows = loaded(tmp_path, plan, "test")
    none = np.zeros((len(rows), int(max(rows.lengths)), 2), dtype=np.float32)
    none[:, 0] = 9

    assert plan.answers is not None
    assert not plan.answers.may_be_none
    assert QA.score(none, rows, plan).metrics["f1"] >= 0
    assert QA.same_answers(none, sure_of(rows), rows, plan) < 1


def test_a_batch_of_windows_keeps_each_ones_outputs_whatever_it_is_padded_to(root: Path) -> None:
    plan = planned(root)
    rows = loaded(root, plan, "val")
    model = QA.build(root / "model", plan).eval()
    shortest = int(np.argmin(rows.lengths))

    with torch.inference_mode():
        alone, padded = (
            model(
                **{
                    name: torch.as_tensor(values)
                    for name, values in rows.collate([shortest], pad_to=width).items()
                }
            ).logits[0, : rows.lengths[shortest]]
            for width in (None, 32)
        )

    assert torch.allclose(alone, padded, atol=1e-5)


def test_data_that_changed_after_prepare_is_not_used(tmp_path: Path) -> None:
    write_questions(tmp_path / "data")
    plan = planned(tmp_path)
    path = tmp_path / "data" / "val.jsonl"
    path.write_text(path.read_text().replace("what was", "what is"))

    # What was encoded before the change, if anything was, would be found in a cache.
    with (
        using(StorageSettings(cache=tmp_path / "cache")),
        pytest.raises(InputError, match=r"changed since prepare checked it"),
    ):
        loaded(tmp_path, plan, "val")


def test_a_question_that_leaves_no_room_is_said_by_file_and_line(tmp_path: Path) -> None:
    write_questions(tmp_path / "data")
    text = (tmp_path / "data" / "val.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    rows[3]["question"] = "what was it " * 9
    (tmp_path / "data" / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    with pytest.raises(InputError, match="1 questions are too long") as caught:
        planned(tmp_path)

    (problem,) = caught.value.problems
    assert (problem.where, problem.line) == (str(tmp_path / "data" / "val.jsonl"), 4)


def test_a_tokenizer_that_cannot_tell_where_tokens_stand_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in WORDS))
    (folder / "bpe.codes").write_text("#version: 0.2\n")
    PhobertTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes")).save_pretrained(folder)

    with pytest.raises(InputError, match=r"where in a text a token stands.*tokenizer\.json"):
        QA.preprocessor(folder)
