"""Bodies of the API server become what is planned with, whatever is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.bodies import KEY, NOON, UID, experiment_body, job_body, pod_body

from sparse_transfer_api.contract import LABEL_RECORDED_ONLY
from sparse_transfer_api.status import Phase
from sparse_transfer_operator.names import ANNOTATION_RETRY, FIELD_MANAGER
from sparse_transfer_operator.observed import JobEnd, PodPhase
from sparse_transfer_operator.projection import (
    DEFAULT_QUEUE_LABEL,
    observed_experiment,
    observed_job,
    observed_pod,
    observed_status,
)

TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = "2026-03-01T13:00:00Z"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *("metadata", "spec", "status", "labels", "annotations", "conditions", "containerStatuses"),
    *("state", "terminated", "ownerReferences", "uid", "name", "phase", "stages", "generation"),
)
bodies = st.recursive(
    json_values,
    lambda inner: (
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=5) | st.lists(inner, max_size=3)
    ),
    max_leaves=20,
).filter(lambda value: isinstance(value, dict))


def test_a_valid_experiment_is_parsed() -> None:
    metadata = {"annotations": {ANNOTATION_RETRY: "2"}, "deletionTimestamp": NOON}
    seen = observed_experiment(experiment_body(metadata=metadata, status={"phase": "Training"}))
    assert seen.experiment is not None
    assert seen.experiment.spec.data.uri == "s3://bucket/reviews/"
    assert seen.problem is None
    assert (seen.uid, seen.generation, seen.created) == (UID, 1, TIME)
    assert (seen.retry, seen.deleting, seen.status.phase) == ("2", True, Phase.TRAINING)


def test_an_experiment_that_is_not_valid_says_what_is_wrong() -> None:
    spec = {"useCase": "poetry", "runPolicy": {"managedBy": "somebody/else"}}
    seen = observed_experiment(experiment_body(spec=spec))
    assert seen.experiment is None
    assert seen.problem is not None
    assert "spec.useCase" in seen.problem
    assert seen.managed_by == "somebody/else"


def test_a_null_in_a_spec_is_the_same_as_nothing() -> None:
    assert observed_experiment(experiment_body(spec={"training": None})).experiment is not None


def test_fields_of_a_status_that_cannot_be_read_are_not_there() -> None:
    status = observed_status({"phase": "Dreaming", "observedGeneration": 3, "news": True})
    assert (status.phase, status.observed_generation) == (None, 3)


def test_a_running_job() -> None:
    labels = {DEFAULT_QUEUE_LABEL: "gpus", LABEL_RECORDED_ONLY: "true"}
    spec = {"suspend": True, "activeDeadlineSeconds": 60}
    job = observed_job(job_body(labels=labels, spec=spec, status={"startTime": NOON, "failed": 2}))
    assert job is not None
    assert (job.stage, job.key, job.owner_uid, job.failed) == ("train", KEY, UID, 2)
    assert (job.suspended, job.queued, job.recorded_only) == (True, True, True)
    assert (job.started, job.active_deadline_seconds, job.end) == (TIME, 60, None)


@pytest.mark.parametrize(
    ("kind", "status", "end"),
    [
        ("Complete", "True", JobEnd.COMPLETE),
        ("Failed", "True", JobEnd.FAILED),
        ("Failed", "False", None),
        ("FailureTarget", "True", None),
        ("SuccessCriteriaMet", "True", None),
    ],
)
def test_a_job_has_ended_when_its_last_pods_have(
    kind: str, status: str, end: JobEnd | None
) -> None:
    condition = {"type": kind, "status": status, "lastTransitionTime": NOON, "reason": "Because"}
    job = observed_job(job_body(status={"conditions": [condition]}))
    assert job is not None
    assert job.end is end
    assert job.ended == (None if end is None else (TIME, "Because", ""))


@pytest.mark.parametrize("labels", [{"sparsetransfer.dev/stage": "dance"}, {}])
def test_a_job_of_no_stage_is_none_of_ours(labels: dict[str, str]) -> None:
    assert observed_job(job_body(metadata={"labels": labels})) is None


def test_a_job_belongs_to_the_queue_manager_whose_label_it_has() -> None:
    job = observed_job(job_body(labels={"other.io/queue": "a"}), "other.io/queue")
    assert job is not None
    assert job.queued


@pytest.mark.parametrize(
    ("manager", "suspend", "who"),
    [
        ("kueue", True, "kueue"),
        (FIELD_MANAGER, True, None),
        ("kueue", False, None),
        (None, True, None),
    ],
)
def test_it_is_known_who_else_suspended_a_job(
    manager: str | None, suspend: bool, who: str | None
) -> None:
    fields = [
        {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {"f:active": {}}}},
        {"manager": manager, "fieldsV1": {"f:spec": {"f:suspend": {}}}},
    ]
    metadata = {"managedFields": fields if manager else fields[:1]}
    job = observed_job(job_body(metadata=metadata, spec={"suspend": suspend}))
    assert job is not None
    assert job.suspended_by == who


def test_a_pod_that_ended() -> None:
    ended = {
        "exitCode": 137,
        "reason": "OOMKilled",
        "message": "{}",
        "startedAt": NOON,
        "finishedAt": LATER,
    }
    pod = observed_pod(pod_body(state={"terminated": ended}, phase="Failed"))
    assert (pod.phase, pod.exit_code, pod.ended_because) == (PodPhase.FAILED, 137, "OOMKilled")
    assert (pod.message, pod.started, pod.job_uid) == ("{}", TIME, "uid-of-the-job")
    assert pod.finished is not None


@pytest.mark.parametrize(
    ("status", "attribute", "value"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "waiting_because", None),
        (
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}},
            "waiting_because",
            ("ErrImagePull", "no such image"),
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ]
            },
            "unschedulable",
            "0/3 nodes are available",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Gated"}]},
            "unschedulable",
            None,
        ),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "EvictionByEvictionAPI",
                    }
                ]
            },
            "disrupted",
            "EvictionByEvictionAPI",
        ),
        ({"reason": "Evicted", "phase": "Failed"}, "ended_because", "Evicted"),
        (
            {"reason": "Evicted", "state": {"terminated": {"reason": "Error", "exitCode": 1}}},
            "ended_because",
            "Evicted",
        ),
        ({"phase": "Glowing"}, "phase", PodPhase.UNKNOWN),
    ],
)
def test_why_a_pod_does_not_run(status: dict[str, Any], attribute: str, value: Any) -> None:
    assert getattr(observed_pod(pod_body(**status)), attribute) == value


@given(bodies)
def test_any_body_is_taken(body: dict[str, Any]) -> None:
    observed_experiment(body)
    observed_job(body)
    observed_pod(body)
