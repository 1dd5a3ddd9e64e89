"""What the operator runs again by itself: vanished output, lost results; each once."""

from __future__ import annotations

import pytest

from sparse_transfer_api.status import Rerun

from .builders import Experiment, Job, experiment, job, pod
from .stage_results import at
from .words import condition, planned, record, words

OWNER = experiment().done("prepare")
LATER = at(100)
"""When no more news of a Job's pods is waited for."""

VANISHED = job("package").with_pod(pod().failed(14).saying("OutputVanished", "gone")).failed()
"""A package that found nothing to work on."""

# ---- an earlier stage's output has vanished ------------------------------------------------------

PACKAGING = experiment().done("prepare", "train")
REST = (job("prepare").succeeded(), job("train").succeeded())


def test_vanished_output_is_made_again_from_the_beginning() -> None:
    found = planned(PACKAGING, *REST, VANISHED)
    assert sorted(words(PACKAGING, found)) == ["delete package", "delete prepare", "delete train"]
    assert found.status.phase == "Pending"
    for stage in ("prepare", "train"):
        assert record(found, stage).reruns == (Rerun.OUTPUT_VANISHED,)
        assert record(found, stage).outcome is None


def test_what_was_given_up_is_not_taken_for_the_rerun() -> None:
    owner = PACKAGING.with_status(planned(PACKAGING, *REST, VANISHED).status)
    deleting = [each.being_deleted() for each in (*REST, VANISHED)]
    assert planned(owner, *deleting).actions == ()
    assert planned(owner, *deleting).status.phase == "Pending"
    assert words(owner, planned(owner)) == ["create prepare"]


def _rerun(owner: Experiment) -> Experiment:
    """Lets prepare and train run again."""
    owner = owner.with_status(planned(owner).status)
    owner = owner.with_status(planned(owner, job("prepare").succeeded()).status)
    return owner.with_status(planned(owner, job("train").succeeded()).status)


def test_what_was_given_up_is_seen_while_its_jobs_are_deleted_though_nothing_was_written() -> None:
    deleting = [each.being_deleted() for each in (*REST, VANISHED)]
    found = planned(PACKAGING, *deleting)
    assert record(found, "train").reruns == (Rerun.OUTPUT_VANISHED,)


def test_after_the_rerun_package_goes_on() -> None:
    owner = _rerun(PACKAGING.with_status(planned(PACKAGING, *REST, VANISHED).status))
    assert owner.status.phase == "Pending"
    assert words(owner, planned(owner)) == ["create package"]
    assert planned(owner, job("package").succeeded()).status.phase == "Succeeded"


def test_output_that_vanishes_again_fails_the_stage() -> None:
    owner = _rerun(PACKAGING.with_status(planned(PACKAGING, *REST, VANISHED).status))
    found = planned(owner, VANISHED)
    assert found.actions == ()
    assert condition(found, "Failed") == "True OutputVanished"


def test_a_stage_that_was_run_again_for_one_is_run_again_for_another_and_says_so_once() -> None:
    prepare, train = PACKAGING.status.stages
    marked = prepare.model_copy(update={"reruns": (Rerun.OUTPUT_VANISHED,)})
    found = planned(PACKAGING.with_records(marked, train), *REST, VANISHED)
    assert record(found, "prepare").reruns == (Rerun.OUTPUT_VANISHED,)
    assert record(found, "train").reruns == (Rerun.OUTPUT_VANISHED,)


def test_a_retry_may_make_vanished_output_again() -> None:
    owner = _rerun(PACKAGING.with_status(planned(PACKAGING, *REST, VANISHED).status))
    owner = owner.with_status(planned(owner, VANISHED).status).retried("1")
    owner = owner.with_status(planned(owner).status)
    assert record(planned(owner, VANISHED), "prepare").reruns == (Rerun.OUTPUT_VANISHED,)


def test_the_rerun_counts_towards_the_running_time() -> None:
    owner = PACKAGING.with_records(
        *(each.model_copy(update={"active_seconds": 70}) for each in PACKAGING.status.stages)
    )
    found = planned(owner, *REST, VANISHED)
    assert [each.active_seconds for each in found.status.stages] == [70, 70, 61]


# ---- a result is lost ----------------------------------------------------------------------------

LOST = job("train").complete()
RECORDED = job("train").recorded_only()


def test_the_news_of_a_pod_is_waited_for_before_its_result_is_given_up() -> None:
    found = planned(OWNER, LOST, now=at(75))
    assert (found.actions, found.next_check) == ((), at(76))


def test_a_lost_result_is_asked_for_without_working() -> None:
    found = planned(OWNER, LOST, now=LATER)
    assert words(OWNER, found) == ["create recorded-only train"]
    assert record(found, "train").job == OWNER.job_name("train", recorded_only=True)


RECOVERY: dict[str, tuple[tuple[Job, ...], list[str], str]] = {
    "the recorded result is the stage's": (
        (LOST, RECORDED.succeeded(recorded=True)),
        ["create package"],
        "Pending",
    ),
    "while it is asked for the stage waits": ((LOST, RECORDED.running()), [], "Training"),
    "where the first Job is gone too, the question stands": ((RECORDED.running(),), [], "Training"),
    "where nothing is recorded the stage runs again": (
        (LOST, RECORDED.with_pod(pod().failed(14).saying("OutputVanished")).failed()),
        ["delete train", "delete recorded-only train"],
        "Pending",
    ),
    "where the second result is lost too the stage runs again": (
        (LOST, RECORDED.complete()),
        ["delete train", "delete recorded-only train"],
        "Pending",
    ),
}


@pytest.mark.parametrize(("jobs", "actions", "phase"), RECOVERY.values(), ids=RECOVERY.keys())
def test_of_a_lost_result(jobs: tuple[Job, ...], actions: list[str], phase: str) -> None:
    found = planned(OWNER, *jobs, now=LATER)
    assert words(OWNER, found) == actions
    assert found.status.phase == phase


def test_a_stage_whose_result_was_lost_runs_again_once() -> None:
    nothing = RECORDED.with_pod(pod().failed(14).saying("OutputVanished")).failed()
    owner = OWNER.with_status(planned(OWNER, LOST, nothing, now=LATER).status)
    assert record(planned(owner), "train").reruns == (Rerun.RESULT_LOST,)
    assert words(owner, planned(owner)) == ["create train"]
    owner = owner.with_status(planned(owner).status)
    again = LOST.with_uid("another")
    assert words(owner, planned(owner, again.running())) == []
    found = planned(owner, again, now=LATER)
    assert found.actions == ()
    assert condition(found, "Failed") == "True ResultLost"


def test_a_question_that_nobody_needs_any_more_is_deleted() -> None:
    nothing = RECORDED.with_pod(pod().failed(14).saying("OutputVanished")).failed()
    owner = OWNER.with_status(planned(OWNER, LOST, nothing, now=LATER).status)
    assert words(owner, planned(owner, nothing)) == ["delete recorded-only train"]


def test_a_question_that_comes_too_late_is_deleted_though_nobody_knows_it() -> None:
    nothing = RECORDED.with_pod(pod().failed(14).saying("OutputVanished")).failed()
    owner = OWNER.with_status(planned(OWNER, LOST, nothing, now=LATER).status)
    running = job("train").with_uid("another").running()
    found = planned(owner, running, RECORDED.with_uid("stray").running())
    assert words(owner, found) == ["delete recorded-only train"]


def test_a_suspended_experiment_asks_for_no_lost_result() -> None:
    assert planned(OWNER.suspended(), LOST, now=LATER).actions == ()
