from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sparse_transfer_api.contract import MAX_EXPERIMENT_BYTES
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.handover import read_stage_document, stage_document

Parsed = Callable[..., Any]


def test_a_stage_reads_what_it_needs_and_not_what_shapes_pods(parsed: Parsed) -> None:
    experiment = parsed(
        {
            "metadata.uid": "1234",
            "metadata.labels": {"team": "a"},
            "spec.training.epochs": 3,
            "spec.storage.s3.endpoint": "https://s3.example",
            "spec.runPolicy.checkpointIntervalSeconds": 60,
            "spec.credentials.secretRef": {"name": "secret-name"},
            "spec.template.env": [{"name": "A", "value": "secret-value"}],
            "spec.stages.train.resources.limits": {"cpu": 2},
            "spec.image": "secret-registry/runner",
        }
    )
    text = stage_document(experiment)
    assert "secret" not in text
    read = read_stage_document(text)
    assert (read.metadata.name, read.metadata.uid) == (experiment.metadata.name, "1234")
    assert read.metadata.labels == {}
    assert read.spec.training == experiment.spec.training
    assert read.spec.storage == experiment.spec.storage
    assert read.spec.run_policy == experiment.spec.run_policy


def test_it_says_its_schema_version(parsed: Parsed) -> None:
    assert json.loads(stage_document(parsed()))["schemaVersion"] == 1


def test_fields_of_a_newer_version_are_ignored(parsed: Parsed) -> None:
    document = json.loads(stage_document(parsed({"spec.template.env": []})))
    document["new"] = 1
    document["metadata"]["new"] = 1
    document["spec"]["new"] = {"a": 1}
    document["spec"]["data"]["new"] = [1]
    assert read_stage_document(json.dumps(document)).spec == parsed().spec


def test_a_broken_value_is_still_refused(parsed: Parsed) -> None:
    document = json.loads(stage_document(parsed()))
    document["spec"]["optimLevel"] = 2
    with pytest.raises(InputError, match=r"STE_EXPERIMENT"):
        read_stage_document(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "5", "[]", '"x"'])
def test_what_is_no_experiment_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_stage_document(text)


def test_an_experiment_that_is_too_large_for_the_environment_is_refused(parsed: Parsed) -> None:
    arguments = {f"variable_{number}": "x" * 250 for number in range(64)}
    experiment = parsed({"spec.recipe.inline": "é" * 10_000, "spec.recipe.args": arguments})
    with pytest.raises(InputError, match=f"{MAX_EXPERIMENT_BYTES} are allowed") as raised:
        stage_document(experiment)
    assert "spec.recipe.uri" in str(raised.value)
