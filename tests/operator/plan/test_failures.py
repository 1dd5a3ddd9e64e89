"""Failures: what they are called, what is tried again, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparse_transfer_api.status import Rerun
from sparse_transfer_operator.observed import PodPhase

from .builders import (
    Experiment,
    Job,
    Pod,
    at,
    condition,
    experiment,
    job,
    message,
    planned,
    pod,
    record,
    words,
)

OWNER = experiment().done("prepare")
LATER = at(100)
"""When no more news of a Job's pods is waited for."""

VANISHED = job("package").with_pod(pod().failed(14).saying("OutputVanished", "gone")).failed()
"""A package that found nothing to work on."""

FAILURES: dict[str, tuple[Job, str, str]] = {
    "the user's input is wrong": (
        job("train").with_pod(pod().failed(10).saying("InvalidInput", "label: missing")).failed(),
        "InvalidInput",
        "label: missing",
    ),
    "the runner was called wrongly": (
        job("train").with_pod(pod().failed(2).saying("WrongUsage", "no such stage")).failed(),
        "WrongUsage",
        "no such stage",
    ),
    "it does not fit in memory": (
        job("train").with_pod(pod().failed(12).saying("OutOfMemory", "batch of 1")).failed(),
        "OutOfMemory",
        "batch of 1",
    ),
    "access was denied": (
        job("train").with_pod(pod().failed(13).saying("AccessDenied", "s3: 403")).failed(),
        "AccessDenied",
        "s3: 403",
    ),
    "the last attempt says why": (
        job("train")
        .with_failures(4)
        .with_pod(pod().failed(75).saying("Transient", "disk full"))
        .failed("BackoffLimitExceeded"),
        "Transient",
        "after 4 attempts: disk full",
    ),
    "the kernel killed it": (
        job("train").with_pod(pod().failed(137, because="OOMKilled")).failed(),
        "OutOfMemory",
        "took too much memory",
    ),
    "the kernel killed a child of it": (
        job("train").with_pod(pod().failed(1, because="OOMKilled")).failed(),
        "OutOfMemory",
        "took too much memory",
    ),
    "it failed after it told of success": (
        job("train").with_pod(pod().failed(77).telling_success()).failed(),
        "RunnerFailed",
        "with exit code 77",
    ),
    "it was killed and nobody says by whom": (
        job("train").with_pod(pod().failed(137)).failed("BackoffLimitExceeded"),
        "OutOfMemory",
        "took too much memory",
    ),
    "the node evicted it and the Job counted that": (
        job("train").with_pod(pod().failed(1, because="Evicted")).failed("BackoffLimitExceeded"),
        "Evicted",
        "with exit code 1",
    ),
    "an exit code without a result": (
        job("train").with_pod(pod().failed(13)).failed(),
        "AccessDenied",
        "with exit code 13",
    ),
    "an unknown exit code": (
        job("train").with_pod(pod().failed(77)).failed("BackoffLimitExceeded"),
        "RunnerFailed",
        "with exit code 77",
    ),
    "a message that is no result is shown": (
        job("train").with_pod(pod().failed(1).with_message("panic: no CUDA")).failed(),
        "RunnerFailed",
        "panic: no CUDA",
    ),
    "the container could not be started": (
        job("train").with_pod(pod().failed(128, because="ContainerCannotRun")).failed(),
        "ContainerCannotRun",
        "with exit code 128",
    ),
    "the pods are gone": (
        job("train").failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    ),
    "it was stopped too often": (
        job("train")
        .with_failures(4)
        .with_pod(pod().failed(143).saying("Stopped", "checkpoint written", outcome="Stopped"))
        .failed("BackoffLimitExceeded"),
        "BackoffLimitExceeded",
        "after 4 attempts: checkpoint written",
    ),
    "a disrupted pod does not say why the Job failed": (
        job("train")
        .with_pod(pod().failed(1).saying("InternalError", "bug"), pod().failed(143).disrupted())
        .failed("BackoffLimitExceeded"),
        "InternalError",
        "bug",
    ),
    "the running time is used up": (
        job("train").failed("DeadlineExceeded", "Job was active longer than specified deadline"),
        "DeadlineExceeded",
        "Job was active longer than specified deadline",
    ),
    "a reason that is no CamelCase word": (
        job("train").with_pod(pod().failed(1).saying("no reason", "odd")).failed(),
        "Failed",
        "odd",
    ),
    "prepare itself finds nothing": (
        job("prepare").with_pod(pod().failed(14).saying("OutputVanished", "gone")).failed(),
        "OutputVanished",
        "gone",
    ),
}


@pytest.mark.parametrize(("failed", "reason", "text"), FAILURES.values(), ids=FAILURES.keys())
def test_the_experiment_fails_with_what_says_most(failed: Job, reason: str, text: str) -> None:
    owner = OWNER if failed.stage == "train" else experiment()
    found = planned(owner, failed, now=LATER)
    assert found.actions == ()
    assert found.status.phase == "Failed"
    assert condition(found, "Failed") == condition(found, "Stalled") == f"True {reason}"
    assert condition(found, "Complete") == condition(found, "Ready") == f"False {reason}"
    assert text in message(found, "Failed")
    stage = record(found, failed.stage)
    assert (stage.outcome, stage.reason, stage.completion_time) == ("Failed", reason, at(61))


@pytest.mark.parametrize(("failed", "reason", "text"), FAILURES.values(), ids=FAILURES.keys())
def test_it_stays_failed_whatever_becomes_of_its_job(failed: Job, reason: str, text: str) -> None:
    owner = OWNER if failed.stage == "train" else experiment()
    owner = owner.with_status(planned(owner, failed, now=LATER).status)
    for jobs in ((failed,), (failed.being_deleted(),), ()):
        again = planned(owner, *jobs, now=at(200))
        assert (again.status, again.actions, again.events) == (owner.status, (), ())


