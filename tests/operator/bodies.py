"""Bodies as the API server sends them, with only what matters to a test."""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import API_VERSION, KIND, LABEL_EXPERIMENT, LABEL_KEY, LABEL_STAGE

Body = dict[str, Any]

NAMESPACE = "language"
NAME = "film-reviews"
UID = "uid-of-the-experiment"
NOON = "2026-03-01T12:00:00Z"
KEY = "abcdefghij"


def experiment_body(version: int = 1, *, uid: str = UID, name: str = NAME, **more: Any) -> Body:
    """Returns an experiment.

    Args:
        version: Its resource version.
        uid: Its UID.
        name: Its name.
        more: ``metadata``, ``spec`` and ``status``, merged into what is there.
    """
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": uid,
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": NOON,
        "managedFields": [{"manager": "kubectl"}],
    }
    spec = {"useCase": "sentiment", "data": {"uri": "s3://bucket/reviews/"}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata | more.get("metadata", {}),
        "spec": spec | more.get("spec", {}),
        "status": more.get("status", {}),
    }


def job_body(
    version: int = 2,
    *,
    uid: str = "uid-of-the-job",
    owner: str = UID,
    stage: str = "train",
    labels: dict[str, str] | None = None,
    **more: Any,
) -> Body:
    """Returns a stage's Job.

    Args:
        version: Its resource version.
        uid: Its UID.
        owner: The UID of the experiment that owns it.
        stage: The stage.
        labels: More of them.
        more: ``metadata``, ``spec`` and ``status``.
    """
    metadata = {
        "name": f"{NAME}-{stage}-{KEY}",
        "namespace": NAMESPACE,
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": NOON,
        "labels": {LABEL_EXPERIMENT: NAME, LABEL_STAGE: stage, LABEL_KEY: KEY, **(labels or {})},
        "ownerReferences": [{"uid": owner, "controller": True}],
    }
    return {
        "metadata": metadata | more.get("metadata", {}),
        "spec": more.get("spec", {}),
        "status": more.get("status", {}),
    }


def pod_body(
    version: int = 3,
    *,
    uid: str = "uid-of-the-pod",
    job: str = "uid-of-the-job",
    state: Body | None = None,
    **status: Any,
) -> Body:
    """Returns a pod.

    Args:
        version: Its resource version.
        uid: Its UID.
        job: The UID of the Job that owns it.
        state: Of its runner container.
        status: More of its status.
    """
    containers = [{"name": "sidecar", "state": {"running": {"startedAt": NOON}}}]
    if state is not None:
        containers.append({"name": "runner", "state": state})
    return {
        "metadata": {
            "name": f"{NAME}-{uid}",
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": NOON,
            "labels": {LABEL_EXPERIMENT: NAME, LABEL_STAGE: "train", LABEL_KEY: KEY},
            "ownerReferences": [{"uid": job, "controller": True}],
        },
        "status": {"phase": "Pending", "containerStatuses": containers, **status},
    }
