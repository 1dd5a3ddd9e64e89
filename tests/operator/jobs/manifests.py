"""Experiments to build Jobs of, and the parts of a Job that tests look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kubernetes_validate

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.jobs import ProgressAccess, build
from sparse_transfer_operator.settings import OperatorSettings

Json = dict[str, Any]

KEY = "abcdefghij"
UID = "11111111-2222-3333-4444-555555555555"
PROGRESS = ProgressAccess("https://progress.operator.svc:8443", "-----BEGIN CERTIFICATE-----\n")
KUBERNETES = "1.36"


def document(spec: Mapping[str, Any] | None = None, **metadata: Any) -> Json:
    """Returns an experiment as the API server has it, with more in its spec and metadata."""
    return {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews", "namespace": "language", "uid": UID, **metadata},
        "spec": {
            "useCase": "nlp-sentiment_analysis",
            "data": {"uri": "s3://datasets/film-reviews/"},
            "output": {"uri": "s3://runs/"},
            **(spec or {}),
        },
    }


def experiment(spec: Mapping[str, Any] | None = None, **metadata: Any) -> SparseTransferExperiment:
    """Returns the same, read."""
    return parse_experiment(document(spec, **metadata), "experiment.yaml")


def job(
    spec: Mapping[str, Any] | None = None,
    *,
    stage: Stage = Stage.TRAIN,
    settings: Mapping[str, Any] | None = None,
    progress: ProgressAccess | None = PROGRESS,
    labels: Mapping[str, str] | None = None,
    name: str = "film-reviews",
    **order: Any,
) -> Json:
    """Returns the Job of a stage, which every test has checked against Kubernetes' schema.

    Args:
        spec: More of the experiment's spec.
        stage: The stage.
        settings: The operator's, as its file has them.
        progress: How the pod reaches the endpoint for progress.
        labels: Of the experiment.
        name: Of the experiment.
        order: More of the order.
    """
    made = build(
        experiment(spec, name=name, labels=dict(labels or {})),
        CreateJob(stage, KEY, **order),
        OperatorSettings.model_validate(settings or {}),
        progress,
    )
    kubernetes_validate.validate(made, KUBERNETES, strict=True)
    return made


def pod_of(made: Json) -> Json:
    """Returns the spec of a Job's pod."""
    spec: Json = made["spec"]["template"]["spec"]
    return spec


def runner_of(made: Json) -> Json:
    """Returns the runner's container of a Job."""
    (container,) = pod_of(made)["containers"]
    found: Json = container
    return found


def env_of(made: Json) -> dict[str, Json]:
    """Returns the container's variables by name."""
    return {each["name"]: each for each in runner_of(made)["env"]}


def values_of(made: Json) -> dict[str, str]:
    """Returns the variables that have values, as the process gets them."""
    found: dict[str, str] = {}
    for name, variable in env_of(made).items():
        if "value" in variable:
            found[name] = expanded(variable["value"], found)
    return found


def mounts_of(made: Json) -> dict[str, Json]:
    """Returns the container's mounts by path, each with its volume."""
    volumes = {each["name"]: each for each in pod_of(made)["volumes"]}
    return {
        each["mountPath"]: {**each, "volume": volumes[each["name"]]}
        for each in runner_of(made)["volumeMounts"]
    }


def expanded(value: str, known: Mapping[str, str]) -> str:
    """Returns what a container gets of a variable's value: the kubelet's expansion.

    After ``k8s.io/kubernetes/third_party/forked/golang/expansion``.
    """
    found, rest = "", value
    while "$" in rest:
        before, _, rest = rest.partition("$")
        found += before
        if rest.startswith("$"):
            found, rest = f"{found}$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, rest = rest[1:].partition(")")
            found += known.get(name, f"$({name})")
        else:
            found += "$"
    return found + rest
