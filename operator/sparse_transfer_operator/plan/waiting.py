"""What a live Job's pods are doing: whether one runs, and if not, what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from sparse_transfer_operator.observed import ObservedJob, ObservedPod

from .judging import attempt_failure, finished
from .view import Pods

WAITING_FOR_POD = "WaitingForPod"
POD_STARTING = "PodStarting"
UNSCHEDULABLE = "Unschedulable"
RUNNING = "Running"


@dataclass(frozen=True)
class Activity:
    """What the newest pod is doing.

    Args:
        running: It runs, or ran and has just ended.
        reason: Why it does not run, or Running.
        message: The same for people.
    """

    running: bool
    reason: str
    message: str


def activity(job: ObservedJob, pods: Pods, backoff_limit: int) -> Activity:
    """Returns what the Job's newest pod is doing.

    Args:
        job: It has not ended and is not suspended.
        pods: Its pods, oldest first.
        backoff_limit: Failed attempts that it may have.
    """
    if not pods:
        return Activity(False, WAITING_FOR_POD, f"Job {job.name} has no pod yet")
    newest = pods[-1]
    if newest.started is not None:
        return Activity(True, RUNNING, _attempt(job, pods, backoff_limit))
    if finished(newest):
        reason = newest.disrupted or newest.ended_because or "PodFailed"
        return Activity(False, reason, f"pod {newest.name} ended before it ran")
    return Activity(False, *_obstacle(newest))


def _obstacle(pod: ObservedPod) -> tuple[str, str]:
    if pod.waiting_because is not None:
        reason, text = pod.waiting_because
        return reason, f"pod {pod.name}: {text or reason}"
    if pod.unschedulable is not None:
        return UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}"
    return POD_STARTING, f"pod {pod.name} starts"


def _attempt(job: ObservedJob, pods: Pods, backoff_limit: int) -> str:
    if job.failed == 0:
        return ""
    text = f"attempt {job.failed + 1} of {backoff_limit + 1}"
    last = attempt_failure(job, pods)
    return text if last is None else f"{text}; the one before: {last.reason}: {last.message}"
