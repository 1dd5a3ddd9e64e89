"""How a Job ended.

Success is proved by a stage result and by nothing else. Of a failure, whatever says most is told:
the runner's own result, the container's state, the Job's condition, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sparse_transfer_api.errors import OutOfMemory, OutputVanished, SparseTransferError, Stopped
from sparse_transfer_api.records import StageResult
from sparse_transfer_operator.observed import ObservedJob, ObservedPod, PodPhase

from .view import Pods

GRACE = timedelta(seconds=15)
"""How long a Job's end waits for the news of its pods: they come by another watch."""

DEADLINE_EXCEEDED = "DeadlineExceeded"
"""As the Job controller calls it."""
OUTPUT_VANISHED = OutputVanished.reason

_KILLED = 137
_TELLS_NOTHING = frozenset({"Error", "Completed", "ContainerStatusUnknown"})
"""Reasons of an ended container that say less than its exit code."""
_REASONS: Mapping[int | None, str] = {
    int(cls.exit_code): cls.reason for cls in SparseTransferError.__subclasses__()
}


@dataclass(frozen=True)
class Success:
    """A pod that proved success, and its proof."""

    pod: ObservedPod
    result: StageResult


@dataclass(frozen=True)
class Failure:
    """Why a Job failed."""

    reason: str
    message: str


def finished(pod: ObservedPod) -> bool:
    """Whether a pod has ended for good."""
    return pod.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)


def success(job: ObservedJob | None, pods: Pods) -> Success | None:
    """Returns the proof that a Job's stage succeeded."""
    for pod in reversed(pods):
        if job is not None and pod.phase is PodPhase.SUCCEEDED:
            result = _result(job, pod)
            if result is not None and result.outcome == "Succeeded" and _tells_keys(result):
                return Success(pod, result)
    return None


def news_may_come(job: ObservedJob, pods: Pods) -> bool:
    """Whether an ended Job's pods have not been seen to end, though one should be there."""
    if job.ended is not None and job.ended[1] == DEADLINE_EXCEEDED:
        return False
    return not pods or not finished(pods[-1])


def failure(job: ObservedJob, pods: Pods) -> Failure:
    """Returns why a Job failed: by its last pod that counts, else by the Job's own condition."""
    _, job_reason, job_message = job.ended or (None, "", "")
    counted = [pod for pod in pods if pod.phase is PodPhase.FAILED and pod.disrupted is None]
    if job_reason == DEADLINE_EXCEEDED:
        return Failure(job_reason, job_message or "the running time is used up")
    if not counted:
        return Failure(job_reason or "JobFailed", job_message or f"Job {job.name} failed")
    found = _pod_failure(job, counted[-1])
    if found.reason == Stopped.reason:  # which is no failure, but happened too often
        found = Failure(job_reason or "JobFailed", found.message)
    attempts = max(job.failed, 1)
    if attempts == 1:
        return found
    return Failure(found.reason, f"after {attempts} attempts: {found.message}")


def attempt_failure(job: ObservedJob, pods: Pods) -> Failure | None:
    """Returns why the last attempt that counts failed, while the Job goes on trying."""
    counted = [pod for pod in pods if pod.phase is PodPhase.FAILED and pod.disrupted is None]
    return _pod_failure(job, counted[-1]) if counted else None


def _pod_failure(job: ObservedJob, pod: ObservedPod) -> Failure:
    result = _result(job, pod)
    if result is not None and result.outcome != "Succeeded":
        return Failure(result.reason, result.message)
    because = pod.ended_because or ""
    if because == "OOMKilled" or pod.exit_code == _KILLED:
        return Failure(OutOfMemory.reason, f"pod {pod.name} was killed: it took too much memory")
    if because and because not in _TELLS_NOTHING:
        return Failure(because, _ended(pod))
    return Failure(_REASONS.get(pod.exit_code, "RunnerFailed"), _ended(pod))


def _tells_keys(result: StageResult) -> bool:
    """Whether the next stage's key follows from a result: its digests had room."""
    return "digests" not in result.omitted


def _ended(pod: ObservedPod) -> str:
    code = "without an exit code" if pod.exit_code is None else f"with exit code {pod.exit_code}"
    text = f"pod {pod.name} ended {code}"
    said = (pod.message or "").strip()
    return f"{text}: {said}" if said else text


def _result(job: ObservedJob, pod: ObservedPod) -> StageResult | None:
    if not pod.message:
        return None
    try:
        result = StageResult.from_termination_message(pod.message)
    except ValueError:
        return None
    return result if (result.stage, result.key) == (job.stage, job.key) else None
