from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.handover import read_stage_document, stage_document
from sparse_transfer_api.keys import (
    canonical_json,
    data_key,
    deciding_fields,
    stage_key,
    teacher_key,
)
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_api.spec import SparseTransferSpec, parse_experiment

Document = dict[str, Any]
Parsed = Callable[..., Any]

SETTINGS = TrainingSettings(
    epochs=3, learning_rate=1e-4, batch_size=16, seed=0, recipe="modifiers: []"
)
TEACHER: dict[str, Any] = {
    "dense_digest": "d" * 64,
    "data_digest": "e" * 64,
    "use_case": "nlp-sentiment_analysis",
    "settings": SETTINGS,
    "inputs": {"max_sequence_length": 128},
}


def keys_of(spec: SparseTransferSpec) -> dict[Stage, str]:
    """Returns the keys of all stages, for digests that never change."""
    prepare = stage_key(spec, Stage.PREPARE, None, {})
    train = stage_key(spec, Stage.TRAIN, prepare, {"model": "a", "data": "b"})
    package = stage_key(spec, Stage.PACKAGE, train, {"weights": "c"})
    return {Stage.PREPARE: prepare, Stage.TRAIN: train, Stage.PACKAGE: package}


def changed(parsed: Parsed, changes: dict[str, Any]) -> set[str]:
    """Returns the stages whose key changes with a change of the experiment."""
    before, after = keys_of(parsed().spec), keys_of(parsed(changes).spec)
    return {stage.value for stage in Stage if before[stage] != after[stage]}


# An edit, and the stages that run again because of it.
ALL = {"prepare", "train", "package"}
EDITS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "another level": ({"spec.optimLevel": 0.8}, ALL),
    "another use case": ({"spec.useCase": "text-classification"}, ALL),
    "other data": ({"spec.data.uri": "s3://datasets/others/"}, ALL),
    "changed data": ({"spec.data.revision": "2"}, ALL),
    "other columns": ({"spec.data.columns.text": ["review"]}, ALL),
    "another model": ({"spec.model.uri": "hf://me/model"}, ALL),
    "another output": ({"spec.output.uri": "s3://runs/"}, ALL),
    "no teacher": ({"spec.teacher.mode": "None"}, ALL),
    "a recipe's variable": ({"spec.recipe.args": {"num_epochs": 4}}, ALL),
    "more epochs": ({"spec.training.epochs": 4}, ALL),
    "another seed": ({"spec.training.seed": 1}, ALL),
    "a search, whose levels have keys of their own": ({"spec.search.levels": [0.3, 0.6]}, set()),
    "what a search prefers": (
        {"spec.search": {"levels": [0.3], "minRecovery": 0.9, "objective": "Smallest"}},
        set(),
    ),
    "another engine": ({"spec.export.targets": ["openvino"]}, {"package"}),
    "other batch sizes": ({"spec.benchmark.batchSizes": [1, 64]}, {"package"}),
    "another headline": ({"spec.benchmark.headline.batch": 16}, {"package"}),
    "another metric": ({"spec.evaluation.metric": "f1"}, {"package"}),
    "acceptance": ({"spec.acceptance.minRecovery": 0.97}, set()),
    "credentials": ({"spec.credentials.secretRef": {"name": "s3"}}, set()),
    "storage": ({"spec.storage.s3.region": "eu-central-1"}, set()),
    "a pod's labels": ({"spec.template.labels": {"team": "a"}}, set()),
    "resources": ({"spec.stages.train.resources.limits": {"nvidia.com/gpu": 1}}, set()),
    "suspension": ({"spec.runPolicy.suspend": True}, set()),
    "another image": ({"spec.image": "registry/runner:2"}, set()),
    "another uid": ({"metadata.uid": "1234"}, set()),
    "another name": ({"metadata.name": "other"}, set()),
    "an alias of the same use case": ({"spec.useCase": "Sentiment"}, set()),
    "defaults that are spelled out": (
        {
            "spec.optimLevel": 0.5,
            "spec.teacher.mode": "Auto",
            "spec.training": {"seed": 0, "precision": "Auto", "nodes": 1},
            "spec.export.targets": ["onnxruntime", "openvino"],
            "spec.benchmark.headline": {"batch": 1},
            "spec.model.trust": "Safe",
        },
        set(),
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_these_stages_again_and_no_others(name: str, parsed: Parsed) -> None:
    changes, stages = EDITS[name]
    assert changed(parsed, changes) == stages


def test_keys_do_not_change_with_the_version_of_this_program(parsed: Parsed) -> None:
    """Results are found again by these: a new optional field must not change them."""
    assert keys_of(parsed().spec) == {
        Stage.PREPARE: "h4olitwddp",
        Stage.TRAIN: "anzlpeatb3",
        Stage.PACKAGE: "vwyw35mxur",
    }
    assert teacher_key(**TEACHER) == "qob4zmef5b"


def test_only_fields_that_differ_from_their_default_enter_a_key(parsed: Parsed) -> None:
    assert deciding_fields(parsed().spec, "prepare") == {
        "useCase": "nlp-sentiment_analysis",
        "data.uri": "s3://datasets/film-reviews/",
    }
    assert deciding_fields(parsed().spec, "package") == {}
    spec = parsed({"spec.training.epochs": 3, "spec.export.targets": ["openvino"]}).spec
    assert deciding_fields(spec, "prepare")["training.epochs"] == 3
    assert deciding_fields(spec, "teacher") == {"training.epochs": 3}
    assert deciding_fields(spec, "package") == {"export.targets": ["openvino"]}


def test_a_key_depends_on_the_stage_before_and_on_what_it_recorded(parsed: Parsed) -> None:
    spec = parsed().spec
    key = stage_key(spec, "train", "abc", {"data": "1"})
    assert stage_key(spec, "train", "abd", {"data": "1"}) != key
    assert stage_key(spec, "train", "abc", {"data": "2"}) != key
    assert stage_key(spec, "train", "abc", {"model": "1"}) != key
    assert stage_key(spec, "train", "abc", {}) != key


def test_the_order_of_digests_does_not_count(parsed: Parsed) -> None:
    spec = parsed().spec
    assert stage_key(spec, "train", "a", {"x": "1", "y": "2"}) == stage_key(
        spec, "train", "a", {"y": "2", "x": "1"}
    )


def test_there_is_no_key_of_an_unknown_stage(parsed: Parsed) -> None:
    with pytest.raises(ValueError, match="teacher"):
        stage_key(parsed().spec, "teacher", None, {})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_key_fits_into_names_of_jobs_and_folders(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document]
) -> None:
    spec = parse_experiment(data.draw(valid_documents), "experiment.yaml").spec
    for key in keys_of(spec).values():
        assert re.fullmatch("[a-z2-7]{10}", key)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_keys_survive_the_api_server_and_the_way_to_a_stage(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document]
) -> None:
    made = data.draw(valid_documents)
    experiment = parse_experiment(made, "experiment.yaml")
    keys = keys_of(experiment.spec)
    assert keys_of(parse_experiment(_as_go_writes_it(made), "object").spec) == keys
    assert keys_of(parse_experiment(experiment.to_json_dict(), "object").spec) == keys
    assert keys_of(read_stage_document(stage_document(experiment)).spec) == keys


