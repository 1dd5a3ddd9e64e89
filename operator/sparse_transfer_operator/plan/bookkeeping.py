"""What a stage's record takes over from its Job and pods: attempts, disruptions, times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sparse_transfer_api.status import StageStatus
from sparse_transfer_operator.observed import JobEnd, ObservedJob

from .view import Pods


def taken_over(
    record: StageStatus, job: ObservedJob | None, pods: Pods, now: datetime
) -> StageStatus:
    """Returns the record with what is seen of the stage's Job.

    Args:
        record: Of the stage.
        job: Its Job; None where there is none.
        pods: The Job's, oldest first.
        now: The time.
    """
    update = _running_time(record, job, now)
    if job is not None:
        update |= {"job": job.name, "attempt": _attempt(job)}
        update |= _disruptions(record, pods)
        update |= _starts(record, pods)
    return record.model_copy(update=update)


def closed(record: StageStatus, when: datetime) -> StageStatus:
    """Returns the record with the running time counted up to the stage's end."""
    return record.model_copy(update=_interval_ended(record, when))


def _attempt(job: ObservedJob) -> int:
    # When the Job gave up, no attempt followed the last failure.
    return max(1, job.failed if job.end is JobEnd.FAILED else job.failed + 1)


def _disruptions(record: StageStatus, pods: Pods) -> dict[str, Any]:
    """Counts each disrupted pod once, though it may vanish.

    Pods of a Job come one after the other, so that the time of the newest one counted tells them
    apart.
    """
    last = record.last_disruption_time
    lost = [pod.created for pod in pods if pod.disrupted and (last is None or pod.created > last)]
    if not lost:
        return {"disruptions": record.disruptions or 0}
    return {
        "disruptions": (record.disruptions or 0) + len(lost),
        "last_disruption_time": max(lost),
    }


def _starts(record: StageStatus, pods: Pods) -> dict[str, Any]:
    starts = [pod.started for pod in pods if pod.started is not None]
    if not starts:
        return {}
    newest = max(starts)
    if record.last_start_time is not None:
        newest = max(newest, record.last_start_time)
    return {"start_time": record.start_time or min(starts), "last_start_time": newest}


def _running_time(record: StageStatus, job: ObservedJob | None, now: datetime) -> dict[str, Any]:
    """Follows the Job's running time: from its start to its suspension, its end or its loss.

    An interval that was followed by another before anybody looked has no known end, and is not
    counted: better than to count the time in between, which may be days in a queue.
    """
    since = None if job is None or _stands_still(job) else job.started
    if since is not None:
        return {} if since == record.active_since else {"active_since": since}
    if job is None or job.ended is None:
        return _interval_ended(record, now)
    if record.active_seconds is None:
        # It may have come and gone between two looks.
        record = record.model_copy(update={"active_since": record.active_since or job.started})
    return _interval_ended(record, job.ended[0])


def _stands_still(job: ObservedJob) -> bool:
    return job.suspended or job.deleting or job.end is not None


def _interval_ended(record: StageStatus, when: datetime) -> dict[str, Any]:
    if record.active_since is None:
        return {}
    seconds = max(0, round((when - record.active_since).total_seconds()))
    return {"active_since": None, "active_seconds": (record.active_seconds or 0) + seconds}
