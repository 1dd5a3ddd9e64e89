"""What a plan wants done: values that say what, and nothing of how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import SparseTransferStatus


@dataclass(frozen=True)
class CreateJob:
    """Make a stage's Job.

    Args:
        stage: The stage.
        key: Its key.
        suspended: Make it suspended.
        recorded_only: Only return the recorded result, with prepare's resources.
        active_deadline_seconds: What is left of the experiment's running time; None without limit.
        level: Of a search: the level that the stage is of.
    """

    stage: Stage
    key: str
    suspended: bool = False
    recorded_only: bool = False
    active_deadline_seconds: int | None = None
    level: float | None = None


@dataclass(frozen=True)
class DeleteJob:
    """Delete a Job in the foreground: it is gone when its pods are.

    Args:
        name: The Job's.
        uid: The very Job that is meant; another of that name stays.
    """

    name: str
    uid: str


@dataclass(frozen=True)
class SetSuspend:
    """Suspend or resume a Job.

    Args:
        name: The Job's.
        uid: The very Job that is meant.
        suspend: What ``spec.suspend`` shall be.
    """

    name: str
    uid: str
    suspend: bool


@dataclass(frozen=True)
class DeleteExperiment:
    """Delete the experiment itself; owner references take its children with it."""


Action = CreateJob | DeleteJob | SetSuspend | DeleteExperiment


@dataclass(frozen=True)
class Event:
    """Something worth telling people.

    Args:
        reason: One CamelCase word.
        message: For people.
        warning: Something went wrong.
    """

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Plan:
    """What follows from what was observed.

    Args:
        status: What the status shall be, without ``progress``, which has a manager of its own.
        actions: To be done in order; repeating one that was done does no harm.
        events: To be told once the actions are done and the status is written.
        next_check: When to plan again though nothing happened; None when only events matter.
    """

    status: SparseTransferStatus
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    next_check: datetime | None = None
