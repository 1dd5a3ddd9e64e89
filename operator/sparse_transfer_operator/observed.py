"""What the operator sees of the cluster: small values, projected out of Jobs and pods.

The state machine takes these and nothing else, so that a test can write down any situation, and so
that thousands of experiments fit into memory: whole bodies are never kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_api.status import SparseTransferStatus


class PodPhase(StrEnum):
    """A pod's phase, as Kubernetes names it."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class JobEnd(StrEnum):
    """How a Job ended; while its last pods still stop, it has not ended."""

    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """One pod of a stage's Job.

    Args:
        name: The pod's.
        uid: The pod's.
        job_uid: Of the Job that owns it.
        phase: Its phase.
        created: When it was made.
        started: When its runner container ran first; None before.
        finished: When its runner container ended.
        exit_code: Of its runner container.
        ended_because: The container state's reason, such as ``OOMKilled``; or the pod's own, such
            as ``Evicted``.
        message: The termination message: a ``StageResult`` where the runner had time to write it.
        waiting_because: Why the container does not start, such as ``ErrImagePull``; with its text.
        unschedulable: The scheduler's message, where no node fits.
        disrupted: The reason of its DisruptionTarget condition, such as ``EvictionByEvictionAPI``.
        deleting: It is being deleted.
    """

    name: str
    uid: str
    job_uid: str
    phase: PodPhase
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    ended_because: str | None = None
    message: str | None = None
    waiting_because: tuple[str, str] | None = None
    unschedulable: str | None = None
    disrupted: str | None = None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class ObservedJob:
    """One Job of an experiment.

    Args:
        name: The Job's.
        uid: The Job's.
        owner_uid: Of the experiment that owns it.
        stage: Whose it is, by its label.
        key: The stage's key, by its label.
        created: When it was made.
        recorded_only: It only returns a recorded result.
        suspended: ``spec.suspend``.
        queued: A queue manager's label is on it, so that ``spec.suspend`` is the manager's.
        suspended_by: Who else than this operator suspended it last, as the API server names field
            managers.
        started: When it was last started or resumed; None while suspended.
        failed: Pods that failed and count.
        active_deadline_seconds: As it was made.
        end: How it ended; None while it has not.
        ended: When it ended, with the reason and message of the condition that says so.
        deleting: It is being deleted; its pods may still stop.
    """

    name: str
    uid: str
    owner_uid: str
    stage: Stage
    key: str
    created: datetime
    recorded_only: bool = False
    suspended: bool = False
    queued: bool = False
    suspended_by: str | None = None
    started: datetime | None = None
    failed: int = 0
    active_deadline_seconds: int | None = None
    end: JobEnd | None = None
    ended: tuple[datetime, str, str] | None = None
    deleting: bool = False


@dataclass(frozen=True)
class Children:
    """All Jobs and pods of one experiment."""

    jobs: tuple[ObservedJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()


@dataclass(frozen=True)
class ObservedExperiment:
    """One experiment, as the API server has it.

    Args:
        name: The experiment's.
        namespace: Its namespace.
        uid: Its UID.
        generation: Of its spec.
        created: When it was made.
        experiment: Parsed; None where the spec is not valid.
        problem: What is wrong with the spec, where it is not valid.
        status: As last written; empty before.
        retry: The value of the retry annotation.
        deleting: It is being deleted.
        managed_by: ``spec.runPolicy.managedBy`` as it is written, even where the spec is not valid.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    experiment: SparseTransferExperiment | None
    problem: str | None = None
    status: SparseTransferStatus = field(default_factory=SparseTransferStatus)
    retry: str | None = None
    deleting: bool = False
    managed_by: str | None = None
