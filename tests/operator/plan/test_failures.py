"""Failures: what they are called, and that they stay."""

from __future__ import annotations

import pytest

from sparse_transfer_operator.observed import PodPhase

from .builders import Job, Pod, experiment, job, pod
from .stage_results import at
from .words import condition, message, planned, record, words

OWNER = experiment().done("prepare")
LATER = at(100)
"""When no more news of a Job's pods is waited for."""

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


def test_a_pod_without_an_exit_code_is_told_as_such() -> None:
    lost = (
        job("train").with_pod(Pod({"phase": PodPhase.FAILED, "ended_because": "NodeLost"})).failed()
    )
    found = planned(OWNER, lost)
    assert condition(found, "Failed") == "True NodeLost"
    assert "without an exit code" in message(found, "Failed")
