from __future__ import annotations

from typing import Any

import pytest
from tests.operator.jobs.manifests import (
    job,
    pod_of,
    runner_of,
    values_of,
)

from sparse_transfer_api.contract import Stage


def test_the_pod_has_as_few_rights_as_it_can() -> None:
    made = job()
    assert pod_of(made)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert runner_of(made)["securityContext"] == {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod_of(made)["automountServiceAccountToken"] is False
    assert pod_of(made)["enableServiceLinks"] is False


# The template's podSecurityContext, and what of it the container's settings follow.
SECURITY: dict[str, tuple[dict[str, Any], bool, str]] = {
    "a group for a claim's files": ({"fsGroup": 2000}, True, "RuntimeDefault"),
    "the cluster chooses the user": ({}, True, "RuntimeDefault"),
    "a profile of the node's": (
        {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}},
        True,
        "Localhost",
    ),
    "root, where somebody insists": (
        {"runAsUser": 0, "runAsNonRoot": False},
        False,
        "RuntimeDefault",
    ),
}


@pytest.mark.parametrize("name", SECURITY)
def test_a_security_context_replaces_the_pods_and_keeps_the_containers(name: str) -> None:
    context, non_root, profile = SECURITY[name]
    made = job({"template": {"podSecurityContext": context}})
    assert pod_of(made)["securityContext"] == context
    kept = runner_of(made)["securityContext"]
    assert kept["runAsNonRoot"] is non_root
    assert kept["seccompProfile"]["type"] == profile
    assert kept["readOnlyRootFilesystem"] is True
    assert kept["capabilities"] == {"drop": ["ALL"]}


SPARSEML = {"recipe": {"backend": "SparseML"}}
DEEPSPARSE = {"export": {"targets": ["onnxruntime", "deepsparse"]}}


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({}, "runner:1"),
        (SPARSEML, "neuralmagic:1"),
        (DEEPSPARSE, "neuralmagic:1"),
        ({**SPARSEML, "image": "mine:2"}, "mine:2"),
    ],
)
def test_an_experiment_runs_in_the_flavour_that_has_what_it_asks_for(
    spec: dict[str, Any], image: str
) -> None:
    made = job(spec, settings={"image": "runner:1", "neuralmagicImage": "neuralmagic:1"})
    assert runner_of(made)["image"] == image == values_of(made)["STE_IMAGE"]


def test_without_an_image_of_the_flavour_the_ordinary_one_says_what_it_lacks() -> None:
    assert runner_of(job(SPARSEML, settings={"image": "runner:1"}))["image"] == "runner:1"


@pytest.mark.parametrize(("spec", "image"), [({}, "runner:1"), ({"image": "mine:2"}, "mine:2")])
def test_the_experiments_image_goes_before_the_settings(spec: dict[str, Any], image: str) -> None:
    made = job(spec, settings={"image": "runner:1", "imagePullPolicy": "Always"})
    assert runner_of(made)["image"] == image == values_of(made)["STE_IMAGE"]
    assert runner_of(made)["imagePullPolicy"] == "Always"


def test_settings_come_before_the_template_and_that_before_the_stage() -> None:
    settings = {
        "template": {"priorityClassName": "low", "tolerations": [{"key": "a"}]},
        "stages": {"train": {"runtimeClassName": "nvidia", "schedulerName": "operator"}},
    }
    spec = {
        "template": {
            "schedulerName": "template",
            "serviceAccountName": "reader",
            "tolerations": [{"key": "b", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "registry"}],
        },
        "stages": {
            "train": {
                "serviceAccountName": "trainer",
                "nodeSelector": {"gpu": "h100"},
                "affinity": {"nodeAffinity": {}},
                "terminationGracePeriodSeconds": 300,
            }
        },
    }
    pod = pod_of(job(spec, settings=settings))
    assert pod["priorityClassName"] == "low"
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["schedulerName"] == "template"
    assert pod["serviceAccountName"] == "trainer"
    assert pod["tolerations"] == [{"key": "a"}, {"key": "b", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["terminationGracePeriodSeconds"] == 300
    assert pod_of(job(spec, stage=Stage.PACKAGE))["serviceAccountName"] == "reader"


def test_a_checkpoint_has_two_minutes_where_nobody_says_otherwise() -> None:
    assert pod_of(job())["terminationGracePeriodSeconds"] == 120


# What the stage's resources say, and what the container asks for; the settings' default is
# 2 CPUs and 8Gi, at most 16Gi.
RESOURCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "16Gi"}}),
    "a device": (
        {"limits": {"nvidia.com/gpu": 1}},
        {
            "requests": {"cpu": "2", "memory": "8Gi"},
            "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
        },
    ),
    "a limit below the default request": (
        {"limits": {"memory": "4000Mi", "cpu": "500m"}},
        {
            "requests": {"cpu": "500m", "memory": "4000Mi"},
            "limits": {"memory": "4000Mi", "cpu": "500m"},
        },
    ),
    "a request above the default limit": (
        {"requests": {"memory": "64Gi"}},
        {"requests": {"cpu": "2", "memory": "64Gi"}, "limits": {"memory": "64Gi"}},
    ),
    "a mistake of the user's is left to the API server": (
        {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}},
        {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "4Gi"}},
    ),
}


@pytest.mark.parametrize("name", RESOURCES)
def test_defaults_yield_to_what_a_stage_asks_for(name: str) -> None:
    asked, expected = RESOURCES[name]
    assert runner_of(job({"stages": {"train": {"resources": asked}}}))["resources"] == expected
