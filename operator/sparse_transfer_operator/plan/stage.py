"""One stage: from its record, its Jobs and their pods to what follows.

A stage has at most two Jobs under its key: the main one, and one that only returns the recorded
result after the main one's was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparse_transfer_api.status import Rerun, StageStatus
from sparse_transfer_operator.actions import Action, CreateJob
from sparse_transfer_operator.observed import JobEnd, ObservedJob

from .bookkeeping import closed, taken_over
from .deadlines import Budget
from .judging import GRACE, Success, failure, news_may_come, success
from .live import live_step
from .standing import (
    Standing,
    Step,
    again,
    ended,
    failed_step,
    located,
    removals,
    standing_step,
)
from .view import View
from .waiting import RUNNING, WAITING_FOR_POD

SUPERSEDING = "Superseding"
JOB_NAME_TAKEN = "JobNameTaken"
WAITING_FOR_TURN = "WaitingForTurn"
SUSPENDED = "Suspended"
QUEUED = "Queued"
RESULT_LOST = Rerun.RESULT_LOST.value

_RESUME = "set spec.runPolicy.suspend to false to go on"


@dataclass(frozen=True)
class Task:
    """One stage and what matters to it.

    Args:
        view: What was observed.
        record: The stage's record under the wanted key.
        budget: What is left of the running time.
        blockers: Jobs that have to be gone before another one is made.
        level: Of a search: the level that the stage is of.
        starts: It may be begun; else it waits for the other levels of its search.
    """

    view: View
    record: StageStatus
    budget: Budget
    blockers: tuple[ObservedJob, ...] = ()
    level: float | None = None
    starts: bool = True

    def with_record(self, record: StageStatus) -> Task:
        """Returns the same task with another record."""
        return replace(self, record=record)


def advance(task: Task) -> Step:
    """Returns how the stage stands and what is to be done about it."""
    view, record = task.view, task.record
    stage, key = located(record)
    main, recovery = view.job(stage, key), view.job(stage, key, recorded_only=True)
    jobs = tuple(each for each in (main, recovery) if each is not None)
    if record.outcome == "Succeeded":
        return Step(record, Standing.DONE)
    if record.outcome == "Failed":
        live = [each for each in jobs if each.end is None]
        return Step(record, Standing.FAILED, removals(live))
    given_up = [each for each in jobs if _given_up(record, each)]
    record = record.model_copy(
        update={"replaces": tuple(each.uid for each in jobs if each.uid in record.replaces)}
    )
    if given_up:
        record = record.model_copy(update={"job": None, "attempt": None})
        return _until_gone(task.with_record(record), given_up)
    job = recovery or main
    task = task.with_record(taken_over(record, job, view.pods_of(job), view.now))
    for each in (recovery, main):
        proof = success(each, view.pods_of(each))
        if proof is not None:
            return _succeeded(task.record, proof)
    return _without_success(task, job, jobs)


def _without_success(task: Task, job: ObservedJob | None, jobs: tuple[ObservedJob, ...]) -> Step:
    if job is None:
        return _create(task)
    if job.end is not None:
        # Even while it is being deleted: what it came to may not be recorded yet.
        return _unproved(task, job, jobs)
    if job.deleting:
        return _until_gone(task, [job])
    return live_step(task.view, task.record, job, task.budget)


def _given_up(record: StageStatus, job: ObservedJob) -> bool:
    recovered = job.recorded_only and Rerun.RESULT_LOST in record.reruns
    return recovered or job.uid in record.replaces


def _until_gone(task: Task, jobs: Sequence[ObservedJob], *, removing: bool = True) -> Step:
    names = ", ".join(each.name for each in jobs)
    message = f"waits until Job {names} and its pods are gone"
    return _waiting(task, SUPERSEDING, message, removals(jobs) if removing else ())


def _waiting(task: Task, reason: str, message: str, actions: tuple[Action, ...] = ()) -> Step:
    """Returns the step of a stage that has no Job to run: waiting, or suspended meanwhile."""
    if task.view.policy.suspend:
        return standing_step(task.record, Standing.SUSPENDED, SUSPENDED, _RESUME, actions=actions)
    return standing_step(task.record, Standing.PENDING, reason, message, actions=actions)


def _succeeded(record: StageStatus, proof: Success) -> Step:
    pod, result = proof.pod, proof.result
    when = pod.finished or pod.created
    record = ended(
        closed(record, when),
        "Succeeded",
        when,
        result.reason,
        result.message,
        digests=result.digests,
        manifest_uri=result.manifest_uri,
    )
    return Step(record, Standing.DONE, result=result)


def _create(task: Task, *, recorded_only: bool = False) -> Step:
    """Returns the step that makes the stage's Job, unless something is in its way."""
    view, record = task.view, task.record
    stage, key = located(record)
    name = view.job_name(stage, key, recorded_only=recorded_only)
    if not task.starts:
        message = "waits for the levels that are tried before"
        return standing_step(record, Standing.PENDING, WAITING_FOR_TURN, message)
    if view.policy.suspend:
        return standing_step(record, Standing.SUSPENDED, SUSPENDED, _RESUME)
    if task.blockers:
        return _until_gone(task, task.blockers, removing=False)
    if name in view.taken:
        return standing_step(
            record,
            Standing.PENDING,
            JOB_NAME_TAKEN,
            f"Job {name} exists and belongs to another object; delete it, or wait until it is gone",
        )
    remaining = task.budget.remaining(record)
    if remaining is not None and remaining <= 0:
        spent = task.budget.failure()
        return failed_step(record, view.now, spent.reason, spent.message)
    order = CreateJob(
        stage,
        key,
        suspended=view.queued,
        recorded_only=recorded_only,
        active_deadline_seconds=remaining,
        level=task.level,
    )
    record = record.model_copy(
        update={"job": name, "attempt": 1, "disruptions": record.disruptions or 0}
    )
    if view.queued:
        message = f"Job {name} waits to be admitted by its queue manager"
        return standing_step(record, Standing.QUEUED, QUEUED, message, actions=[order])
    message = f"Job {name} has no pod yet"
    return standing_step(record, Standing.PENDING, WAITING_FOR_POD, message, actions=[order])


def _unproved(task: Task, job: ObservedJob, jobs: tuple[ObservedJob, ...]) -> Step:
    """Returns the step of a stage whose Job has ended without proof of success."""
    view, record = task.view, task.record
    pods = view.pods_of(job)
    when = job.ended[0] if job.ended is not None else view.now
    if news_may_come(job, pods) and view.now < when + GRACE:
        ran = record.start_time is not None
        return standing_step(
            record,
            Standing.RUNNING if ran else Standing.PENDING,
            RUNNING if ran else WAITING_FOR_POD,
            f"Job {job.name} has ended; waits for its pod's result",
            checks=[when + GRACE],
        )
    if job.recorded_only:
        return advance(task.with_record(again(record, jobs, Rerun.RESULT_LOST)))
    if job.end is JobEnd.FAILED:
        found = failure(job, pods)
        return failed_step(record, when, found.reason, found.message)
    if Rerun.RESULT_LOST in record.reruns:
        message = f"Job {job.name} completed, but its result was lost twice"
        return failed_step(record, when, RESULT_LOST, message)
    return _create(task, recorded_only=True)
