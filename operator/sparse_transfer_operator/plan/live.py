"""A Job that has not ended: suspended, resumed, queued, stopped at a deadline, or left to work."""

from __future__ import annotations

from sparse_transfer_api.status import StageStatus
from sparse_transfer_operator.actions import Action, DeleteJob, SetSuspend
from sparse_transfer_operator.observed import ObservedJob

from .bookkeeping import closed
from .deadlines import Budget, deadlines
from .judging import finished
from .standing import Standing, Step, failed_step, standing_step
from .view import View
from .waiting import activity

RESUMING = "Resuming"


def live_step(view: View, record: StageStatus, job: ObservedJob, budget: Budget) -> Step:
    """Returns the step of a stage whose Job has not ended and is not being deleted.

    Args:
        view: What was observed.
        record: The stage's, with what its Job shows.
        job: The Job.
        budget: What is left of the running time.
    """
    if view.policy.suspend:
        return _suspended(view, record, job)
    if job.suspended and job.queued:
        message = f"Job {job.name} waits to be admitted by its queue manager"
        return standing_step(record, Standing.QUEUED, "Queued", message)
    if job.suspended and job.suspended_by is not None:
        message = f"Job {job.name} was suspended by {job.suspended_by}; waits until it is resumed"
        return standing_step(record, Standing.QUEUED, "Queued", message)
    if job.suspended:
        resume = SetSuspend(job.name, job.uid, suspend=False)
        message = f"Job {job.name} is resumed"
        return standing_step(record, Standing.PENDING, RESUMING, message, actions=[resume])
    return _unsuspended(view, record, job, budget)


def _suspended(view: View, record: StageStatus, job: ObservedJob) -> Step:
    stopping = [pod.name for pod in view.pods_of(job) if not finished(pod)]
    actions: list[Action] = []
    if job.queued:
        # The queue manager owns spec.suspend: without a Job there is nothing to admit.
        actions.append(DeleteJob(job.name, job.uid))
    elif not job.suspended:
        actions.append(SetSuspend(job.name, job.uid, suspend=True))
    message = "set spec.runPolicy.suspend to false to go on"
    if stopping:
        message = f"pod {', '.join(stopping)} stops; {message}"
    return standing_step(record, Standing.SUSPENDED, "Suspended", message, actions=actions)


def _unsuspended(view: View, record: StageStatus, job: ObservedJob, budget: Budget) -> Step:
    doing = activity(job, view.pods_of(job), view.policy.backoff_limit)
    ahead = deadlines(record, job, doing, budget, view.policy.pending_deadline_seconds)
    for deadline in ahead:
        if deadline.when <= view.now:
            return failed_step(
                closed(record, deadline.when),
                view.now,
                deadline.failure.reason,
                deadline.failure.message,
                [DeleteJob(job.name, job.uid)],
            )
    return standing_step(
        record,
        Standing.RUNNING if doing.running else Standing.PENDING,
        doing.reason,
        doing.message,
        checks=[each.when for each in ahead],
    )
