from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.spec import PodTemplate, StageTemplate, parse_experiment
from sparse_transfer_api.template import MERGES, merged, stage_template


def template(**fields: Any) -> StageTemplate:
    """Returns a template from its YAML form."""
    return StageTemplate.model_validate(fields)


def test_every_field_has_its_way_of_merging() -> None:
    assert MERGES.keys() == StageTemplate.model_fields.keys()


# What comes first, what goes before it, and what comes out.
MERGED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "scalars override": (
        {"serviceAccountName": "low", "shmSize": "1Gi"},
        {"serviceAccountName": "high"},
        {"serviceAccountName": "high", "shmSize": "1Gi"},
    ),
    "maps merge": (
        {"nodeSelector": {"a": "1", "b": "1"}, "labels": {"team": "x"}},
        {"nodeSelector": {"b": "2", "c": "2"}, "annotations": {"n": "1"}},
        {
            "nodeSelector": {"a": "1", "b": "2", "c": "2"},
            "labels": {"team": "x"},
            "annotations": {"n": "1"},
        },
    ),
    "environment merges by name": (
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
        {"env": [{"name": "C", "value": "2"}, {"name": "A", "valueFrom": {"fieldRef": {}}}]},
        {
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {}}},
                {"name": "B", "value": "1"},
                {"name": "C", "value": "2"},
            ]
        },
    ),
    "volumes merge by name and mounts by path": (
        {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
        {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/more"}],
        },
        {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "data", "mountPath": "/more"},
            ],
        },
    ),
    "tolerations append, none twice": (
        {"tolerations": [{"key": "a"}, {"key": "b"}]},
        {"tolerations": [{"key": "b"}, {"key": "b", "effect": "NoSchedule"}]},
        {"tolerations": [{"key": "a"}, {"key": "b"}, {"key": "b", "effect": "NoSchedule"}]},
    ),
    "affinity replaces": (
        {"affinity": {"nodeAffinity": {"x": 1}}, "podSecurityContext": {"runAsUser": 1}},
        {"affinity": {"podAffinity": {"y": 1}}},
        {"affinity": {"podAffinity": {"y": 1}}, "podSecurityContext": {"runAsUser": 1}},
    ),
    "resources merge by name": (
        {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}}},
        {"resources": {"requests": {"cpu": 4}, "limits": {"nvidia.com/gpu": 1}}},
        {
            "resources": {
                "requests": {"cpu": "4", "memory": "1Gi"},
                "limits": {"nvidia.com/gpu": "1"},
            }
        },
    ),
    "nothing changes nothing": (
        {"schedulerName": "volcano", "imagePullSecrets": [{"name": "registry"}]},
        {},
        {"schedulerName": "volcano", "imagePullSecrets": [{"name": "registry"}]},
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_merging(name: str) -> None:
    low, high, expected = MERGED[name]
    assert merged([template(**low), template(**high)]) == template(**expected)


def test_operator_settings_come_before_the_template_and_that_before_the_stage(
    parsed: Callable[..., Any],
) -> None:
    spec = parsed(
        {
            "spec.template": {"priorityClassName": "template", "schedulerName": "template"},
            "spec.stages.train": {"schedulerName": "stage"},
        }
    ).spec
    operator = PodTemplate(
        priority_class_name="operator", scheduler_name="operator", runtime_class_name="operator"
    )
    found = stage_template(spec, Stage.TRAIN, operator)
    assert found.runtime_class_name == "operator"
    assert found.priority_class_name == "template"
    assert found.scheduler_name == "stage"
    assert stage_template(spec, Stage.PREPARE, operator).scheduler_name == "template"


@pytest.mark.parametrize(
    ("changes", "operator", "seconds"),
    [
        ({}, None, 120),
        ({}, 60, 60),
        ({"spec.template.terminationGracePeriodSeconds": 0}, 60, 0),
        ({"spec.stages.train.terminationGracePeriodSeconds": 300}, 60, 300),
    ],
)
def test_the_grace_period_is_two_minutes_where_nobody_says_otherwise(
    parsed: Callable[..., Any], changes: dict[str, Any], operator: int | None, seconds: int
) -> None:
    settings = PodTemplate(termination_grace_period_seconds=operator)
    found = stage_template(parsed(changes).spec, Stage.TRAIN, settings)
    assert found.termination_grace_period_seconds == seconds


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_merging_is_associative_and_empty_layers_change_nothing(
    data: st.DataObject, valid_documents: st.SearchStrategy[dict[str, Any]]
) -> None:
    a, b, c = (
        parse_experiment(data.draw(valid_documents), "x").spec.stages.train for _ in range(3)
    )
    assert merged([merged([a, b]), c]) == merged([a, merged([b, c])])
    assert merged([a, StageTemplate()]) == merged([StageTemplate(), a]) == a
    assert merged([a, a]) == a
