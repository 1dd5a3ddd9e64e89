"""What no schema says: a real API server takes every Job, and its pods are restricted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.cluster.access import Cluster
from tests.operator.jobs.manifests import job
from tests.operator.jobs.templates import SPECS
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import Stage

Json = dict[str, Any]

EXAMPLES = 20
LONGEST_NAME = "a" * 40
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"

SPECIAL: dict[str, tuple[Json, Json]] = {
    "as it is": ({}, {}),
    "a record's reader": ({}, {"recorded_only": True}),
    "suspended, with a deadline": ({}, {"suspended": True, "active_deadline_seconds": 60}),
    "shared memory": ({"template": {"shmSize": "1Gi"}}, {}),
    "claims, authorities and credentials": (
        {
            "data": {"uri": "pvc://data/x"},
            "output": {"uri": "pvc://runs.v1/x"},
            "storage": {"cache": {"claim": "cache"}, "s3": {"caBundle": {"configMap": "c"}}},
            "credentials": {"secretRef": {"name": "bucket"}},
        },
        {},
    ),
    "devices": (
        {"stages": {"train": {"resources": {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}}}}},
        {},
    ),
    "the cluster chooses the user": ({"template": {"podSecurityContext": {}}}, {}),
    "a group of the user's": ({"template": {"podSecurityContext": {"fsGroup": 2000}}}, {}),
}


@pytest.fixture(scope="module")
def restricted(control_plane: Cluster) -> Iterator[str]:
    """A namespace that refuses pods with more rights than the restricted standard allows."""
    name = control_plane.namespace()
    control_plane.kubectl("label", "namespace", name, RESTRICTED)
    yield name
    control_plane.remove_namespace(name)


def taken(cluster: Cluster, namespace: str, objects: Sequence[Json]) -> list[str]:
    """Returns the kinds of the objects that the API server would make of these."""
    renamed = [
        {**each, "metadata": {**each["metadata"], "namespace": namespace, "name": f"a-{number}"}}
        for number, each in enumerate(objects)
    ]
    arguments = ("create", "--dry-run=server", "--validate=strict", "--output=name", "-f", "-")
    # As JSON: kubectl reads PyYAML's unquoted y and n as booleans.
    listed = {"apiVersion": "v1", "kind": "List", "items": renamed}
    return cluster.kubectl(*arguments, stdin=json.dumps(listed)).stdout.split()


def pod(made: Json) -> Json:
    """Returns the pod that a Job would make."""
    template = made["spec"]["template"]
    spec = {**template["spec"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": spec}


@pytest.mark.parametrize("stage", Stage)
def test_the_api_server_takes_every_kind_of_job(
    control_plane: Cluster, restricted: str, stage: Stage
) -> None:
    made = [job(spec, stage=stage, **order) for spec, order in SPECIAL.values()]
    assert len(taken(control_plane, restricted, made)) == len(SPECIAL)


@settings(max_examples=3, phases=[Phase.generate], deadline=None)
@given(specs=st.lists(SPECS, min_size=EXAMPLES, max_size=EXAMPLES))
def test_the_api_server_takes_jobs_with_random_templates(
    control_plane: Cluster, restricted: str, specs: list[Json]
) -> None:
    made = [job(spec) for spec in specs]
    assert len(taken(control_plane, restricted, made)) == EXAMPLES


def test_pods_keep_the_restricted_standard(control_plane: Cluster, restricted: str) -> None:
    made = [pod(job(spec, **order)) for spec, order in SPECIAL.values()]
    assert len(taken(control_plane, restricted, made)) == len(SPECIAL)


def test_only_a_folder_of_the_node_asks_for_more(control_plane: Cluster, restricted: str) -> None:
    made = pod(job({"storage": {"cache": {"hostPath": "/var/models"}}}))
    with pytest.raises(AssertionError, match=r"restricted volume types.*hostPath"):
        taken(control_plane, restricted, [made])


def test_the_longest_names_give_a_job_and_a_pod(control_plane: Cluster, namespace: str) -> None:
    made = job(recorded_only=True, name=LONGEST_NAME)
    metadata = {name: made["metadata"][name] for name in ("name", "labels")}
    control_plane.apply({**made, "metadata": metadata}, namespace=namespace)
    selector = ",".join(f"{name}={value}" for name, value in metadata["labels"].items())
    arguments = ("pods", f"--namespace={namespace}", f"--selector={selector}")
    wait_until(lambda: bool(control_plane.get(*arguments)["items"]), "the Job's pod")
