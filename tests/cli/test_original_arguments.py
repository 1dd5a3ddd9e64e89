"""The original command's arguments: each works, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, UsageError
from sparse_transfer_cli.experiment_file import experiment_from
from sparse_transfer_cli.original_arguments import (
    OriginalArguments,
    experiment_document,
    name_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("reviews", "model", "teacher"):
        (tmp_path / name).mkdir()
    (tmp_path / "recipe.yaml").write_text("modifiers: []\n")
    return tmp_path


def document(folder: Path, **arguments: Any) -> dict[str, Any]:
    return experiment_document(
        OriginalArguments(use_case="sentiment", data="reviews", **arguments), folder
    )


def spec_value(spec: dict[str, Any], path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = value[name]
    return value


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ({"optim_level": "0.3"}, "optimLevel", 0.3),
        ({"optim_level": "50"}, "optimLevel", 0.5),
        ({"model": "model"}, "model.uri", "file://HERE/model"),
        ({"model": "zoo:some-stub"}, "model.uri", "zoo:some-stub"),
        ({"working_dir": "work"}, "output.uri", "file://HERE/work/runs"),
        ({}, "output.uri", "file://HERE/runs"),
        ({"recipe": "recipe.yaml"}, "recipe.uri", "file://HERE/recipe.yaml"),
        ({"recipe_args": '{"num_epochs": 2}'}, "recipe.args", {"num_epochs": 2}),
        ({"train_kwargs": "{'num_train_epochs': 3}"}, "training", {"epochs": 3}),
        ({"train_kwargs": '{"learning_rate": 1e-4}'}, "training", {"learningRate": 1e-4}),
        ({"train_kwargs": "{batchSize: 8, seed: 1}"}, "training", {"batchSize": 8, "seed": 1}),
        ({"teacher": "off"}, "teacher", {"mode": "None"}),
        ({"teacher": "auto"}, "teacher", {"mode": "Auto"}),
        ({"teacher": "teacher"}, "teacher", {"mode": "Given", "uri": "file://HERE/teacher"}),
        ({"eval_metric": "f1"}, "evaluation.metric", "f1"),
        ({"train_samples": 100}, "data.maxTrainSamples", 100),
        ({"val_samples": 50}, "data.maxEvalSamples", 50),
        ({"deploy_engine": "OpenVINO"}, "export.targets", ["openvino"]),
    ],
)
def test_each_argument_reaches_the_experiment(
    folder: Path, arguments: dict[str, Any], path: str, value: Any
) -> None:
    found = document(folder, **arguments)
    expected = value.replace("HERE", str(folder)) if isinstance(value, str) else value
    if isinstance(value, dict):
        expected = {
            name: part.replace("HERE", str(folder)) if isinstance(part, str) else part
            for name, part in value.items()
        }
    assert spec_value(found["spec"], path) == expected
    experiment_from(found, source="the command line", folder=folder)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"deploy_hardware": "c6i"}, UsageError, "sparse-transfer benchmark"),
        ({"deploy_scenario": "latency"}, UsageError, "benchmark.batchSizes"),
        ({"model": "missing"}, AccessError, "hf://missing"),
        ({"teacher": "missing"}, AccessError, "--teacher missing"),
        ({"recipe": "missing.yaml"}, AccessError, "--recipe"),
        ({"optim_level": "1.5"}, InputError, "expected a number from 0 to 1"),
        ({"train_kwargs": '{"epoch": 3}'}, InputError, "did you mean epochs"),
        ({"train_kwargs": '{"output_dir": "x"}'}, InputError, "--working-dir"),
        ({"train_kwargs": '{"fp16": true}'}, InputError, "precision: Fp16"),
        ({"train_kwargs": '{"epochs": 1, "num_train_epochs": 2}'}, InputError, "a second time"),
        ({"train_kwargs": "epochs"}, InputError, "expected a mapping"),
        ({"recipe_args": "{"}, InputError, "expected a mapping"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_way_out(
    folder: Path, arguments: dict[str, Any], error: type[SparseTransferError], words: str
) -> None:
    with pytest.raises(error, match=words):
        document(folder, **arguments)


def test_an_unknown_data_set_is_refused_with_the_hub_s_address(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="hf://sst2 for a data set of a hub"):
        experiment_document(OriginalArguments(use_case="sentiment", data="sst2"), tmp_path)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("./film-reviews/", "film-reviews"),
        ("/data/Film Reviews_2", "film-reviews-2"),
        ("s3://bucket/reviews/v1", "v1"),
        ("hf://sst2", "sst2"),
        ("x" * 60, "x" * 40),
        ("/", "experiment"),
    ],
)
def test_the_experiment_is_named_after_its_data(data: str, name: str) -> None:
    assert name_of(data) == name


def test_a_given_name_is_taken(folder: Path) -> None:
    assert document(folder, name="mine")["metadata"]["name"] == "mine"
