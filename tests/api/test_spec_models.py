"""What holds for every field of the spec, whichever it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from sparse_transfer_api import contract
from sparse_transfer_api.schema import inlined
from sparse_transfer_api.spec import (
    Acceptance,
    Columns,
    Data,
    Export,
    ProblemType,
    SparseTransferExperiment,
    SparseTransferSpec,
    Training,
)
from sparse_transfer_api.spec.types import DECIDES, EXPECTED, INT_OR_STRING, PRESERVE

STAGES = {"prepare", "teacher", "train", "package"}
CHANGES_NOTHING = (
    *("credentials", "storage", "acceptance", "search", "runPolicy", "template", "stages"),
)
"""Blocks that enter no key."""


def _fields(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, field in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, field
        inner = field.get("items", field)
        yield from _fields(inner, here)


FIELDS = dict(_fields(inlined(SparseTransferSpec)))
LEAVES = {
    path: field
    for path, field in FIELDS.items()
    if "properties" not in field and "properties" not in field.get("items", {})
}


@pytest.mark.parametrize("path", LEAVES)
def test_every_field_says_which_stages_it_decides(path: str) -> None:
    decided = LEAVES[path].get(DECIDES)
    assert decided is not None, f"{path} does not say which stages it decides"
    assert set(decided) <= STAGES


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_described(path: str) -> None:
    text = FIELDS[path].get("description", "")
    assert text.endswith("."), path


@pytest.mark.parametrize("path", FIELDS)
def test_every_text_list_map_and_number_is_bounded(path: str) -> None:
    _assert_bounded(FIELDS[path])


def _assert_bounded(node: Mapping[str, Any]) -> None:
    kind = node.get("type")
    if kind == "string" and "enum" not in node:
        assert "maxLength" in node
    if kind == "array":
        assert "maxItems" in node
        _assert_bounded(node["items"])
    if kind in ("integer", "number"):
        assert {"minimum", "maximum"} <= node.keys()
    if isinstance(node.get("additionalProperties"), dict):
        assert "maxProperties" in node
        _assert_bounded(node["additionalProperties"])


def test_only_what_pods_look_like_is_free_of_form() -> None:
    free = {path.rpartition(".")[2] for path, field in LEAVES.items() if PRESERVE in field}
    assert free == {"affinity", "podSecurityContext", "valueFrom"}


@pytest.mark.parametrize(
    ("stage", "fields"),
    [
        (
            "package",
            {
                "evaluation.metric",
                "export.targets",
                "benchmark.batchSizes",
                "benchmark.sequenceLengths",
                "benchmark.threads",
                "benchmark.headline.engine",
                "benchmark.headline.batch",
                "benchmark.headline.sequence",
            },
        ),
        (
            "teacher",
            {
                "data.columns.text",
                "data.columns.label",
                "data.problemType",
                "data.maxTrainSamples",
                "data.maxEvalSamples",
                *(path for path in LEAVES if path.startswith("training.")),
            },
        ),
    ],
)
def test_a_stage_is_decided_by_these_fields_and_no_others(stage: str, fields: set[str]) -> None:
    assert {path for path, field in LEAVES.items() if stage in field[DECIDES]} == fields


def test_what_only_shapes_pods_or_judges_results_decides_nothing() -> None:
    deciding = {path for path, field in LEAVES.items() if field[DECIDES]}
    assert not [path for path in deciding if path.startswith(CHANGES_NOTHING) or path == "image"]


def test_everything_else_decides_something() -> None:
    idle = {path.partition(".")[0] for path, field in LEAVES.items() if not field[DECIDES]}
    assert idle == {*CHANGES_NOTHING, "image"}


@pytest.mark.parametrize("path", LEAVES)
def test_no_value_of_another_type_is_taken_for_the_right_one(
    path: str, problems_of: Callable[[Any], dict[str, str]], document: Callable[..., dict[str, Any]]
) -> None:
    field = LEAVES[path]
    wrong: list[Any] = [{"a": {"b": []}}] if PRESERVE not in field else [["x"]]
    if "additionalProperties" in field:
        wrong = ["x"]
    if field.get("type") == "string" or EXPECTED in field:
        wrong += [True, 0.5] if INT_OR_STRING not in field else [True, [1]]
    if field.get("type") in ("integer", "number"):
        wrong += [True, "1", [1]]
    if field.get("type") == "boolean":
        wrong += [1, "true", "yes"]
    for value in wrong:
        made = document()
        _put(made["spec"], path, value, FIELDS)
        where = [place for place in problems_of(made) if place.startswith("spec.")]
        assert where, f"{path} takes {value!r}"


def _put(spec: dict[str, Any], path: str, value: Any, fields: Mapping[str, Any]) -> None:
    node: Any = spec
    names = path.split(".")
    for index, name in enumerate(names[:-1]):
        is_list = fields[".".join(names[: index + 1])].get("type") == "array"
        node = node.setdefault(name, [{}] if is_list else {})
        node = node[0] if is_list else node
    node[names[-1]] = value


def test_defaults_never_change_within_a_version_of_the_api() -> None:
    """A key leaves out what is at its default, so another default would give old results."""
    defaults = {path: field["default"] for path, field in LEAVES.items() if field.get("default")}
    assert {path: value for path, value in defaults.items() if "." not in path} == {
        "optimLevel": 0.5
    }
    assert {path: value for path, value in defaults.items() if "." in path} == {
        "model.trust": "Safe",
        "storage.s3.caBundle.key": "ca.crt",
        "teacher.mode": "Auto",
        "baseline.mode": "Auto",
        "recipe.backend": "Auto",
        "training.augmentation": "CropAndFlip",
        "training.precision": "Auto",
        "training.nodes": 1,
        "export.targets": ["onnxruntime", "openvino"],
        "benchmark.batchSizes": [1, 16],
        "benchmark.headline.batch": 1,
        "search.objective": "Fastest",
        "runPolicy.backoffLimit": 3,
        "runPolicy.checkpointIntervalSeconds": 600,
        "runPolicy.ttlSecondsAfterFinished.succeeded": 86_400,
        "runPolicy.ttlSecondsAfterFinished.failed": 604_800,
    }


def test_absent_blocks_are_there_with_their_defaults() -> None:
    spec = SparseTransferSpec(use_case="sentiment", data=Data(uri="s3://bucket/data/"))
    for name in SparseTransferSpec.model_fields:
        if name != "image":
            assert getattr(spec, name) is not None
    assert spec.optim_level == 0.5
    assert spec.training == Training()
    assert spec.export.targets == ("onnxruntime", "openvino")


def test_a_spec_can_be_made_in_python_and_written_as_yaml_has_it() -> None:
    spec = SparseTransferSpec(
        use_case="QA",
        data=Data(uri="s3://bucket/data/", columns=Columns(text=["a"], label="b")),
        export=Export(targets=["openvino"]),
        acceptance=Acceptance(min_recovery=0.97),
    )
    written = spec.to_json_dict()
    assert written["useCase"] == "nlp-question_answering"
    assert written["export"] == {"targets": ["openvino"]}
    assert written["acceptance"] == {"minRecovery": 0.97}
    assert SparseTransferSpec.model_validate(written) == spec


def test_models_cannot_be_changed() -> None:
    training = Training(epochs=3)
    with pytest.raises(ValidationError):
        training.epochs = 4  # type: ignore[misc]


def test_a_level_is_kept_to_the_last_digit(parsed: Callable[..., Any]) -> None:
    assert parsed({"spec.optimLevel": 0.24999999}).spec.optim_level == 0.24999999


def test_group_version_and_kind_are_those_of_the_contract() -> None:
    fields = SparseTransferExperiment.model_fields
    assert fields["api_version"].default == contract.API_VERSION
    assert fields["kind"].default == contract.KIND


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ProblemType.SINGLE_LABEL, "single_label_classification"),
        (ProblemType.MULTI_LABEL, "multi_label_classification"),
        (ProblemType.REGRESSION, "regression"),
    ],
)
def test_problem_types_have_the_names_of_transformers(kind: ProblemType, name: str) -> None:
    assert kind.transformers_name == name


def test_reading_a_spec_needs_neither_yaml_nor_a_training_library() -> None:
    program = (
        "import json, sys, sparse_transfer_api.spec, sparse_transfer_api.keys;"
        "import sparse_transfer_api.crd, sparse_transfer_api.reference;"
        "json.dump(sorted(sys.modules), sys.stdout)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    heavy = {"yaml", "torch", "numpy", "transformers", "kubernetes", "kopf", "typer", "rich"}
    assert heavy.isdisjoint(json.loads(run.stdout))


def test_every_part_of_the_api_ignores_or_refuses_unknown_fields_on_purpose() -> None:
    for model in _subclasses(BaseModel):
        if model.__module__.startswith("sparse_transfer_api"):
            assert model.model_config.get("extra") in ("forbid", "ignore", "allow"), model


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _subclasses(each)
