"""Suspend and resume, with and without a queue manager."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .builders import Experiment, Job, experiment, job, pod
from .stage_results import at
from .words import condition, message, planned, record, words

TRAINING = experiment().done("prepare")
QUEUED = TRAINING.in_queue()


@dataclass(frozen=True)
class Case:
    """A situation, and what follows."""

    given: Experiment
    jobs: tuple[Job, ...]
    actions: list[str]
    phase: str


CASES = {
    "a suspended experiment makes no Job": Case(experiment().suspended(), (), [], "Suspended"),
    "suspension suspends the running Job": Case(
        TRAINING.suspended(), (job("train").running(),), ["suspend train"], "Suspended"
    ),
    "a suspended Job is left alone": Case(
        TRAINING.suspended(), (job("train").suspended(),), [], "Suspended"
    ),
    "resuming resumes the Job": Case(
        TRAINING, (job("train").suspended(),), ["resume train"], "Pending"
    ),
    "resuming makes the Job where there is none": Case(TRAINING, (), ["create train"], "Pending"),
    "a stage that ended before it was suspended is done, and the next one waits": Case(
        TRAINING.suspended(), (job("train").succeeded(),), [], "Suspended"
    ),
    "suspension does not hide a failure": Case(
        TRAINING.suspended(),
        (job("train").with_pod(pod().failed(10).saying("InvalidInput")).failed(),),
        [],
        "Failed",
    ),
    "a finished experiment cannot be suspended": Case(
        experiment().done("prepare", "train", "package").suspended(), (), [], "Succeeded"
    ),
    "in a queue a Job is made suspended": Case(QUEUED, (), ["create suspended train"], "Queued"),
    "in a queue a Job that is not admitted is queued, and left alone": Case(
        QUEUED, (job("train").in_queue().suspended(),), [], "Queued"
    ),
    "an admitted Job runs": Case(QUEUED, (job("train").in_queue().running(),), [], "Training"),
    "an admitted Job whose pod does not run yet is pending": Case(
        QUEUED, (job("train").in_queue(),), [], "Pending"
    ),
    "a Job that the queue manager stopped is queued again": Case(
        QUEUED, (job("train").in_queue().suspended().with_failures(1),), [], "Queued"
    ),
    "a Job that somebody else suspended is theirs to resume": Case(
        TRAINING, (job("train").suspended_by("kubectl-edit"),), [], "Queued"
    ),
    "a Job that somebody else suspended waits on in a suspended experiment": Case(
        TRAINING.suspended(), (job("train").suspended_by("kueue"),), [], "Suspended"
    ),
    "in a queue suspension deletes the running Job": Case(
        QUEUED.suspended(), (job("train").in_queue().running(),), ["delete train"], "Suspended"
    ),
    "in a queue suspension deletes the waiting Job": Case(
        QUEUED.suspended(), (job("train").in_queue().suspended(),), ["delete train"], "Suspended"
    ),
    "resuming waits until the deleted Job is gone": Case(
        QUEUED, (job("train").in_queue().being_deleted(),), [], "Pending"
    ),
    "a Job that was made before the queue's label came is suspended as others are": Case(
        QUEUED.suspended(), (job("train").running(),), ["suspend train"], "Suspended"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_that(case: Case) -> None:
    found = planned(case.given, *case.jobs)
    assert words(case.given, found) == case.actions
    assert found.status.phase == case.phase


def test_the_condition_says_how_to_go_on() -> None:
    found = planned(TRAINING.suspended(), job("train").suspended())
    assert condition(found, "Suspended") == "True Suspended"
    assert condition(found, "Ready") == "True Suspended"
    assert condition(found, "Failed") == "False InProgress"
    assert message(found, "Suspended") == "set spec.runPolicy.suspend to false to go on"


def test_a_pod_that_still_writes_its_checkpoint_is_named() -> None:
    found = planned(TRAINING.suspended(), job("train").suspended().running())
    assert message(found, "Suspended").startswith(f"pod {TRAINING.job_name('train')}-0 stops; ")


def test_a_stage_that_ran_and_waits_now_is_stopped_and_not_failed() -> None:
    owner = TRAINING.with_status(planned(TRAINING, job("train").running()).status).suspended()
    stopped = pod().failed(143).saying("Stopped", outcome="Stopped")
    found = planned(owner, job("train").suspended().with_pod(stopped))
    assert record(found, "train").outcome == "Stopped"
    assert record(found, "train").attempt == 1


def test_a_stage_that_never_ran_is_not_called_stopped() -> None:
    found = planned(TRAINING.suspended(), job("train").suspended())
    assert record(found, "train").outcome is None


def test_suspended_time_is_no_running_time() -> None:
    owner = TRAINING
    for jobs, now in (
        ((job("train").running(),), 10),
        ((job("train").suspended(),), 100),
        ((job("train").suspended(),), 5000),
        ((job("train").made(5000).running(),), 5010),
    ):
        owner = owner.with_status(planned(owner, *jobs, now=at(now)).status)
    (_, train) = owner.status.stages
    assert (train.active_seconds, train.active_since) == (100, at(5000))
    done = planned(owner, job("train").made(5000).with_pod(pod().succeeded(5050)).complete(5060))
    assert record(done, "train").active_seconds == 160


def test_an_experiment_suspended_from_the_start_is_ready_for_gitops() -> None:
    found = planned(experiment().suspended())
    assert condition(found, "Ready") == "True Suspended"
    assert condition(found, "Reconciling") == "False InProgress"
