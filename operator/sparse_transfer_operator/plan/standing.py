"""How one stage stands, and what is to be done about it: what the judges of a stage hand on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Literal

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.message import bounded
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.status import Rerun, StageStatus
from sparse_transfer_operator.actions import Action, DeleteJob
from sparse_transfer_operator.observed import ObservedJob

from .texts import reason_or


class Standing(Enum):
    """How a stage stands."""

    PENDING = auto()
    """Nothing runs yet, or not at the moment."""
    QUEUED = auto()
    """A queue manager has not admitted its Job."""
    SUSPENDED = auto()
    """The user wants it to wait."""
    RUNNING = auto()
    """A pod runs, or has just ended."""
    FAILED = auto()
    DONE = auto()


@dataclass(frozen=True)
class Step:
    """What follows for one stage.

    Args:
        record: What the status says of the stage from now on.
        standing: How it stands.
        actions: What is to be done.
        checks: When to look again though nothing happened.
        result: What the stage handed over, where it has just succeeded.
    """

    record: StageStatus
    standing: Standing
    actions: tuple[Action, ...] = ()
    checks: tuple[datetime, ...] = ()
    result: StageResult | None = None


def standing_step(
    record: StageStatus,
    standing: Standing,
    reason: str,
    message: str,
    *,
    actions: Iterable[Action] = (),
    checks: Iterable[datetime] = (),
) -> Step:
    """Returns the step of a stage that has not ended.

    The record calls it Running only while a pod runs, and Stopped when it ran and was made to wait.
    """
    outcome = None
    if standing is Standing.RUNNING:
        outcome = "Running"
    elif standing in (Standing.SUSPENDED, Standing.QUEUED) and record.start_time is not None:
        outcome = "Stopped"
    update = {
        "outcome": outcome,
        "reason": reason_or(reason, "Pending"),
        "message": bounded(message),
    }
    return Step(record.model_copy(update=update), standing, tuple(actions), tuple(checks))


def ended(
    record: StageStatus,
    outcome: Literal["Succeeded", "Failed"],
    when: datetime,
    reason: str,
    message: str,
    **more: Any,
) -> StageStatus:
    """Returns the record of a stage that has ended."""
    return record.model_copy(
        update={
            "outcome": outcome,
            "completion_time": when.replace(microsecond=0),
            "reason": reason_or(reason, "Failed"),
            "message": bounded(message),
            **more,
        }
    )


def failed_step(
    record: StageStatus,
    when: datetime,
    reason: str,
    message: str,
    actions: Iterable[Action] = (),
) -> Step:
    """Returns the step of a stage that has just failed."""
    record = ended(record, "Failed", when, reason, message)
    return Step(record, Standing.FAILED, tuple(actions))


def fresh(record: StageStatus, jobs: Iterable[ObservedJob]) -> StageStatus:
    """Returns the record of a stage that starts anew under its key, once these Jobs are gone."""
    return StageStatus(name=record.name, key=record.key, replaces=_uids(jobs))


def again(
    record: StageStatus, jobs: Iterable[ObservedJob], why: Rerun | None = None
) -> StageStatus:
    """Returns the record of a stage that the operator itself runs again.

    What it has used up of the running time counts on.

    Args:
        record: As it was.
        jobs: Have to be gone before.
        why: Is remembered, so that it happens once; None where the stage is not the cause.
    """
    reruns = record.reruns if why is None or why in record.reruns else (*record.reruns, why)
    kept = {"reruns": reruns, "active_seconds": record.active_seconds}
    return fresh(record, jobs).model_copy(update=kept)


def removals(jobs: Iterable[ObservedJob]) -> tuple[DeleteJob, ...]:
    """Returns the deletions of Jobs that are not being deleted yet."""
    return tuple(DeleteJob(each.name, each.uid) for each in jobs if not each.deleting)


def located(record: StageStatus) -> tuple[Stage, str]:
    """Returns a record's stage and key.

    Raises:
        ValueError: It has no key: it is of no run.
    """
    if record.key is None:
        raise ValueError(f"{record.name}: the record has no key")
    return record.name, record.key


def _uids(jobs: Iterable[ObservedJob]) -> tuple[str, ...]:
    return tuple(sorted({each.uid for each in jobs}))
