"""From a data folder to batches that a model takes, for every problem type."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.runner.tiny_models import write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.use_cases import UseCaseName
from sparse_transfer_runner.stages.prepare import check_data, check_model, make_plan
from sparse_transfer_runner.storage.settings import StorageSettings, using
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

SCORES = [0.5, 1.5, 2.0, 4.0]
LABELS: dict[str, list[object]] = {
    "single_label_classification": ["bad", "good", "good", "bad"],
    "multi_label_classification": [["film"], ["film", "good"], [], ["good"]],
    "regression": list(SCORES),
}


def write_data(folder: Path, labels: list[object], *, pair: bool = False) -> Path:
    folder.mkdir()
    for split in ("train", "val", "test"):
        rows = [
            {
                "text": f"the film was good {i}",
                **({"text2": "it is bad"} if pair else {}),
                "label": x,
            }
            for i, x in enumerate(labels)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def planned(tmp_path: Path, data: Path) -> Plan:
    model = write_tiny_encoder(tmp_path / "model")
    spec = SparseTransferSpec.model_validate(
        {
            "useCase": "glue",
            "optimLevel": 0.1,
            "data": {"uri": data.as_uri()},
            "model": {"uri": model.as_uri()},
        }
    )
    return make_plan(spec, check_data(spec), check_model(spec))


def loaded(plan: Plan, data: Path, split: str) -> EncodedSplit:
    use = use_case(plan.use_case)
    model = Path(plan.model.uri.removeprefix("file://"))
    return use.load(data, plan, split, use.preprocessor(model))


@pytest.mark.parametrize("problem_type", LABELS)
@pytest.mark.parametrize("pair", [False, True])
def test_every_problem_type_goes_from_file_to_metric(
    tmp_path: Path, problem_type: str, pair: bool
) -> None:
    data = write_data(tmp_path / "data", LABELS[problem_type], pair=pair)
    plan = planned(tmp_path, data)
    use = use_case(plan.use_case)

    split = loaded(plan, data, "test")
    batch = split.collate(range(4))
    model = use.build(Path(plan.model.uri.removeprefix("file://")), plan)
    with torch.inference_mode():
        logits = model(**{name: torch.as_tensor(v) for name, v in batch.items()}).logits.numpy()
    metrics = use.score(logits, split, plan).metrics

    assert plan.problem_type == problem_type
    assert list(batch) == plan.inputs == list(use.example_inputs(plan, 2, 8))
    assert ("token_type_ids" in batch) == pair
    assert logits.shape == (4, len(plan.labels))
    assert use.primary_metric(plan) in metrics
    assert all(np.isfinite(value) for value in metrics.values())


def test_targets_follow_the_label_order(tmp_path: Path) -> None:
    single = planned(
        tmp_path, write_data(tmp_path / "single", LABELS["single_label_classification"])
    )
    assert single.labels == ["bad", "good"]
    targets = loaded(single, tmp_path / "single", "val").targets
    assert (targets.dtype, targets.tolist()) == (np.int64, [0, 1, 1, 0])


def test_several_labels_become_zeros_and_ones(tmp_path: Path) -> None:
    plan = planned(tmp_path, write_data(tmp_path / "data", LABELS["multi_label_classification"]))

    targets = loaded(plan, tmp_path / "data", "val").targets

    assert plan.labels == ["film", "good"]
    assert (targets.dtype, targets.tolist()) == (np.float32, [[1, 0], [1, 1], [0, 0], [0, 1]])


def test_scores_stay_as_they_are(tmp_path: Path) -> None:
    plan = planned(tmp_path, write_data(tmp_path / "data", LABELS["regression"]))

    targets = loaded(plan, tmp_path / "data", "val").targets

    assert plan.labels == ["label"]
    assert (targets.dtype, targets.tolist()) == (np.float32, SCORES)


def test_data_that_changed_after_prepare_is_not_used(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", LABELS["regression"])
    plan = planned(tmp_path, data)
    path = data / "val.jsonl"
    path.write_text(path.read_text().replace("good", "fine"))

    # What was encoded before the change, if anything was, would be found in a cache.
    with (
        using(StorageSettings(cache=tmp_path / "cache")),
        pytest.raises(InputError, match=r"changed since prepare checked it; set spec\.data\.rev"),
    ):
        loaded(plan, data, "val")


def test_example_inputs_have_the_asked_shape_and_are_the_same_every_time(tmp_path: Path) -> None:
    plan = planned(tmp_path, write_data(tmp_path / "data", LABELS["regression"]))
    use = use_case(plan.use_case)

    first, second = use.example_inputs(plan, 3, 16), use.example_inputs(plan, 3, 16)

    assert all(array.shape == (3, 16) and array.dtype == np.int64 for array in first.values())
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("name", ["sentiment", "nlp-text_classification", "GLUE"])
def test_both_text_use_cases_are_there(name: str) -> None:
    assert use_case(name).family == "text"


@pytest.mark.parametrize("name", UseCaseName)
def test_every_use_case_can_be_run(name: UseCaseName) -> None:
    assert use_case(name).name == name


def test_other_use_cases_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="did you mean sentiment"):
        use_case("sentimant")
