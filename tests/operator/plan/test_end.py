"""After the end: acceptance, what expires, and that nothing is made again."""

from __future__ import annotations

import pytest

from sparse_transfer_operator.actions import DeleteExperiment

from .builders import Experiment, experiment, job, pod
from .stage_results import at, results
from .words import condition, message, planned, words

DONE = experiment().done("prepare", "train", "package")
JOBS = (job("prepare").succeeded(), job("train").succeeded(), job("package").succeeded())
DAY, WEEK = 86_400, 604_800

ACCEPTANCE = {
    "no criteria": ({}, "Succeeded"),
    "reached": ({"minRecovery": 0.98, "minSpeedup": 3.0}, "Succeeded"),
    "recovery missed": ({"minRecovery": 0.99}, "Failed"),
    "speed-up missed": ({"minSpeedup": 3.1}, "Failed"),
}


@pytest.mark.parametrize(("acceptance", "phase"), ACCEPTANCE.values(), ids=ACCEPTANCE.keys())
def test_the_result_is_judged(acceptance: dict[str, float], phase: str) -> None:
    assert planned(DONE.with_spec(acceptance=acceptance)).status.phase == phase


def test_a_missed_acceptance_keeps_what_came_out() -> None:
    owner = experiment().done("prepare", "train").with_spec(acceptance={"minSpeedup": 10})
    found = planned(owner, job("package").succeeded())
    assert found.status.results == results()
    assert found.status.artifacts
    assert condition(found, "Packaged") == "True Completed"
    assert condition(found, "Complete") == "False AcceptanceMissed"
    assert condition(found, "Failed") == condition(found, "Stalled") == "True AcceptanceMissed"
    assert message(found, "Failed") == "speed-up at the headline is 3; at least 10 is required"


def test_an_edited_acceptance_judges_again_without_a_job() -> None:
    strict = DONE.with_spec(acceptance={"minSpeedup": 10})
    strict = strict.with_status(planned(strict).status)
    lenient = strict.edited(acceptance={"minSpeedup": 2})
    found = planned(lenient)
    assert (found.actions, found.status.phase) == ((), "Succeeded")
    assert condition(found, "Failed") == "False Completed"
    back = lenient.with_status(found.status).edited(acceptance={"minSpeedup": 10})
    assert planned(back).status.phase == "Failed"


def test_without_results_no_criterion_is_reached() -> None:
    owner = experiment().done("prepare", "train").with_spec(acceptance={"minSpeedup": 2})
    found = planned(owner, job("package").succeeded(results=None))
    assert condition(found, "Failed") == "True AcceptanceMissed"
    assert (
        planned(owner.with_spec(acceptance={}), job("package").succeeded(results=None)).status.phase
        == "Succeeded"
    )


# ---- expiry --------------------------------------------------------------------------------------


def test_jobs_are_kept_for_a_day_after_success() -> None:
    found = planned(DONE, *JOBS)
    assert (found.actions, found.next_check) == ((), at(DAY))
    expired = planned(DONE, *JOBS, now=at(DAY))
    assert words(DONE, expired) == ["delete prepare", "delete train", "delete package"]


def test_jobs_are_kept_for_a_week_after_failure() -> None:
    owner = experiment()
    failed = job("prepare").with_pod(pod().failed(10).saying("InvalidInput")).failed(when=0)
    owner = owner.with_status(planned(owner, failed).status)
    assert planned(owner, failed).next_check == at(WEEK)
    assert words(owner, planned(owner, failed, now=at(WEEK))) == ["delete prepare"]


def test_a_missed_acceptance_is_a_failure_to_expiry_too() -> None:
    assert planned(DONE.with_spec(acceptance={"minSpeedup": 10}), *JOBS).next_check == at(WEEK)


def test_the_user_says_how_long() -> None:
    owner = DONE.policy(ttlSecondsAfterFinished={"succeeded": 100, "failed": 5})
    assert planned(owner, *JOBS).next_check == at(100)


def test_jobs_do_not_expire_while_a_later_stage_runs() -> None:
    owner = experiment().done("prepare")
    found = planned(owner, job("prepare").succeeded(), job("train").running(), now=at(10 * WEEK))
    assert found.actions == ()


def test_expired_jobs_that_are_being_deleted_are_left_alone() -> None:
    assert planned(DONE, *(each.being_deleted() for each in JOBS), now=at(DAY)).actions == ()


def test_after_expiry_the_experiment_stays_and_nothing_is_made_again() -> None:
    owner = DONE.with_status(planned(DONE, *JOBS).status)
    found = planned(owner, now=at(100 * WEEK))
    assert (found.status, found.actions, found.next_check) == (owner.status, (), None)


def test_the_experiment_itself_is_deleted_only_where_the_user_says_so() -> None:
    owner = DONE.policy(deleteAfterSeconds=100)
    assert planned(owner).next_check == at(100)
    assert planned(owner, now=at(100)).actions == (DeleteExperiment(),)


def test_an_experiment_that_runs_is_not_deleted() -> None:
    owner = experiment().done("prepare").policy(deleteAfterSeconds=0)
    found = planned(owner, job("train").running(), now=at(WEEK))
    assert (found.actions, found.next_check) == ((), None)


def test_expiry_is_counted_from_the_end_and_not_from_a_later_edit() -> None:
    owner = DONE.with_status(planned(DONE, *JOBS).status).edited(acceptance={"minSpeedup": 2})
    assert planned(owner, *JOBS, now=at(500)).next_check == at(DAY)


def test_an_end_that_nobody_wrote_down_expires_nothing() -> None:
    forgetful: Experiment = DONE.with_records(
        *(each.model_copy(update={"completion_time": None}) for each in DONE.status.stages)
    ).policy(deleteAfterSeconds=1)
    found = planned(forgetful, *JOBS, now=at(WEEK))
    assert (found.actions, found.next_check) == ((), None)