def test_attempts_are_those_that_were_made() -> None:
    failed = job("train").with_failures(4).with_pod(pod().failed(1)).failed("BackoffLimitExceeded")
    assert record(planned(OWNER, failed), "train").attempt == 4


def test_while_the_job_tries_again_the_last_failure_is_told() -> None:
    found = planned(
        OWNER,
        job("train")
        .with_failures(1)
        .with_pod(pod().failed(75).saying("Transient", "disk full"), pod().running()),
    )
    assert found.status.phase == "Training"
    assert message(found) == "attempt 2 of 4; the one before: Transient: disk full"


def test_a_job_that_failed_waits_a_moment_for_the_news_of_its_pod() -> None:
    failed = job("train").running().failed()
    early = planned(OWNER, failed, now=at(70))
    assert (early.status.phase, early.next_check) == ("Training", at(76))
    assert planned(OWNER, failed, now=at(76)).status.phase == "Failed"


def test_a_failed_job_that_is_deleted_before_its_failure_was_written_is_still_judged() -> None:
    failed = job("train").with_pod(pod().failed(10).saying("InvalidInput")).failed()
    assert planned(OWNER, failed.being_deleted()).status.phase == "Failed"


def test_without_room_for_its_digests_a_result_proves_nothing() -> None:
    cut = job("train").succeeded(omitted=["digests"])
    assert words(OWNER, planned(OWNER, cut)) == ["create recorded-only train"]


def test_a_job_that_failed_before_its_pod_ran_is_not_called_running_meanwhile() -> None:
    found = planned(OWNER, job("train").with_pod(pod()).failed(), now=at(70))
    assert found.status.phase == "Pending"


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


# ---- retry ---------------------------------------------------------------------------------------

FAILED = job("train").with_pod(pod().failed(10).saying("InvalidInput")).failed()


def _failed() -> Experiment:
    return OWNER.with_status(planned(OWNER, FAILED).status)


def test_a_retry_deletes_the_failed_job_and_then_makes_it_again() -> None:
    owner = _failed().retried("1")
    found = planned(owner, FAILED)
    assert words(owner, found) == ["delete train"]
    assert (found.status.phase, found.status.observed_retry) == ("Pending", "1")
    owner = owner.with_status(found.status)
    assert planned(owner, FAILED.being_deleted()).actions == ()
    assert words(owner, planned(owner)) == ["create train"]


def test_a_retry_goes_on_though_the_status_was_not_written() -> None:
    owner = _failed().retried("1")
    assert planned(owner, FAILED.being_deleted()).status.phase == "Pending"
    assert words(owner, planned(owner)) == ["create train"]
    again = planned(owner.with_status(planned(owner).status), job("train").with_uid("2").running())
    assert (again.actions, again.status.phase) == ((), "Training")


def test_a_retry_whose_job_has_expired_makes_it_at_once() -> None:
    owner = _failed().retried("1")
    assert words(owner, planned(owner)) == ["create train"]


def test_one_value_retries_once() -> None:
    owner = _failed().retried("1")
    owner = owner.with_status(planned(owner).status)
    second = FAILED.with_uid("second")
    owner = owner.with_status(planned(owner, second).status)
    assert owner.status.phase == "Failed"
    assert planned(owner, second).actions == ()
    assert words(owner, planned(owner.retried("2"), second)) == ["delete train"]


def test_a_value_from_before_the_failure_retries_nothing() -> None:
    owner = OWNER.retried("1")
    owner = owner.with_status(planned(owner, job("train").running()).status)
    failed = planned(owner, FAILED)
    assert (failed.actions, failed.status.phase) == ((), "Failed")


def test_a_removed_annotation_is_no_new_value() -> None:
    owner = _failed().retried("1")
    owner = owner.with_status(planned(owner).status)
    owner = owner.with_status(planned(owner, FAILED.with_uid("second")).status)
    assert planned(replace(owner, retry=None)).status == owner.status
    assert planned(owner).actions == ()


def test_a_retry_does_nothing_to_what_runs_or_is_done() -> None:
    assert planned(OWNER.retried("1"), job("train").running()).actions == ()
    done = experiment().done("prepare", "train", "package").retried("1")
    assert planned(done).actions == ()
    assert planned(done).status.observed_retry == "1"


def test_a_suspended_experiment_is_retried_when_it_is_resumed() -> None:
    owner = _failed().retried("1").suspended()
    found = planned(owner)
    assert (found.actions, found.status.phase) == ((), "Suspended")
    resumed = owner.with_status(found.status).suspended(False)
    assert words(resumed, planned(resumed)) == ["create train"]


@pytest.mark.parametrize("length", [1, 256, 257, 100_000])
def test_a_long_value_retries_once_too(length: int) -> None:
    owner = _failed().retried("x" * length)
    owner = owner.with_status(planned(owner).status)
    owner = owner.with_status(planned(owner, FAILED.with_uid("second")).status)
    assert planned(owner).actions == ()
    assert words(owner, planned(owner.retried("x" * length + "y"))) == ["create train"]


def test_a_pod_without_an_exit_code_is_told_as_such() -> None:
    lost = (
        job("train").with_pod(Pod({"phase": PodPhase.FAILED, "ended_because": "NodeLost"})).failed()
    )
    found = planned(OWNER, lost)
    assert condition(found, "Failed") == "True NodeLost"
    assert "without an exit code" in message(found, "Failed")