def _as_go_writes_it(value: Any) -> Any:
    """Returns JSON as the API server gives it back: other order, whole floats as integers."""
    if isinstance(value, dict):
        names = list(value)
        random.Random(len(names)).shuffle(names)
        return {name: _as_go_writes_it(value[name]) for name in names}
    if isinstance(value, list):
        return [_as_go_writes_it(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_shapes_pods_changes_no_key(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document]
) -> None:
    made, other = data.draw(valid_documents), data.draw(valid_documents)
    mixed = copy.deepcopy(made)
    for block in ("template", "stages", "runPolicy", "storage", "credentials", "image"):
        mixed["spec"].pop(block, None)
        if block in other["spec"]:
            mixed["spec"][block] = other["spec"][block]
    assert keys_of(parse_experiment(mixed, "mixed").spec) == keys_of(
        parse_experiment(made, "made").spec
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_specs_that_differ_in_what_decides_have_different_keys(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document]
) -> None:
    first = parse_experiment(data.draw(valid_documents), "first").spec
    second = parse_experiment(data.draw(valid_documents), "second").spec
    for stage in Stage:
        same = canonical_json(deciding_fields(first, stage)) == canonical_json(
            deciding_fields(second, stage)
        )
        keys = [stage_key(spec, stage, "p", {}) for spec in (first, second)]
        assert (keys[0] == keys[1]) == same


@pytest.mark.parametrize(
    "changes",
    [
        {"dense_digest": "f" * 64},
        {"data_digest": "f" * 64},
        {"use_case": "nlp-text_classification"},
        {"settings": SETTINGS.model_copy(update={"seed": 1})},
        {"settings": SETTINGS.model_copy(update={"epochs": 4})},
        {"settings": SETTINGS.model_copy(update={"max_train_samples": 100})},
        {"inputs": {"max_sequence_length": 64}},
        {"inputs": None},
    ],
)
def test_a_baseline_depends_on_model_data_task_and_settings(changes: dict[str, Any]) -> None:
    assert teacher_key(**{**TEACHER, **changes}) != teacher_key(**TEACHER)


def test_levels_share_a_check_of_the_data_and_other_data_has_another(parsed: Parsed) -> None:
    key = data_key(parsed().spec)
    for changes in ({"spec.optimLevel": 0.1}, {"spec.training.epochs": 4}):
        assert data_key(parsed(changes).spec) == key
    for changes in (
        {"spec.data.revision": "2"},
        {"spec.data.columns.text": ["review"]},
        {"spec.useCase": "text-classification"},
    ):
        assert data_key(parsed(changes).spec) != key


def test_levels_and_recipes_share_a_baseline() -> None:
    other = SETTINGS.model_copy(update={"recipe": "modifiers: [!QuantizationModifier {}]"})
    assert teacher_key(**{**TEACHER, "settings": other}) == teacher_key(**TEACHER)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1.0, "b": [2.0]}, {"b": [2], "a": 1}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (-0.0, 0),
        (1e300, int(1e300)),
    ],
)
def test_canonical_json_has_one_text_for_each_meaning(first: Any, second: Any) -> None:
    assert canonical_json(first) == canonical_json(second)


@pytest.mark.parametrize(
    ("first", "second"), [(True, 1), ("1", 1), ([], {}), (0.1, 0.2), (None, "null")]
)
def test_canonical_json_keeps_what_differs_apart(first: Any, second: Any) -> None:
    assert canonical_json(first) != canonical_json(second)


def test_canonical_json_is_json() -> None:
    assert json.loads(canonical_json({"b": 1.5, "a": [True, None, "ä"]})) == {
        "a": [True, None, "ä"],
        "b": 1.5,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_has_no_canonical_text(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": value})
