"""Projections: from bodies as the API server sends them to the small values that are planned with.

Pure, and robust to anything: what is missing or of the wrong kind is taken as not there, since a
body may come from a newer API server, a queue manager or somebody's hands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from sparse_transfer_api.contract import RUNNER_CONTAINER, Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_api.status import SparseTransferStatus

from .bodies import Body, count, mapping, mappings, shared, text, time
from .names import ANNOTATION_RETRY, FIELD_MANAGER, LABEL_KEY, LABEL_RECORDED_ONLY, LABEL_STAGE
from .observed import JobEnd, ObservedExperiment, ObservedJob, ObservedPod, PodPhase

DEFAULT_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons to wait that are no trouble."""
_VAGUE = frozenset({"Error", "ContainerStatusUnknown", ""})
"""Reasons of an ended container that say less than the pod's own."""
_MAX_MESSAGE = 8192
"""Characters of a termination message; the kubelet keeps 4096 bytes."""


def observed_experiment(body: Body) -> ObservedExperiment:
    """Returns an experiment, with its spec parsed or with what is wrong with it."""
    meta = mapping(body, "metadata")
    policy = mapping(mapping(body, "spec"), "runPolicy")
    experiment, problem = _parsed(body, text(meta, "name"))
    return ObservedExperiment(
        name=text(meta, "name"),
        namespace=text(meta, "namespace"),
        uid=text(meta, "uid"),
        generation=count(meta, "generation"),
        created=time(meta, "creationTimestamp") or _UNKNOWN_TIME,
        experiment=experiment,
        problem=problem,
        status=observed_status(mapping(body, "status")),
        retry=text(mapping(meta, "annotations"), ANNOTATION_RETRY) or None,
        deleting=bool(meta.get("deletionTimestamp")),
        managed_by=text(policy, "managedBy") or None,
    )


def observed_status(status: Body) -> SparseTransferStatus:
    """Returns a status; fields that cannot be read are as if they were not there."""
    try:
        return SparseTransferStatus.model_validate(status)
    except ValidationError:
        kept: dict[str, Any] = {}
        for name, value in status.items():
            try:
                SparseTransferStatus.model_validate({name: value})
            except ValidationError:
                continue
            kept[name] = value
        return SparseTransferStatus.model_validate(kept)


def observed_job(body: Body, queue_label: str = DEFAULT_QUEUE_LABEL) -> ObservedJob | None:
    """Returns a stage's Job, or None for a Job that is of no stage.

    Args:
        body: As the API server sends it.
        queue_label: A Job with it belongs to a queue manager.
    """
    meta, spec, status = (mapping(body, name) for name in ("metadata", "spec", "status"))
    labels = mapping(meta, "labels")
    key = shared(labels, LABEL_KEY)
    try:
        stage = Stage(text(labels, LABEL_STAGE))
    except ValueError:
        return None
    if not key or not text(meta, "uid"):
        return None
    deadline = spec.get("activeDeadlineSeconds")
    end, ended = _job_end(status)
    return ObservedJob(
        name=text(meta, "name"),
        uid=shared(meta, "uid"),
        owner_uid=_owner_uid(meta),
        stage=stage,
        key=key,
        created=time(meta, "creationTimestamp") or _UNKNOWN_TIME,
        recorded_only=text(labels, LABEL_RECORDED_ONLY) == "true",
        suspended=spec.get("suspend") is True,
        queued=bool(text(labels, queue_label)),
        suspended_by=_suspended_by(meta) if spec.get("suspend") is True else None,
        started=time(status, "startTime"),
        failed=count(status, "failed"),
        active_deadline_seconds=deadline if isinstance(deadline, int) else None,
        end=end,
        ended=ended,
        deleting=bool(meta.get("deletionTimestamp")),
    )


def observed_pod(body: Body) -> ObservedPod:
    """Returns a pod of a stage's Job."""
    meta, status = mapping(body, "metadata"), mapping(body, "status")
    state = mapping(_runner(status), "state")
    running, ended, waiting = (
        mapping(state, name) for name in ("running", "terminated", "waiting")
    )
    exit_code = ended.get("exitCode")
    message = text(ended, "message")[:_MAX_MESSAGE]
    return ObservedPod(
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        job_uid=_owner_uid(meta),
        phase=_phase(status),
        created=time(meta, "creationTimestamp") or _UNKNOWN_TIME,
        started=time(running, "startedAt") or time(ended, "startedAt"),
        finished=time(ended, "finishedAt"),
        exit_code=exit_code if isinstance(exit_code, int) else None,
        ended_because=_ended_because(shared(ended, "reason"), shared(status, "reason")),
        message=message or None,
        waiting_because=_waiting(waiting),
        unschedulable=_unschedulable(status),
        disrupted=_disrupted(status),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def _parsed(body: Body, name: str) -> tuple[SparseTransferExperiment | None, str | None]:
    plain = {key: value for key, value in body.items() if key != "status"}
    try:
        # Ten times faster than the explaining parser, which only has to say what is wrong.
        return SparseTransferExperiment.model_validate(plain), None
    except ValidationError:
        pass
    try:
        return parse_experiment(plain, name), None
    except InputError as error:
        return None, str(error)


def _suspended_by(meta: Body) -> str | None:
    """Returns who else suspended a Job; None where this operator did, or where nobody says so."""
    for each in mappings(meta, "managedFields"):
        if "f:suspend" in mapping(mapping(each, "fieldsV1"), "f:spec"):
            manager = text(each, "manager")
            return manager if manager != FIELD_MANAGER else None
    return None


def _job_end(status: Body) -> tuple[JobEnd | None, tuple[datetime, str, str] | None]:
    for end in JobEnd:
        found = _condition(status, end.value)
        if found is not None:
            when = time(found, "lastTransitionTime") or _UNKNOWN_TIME
            return end, (when, shared(found, "reason"), shared(found, "message"))
    return None, None


def _runner(status: Body) -> Body:
    for each in mappings(status, "containerStatuses"):
        if each.get("name") == RUNNER_CONTAINER:
            return each
    return {}


def _phase(status: Body) -> PodPhase:
    try:
        return PodPhase(text(status, "phase") or PodPhase.PENDING)
    except ValueError:
        return PodPhase.UNKNOWN


def _ended_because(container: str, pod: str) -> str | None:
    if container in _VAGUE and pod:
        return pod
    return container or None


def _waiting(waiting: Body) -> tuple[str, str] | None:
    reason = text(waiting, "reason")
    if not reason or reason in _STARTING:
        return None
    return reason, text(waiting, "message")


def _unschedulable(status: Body) -> str | None:
    found = _condition(status, "PodScheduled", "False")
    if found is None or found.get("reason") != "Unschedulable":
        return None
    return text(found, "message") or "Unschedulable"


def _disrupted(status: Body) -> str | None:
    found = _condition(status, "DisruptionTarget")
    return None if found is None else text(found, "reason") or "DisruptionTarget"


def _condition(status: Body, kind: str, holds: str = "True") -> Body | None:
    for each in mappings(status, "conditions"):
        if each.get("type") == kind and each.get("status") == holds:
            return each
    return None


def _owner_uid(meta: Body) -> str:
    for each in mappings(meta, "ownerReferences"):
        if each.get("controller") is True:
            return shared(each, "uid")
    return ""
