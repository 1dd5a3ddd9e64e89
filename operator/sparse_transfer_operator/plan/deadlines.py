"""Deadlines: the running time of all stages together, and the wait for the first running pod."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sparse_transfer_api.status import StageStatus
from sparse_transfer_operator.observed import ObservedJob

from .judging import DEADLINE_EXCEEDED, Failure
from .waiting import Activity

PENDING_DEADLINE_EXCEEDED = "PendingDeadlineExceeded"

SLACK = timedelta(seconds=10)
"""How long the Job controller, which keeps failed Jobs for their logs, goes first."""


@dataclass(frozen=True)
class Budget:
    """The experiment's running time.

    Args:
        limit: In seconds; None without limit.
        spent: By the stages before, in seconds.
    """

    limit: int | None
    spent: int = 0

    def remaining(self, record: StageStatus) -> int | None:
        """Returns the seconds that a stage has left at its next start; None without limit."""
        if self.limit is None:
            return None
        return self.limit - self.spent - (record.active_seconds or 0)

    def after(self, record: StageStatus) -> Budget:
        """Returns the budget of the stage after one that is done."""
        return Budget(self.limit, self.spent + (record.active_seconds or 0))

    def failure(self) -> Failure:
        """Returns what is said when nothing is left."""
        return Failure(
            DEADLINE_EXCEEDED,
            f"the stages ran for spec.runPolicy.activeDeadlineSeconds, {self.limit} s; raise it, "
            "and set the annotation sparsetransfer.dev/retry to go on",
        )


@dataclass(frozen=True)
class Deadline:
    """A moment at which a stage fails."""

    when: datetime
    failure: Failure


def deadlines(
    record: StageStatus,
    job: ObservedJob,
    doing: Activity,
    budget: Budget,
    pending_seconds: int | None,
) -> list[Deadline]:
    """Returns the deadlines of a Job that is live and not suspended, the earliest first.

    Args:
        record: Of its stage, its running time taken over.
        job: The Job.
        doing: What its pods do.
        budget: The experiment's running time.
        pending_seconds: From admission to the first running pod; None without limit.
    """
    found = [_active(record, job, budget), _pending(record, job, doing, pending_seconds)]
    return sorted((each for each in found if each is not None), key=lambda each: each.when)


def _active(record: StageStatus, job: ObservedJob, budget: Budget) -> Deadline | None:
    remaining = budget.remaining(record)
    if remaining is None or record.active_since is None:
        return None
    when = record.active_since + timedelta(seconds=max(0, remaining))
    own = job.active_deadline_seconds
    if own is not None and job.started is not None:
        fails_by_itself = job.started + timedelta(seconds=own) <= when
        when += SLACK if fails_by_itself else timedelta(0)
    return Deadline(when, budget.failure())


def _pending(
    record: StageStatus, job: ObservedJob, doing: Activity, seconds: int | None
) -> Deadline | None:
    if seconds is None or job.started is None:
        return None
    ran = record.last_start_time
    if ran is not None and ran >= job.started:
        return None
    return Deadline(
        job.started + timedelta(seconds=seconds),
        Failure(
            PENDING_DEADLINE_EXCEEDED,
            f"no pod ran within spec.runPolicy.pendingDeadlineSeconds, {seconds} s: "
            f"{doing.reason}: {doing.message}",
        ),
    )
