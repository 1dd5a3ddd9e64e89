"""Waiting for a pod to run, and the deadlines."""

from __future__ import annotations

import pytest

from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.observed import PodPhase

from .builders import Job, Pod, experiment, job, pod
from .stage_results import at
from .words import condition, message, planned, record, words

OWNER = experiment().done("prepare")
PENDING_LIMIT = OWNER.policy(pendingDeadlineSeconds=300)
ACTIVE_LIMIT = OWNER.policy(activeDeadlineSeconds=1000)

OBSTACLES = {
    "no pod yet": (job("train"), "WaitingForPod", "has no pod yet"),
    "a pod that starts": (job("train").with_pod(pod()), "PodStarting", "starts"),
    "no node fits": (
        job("train").with_pod(pod().unschedulable("0/3 nodes are available")),
        "Unschedulable",
        "0/3 nodes are available",
    ),
    "the image cannot be pulled": (
        job("train").with_pod(pod().waiting("ErrImagePull", "no such image")),
        "ErrImagePull",
        "no such image",
    ),
    "the image still cannot be pulled": (
        job("train").with_pod(pod().waiting("ImagePullBackOff", "Back-off pulling")),
        "ImagePullBackOff",
        "Back-off pulling",
    ),
    "the image's name is wrong": (
        job("train").with_pod(pod().waiting("InvalidImageName")),
        "InvalidImageName",
        "InvalidImageName",
    ),
    "a Secret is missing": (
        job("train").with_pod(pod().waiting("CreateContainerConfigError", 'secret "s3" not found')),
        "CreateContainerConfigError",
        'secret "s3" not found',
    ),
    "the node refused the pod": (
        job("train").with_pod(Pod({"phase": PodPhase.FAILED, "ended_because": "OutOfcpu"})),
        "OutOfcpu",
        "ended before it ran",
    ),
    "it was evicted before it ran": (
        job("train").with_pod(
            Pod({"phase": PodPhase.FAILED, "disrupted": "PreemptionByScheduler"})
        ),
        "PreemptionByScheduler",
        "ended before it ran",
    ),
    "a replacement that finds no node": (
        job("train").with_pod(
            pod().failed(143).disrupted(), pod().made(80).unschedulable("0/3 nodes")
        ),
        "Unschedulable",
        "0/3 nodes",
    ),
    "a reason that is no CamelCase word": (
        job("train").with_pod(pod().waiting("no reason", "odd")),
        "Pending",
        "odd",
    ),
}


@pytest.mark.parametrize(("jobs", "reason", "text"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_what_keeps_a_stage_from_running_is_told_and_not_hidden(
    jobs: Job, reason: str, text: str
) -> None:
    found = planned(OWNER, jobs)
    assert found.status.phase == "Pending"
    assert record(found, "train").outcome is None
    for kind in ("Complete", "Trained"):
        assert condition(found, kind) == f"False {reason}"
        assert text in message(found, kind)
    assert condition(found, "Ready") == f"True {reason}"
    assert text in message(found, "Ready")


def test_a_pending_pod_fails_the_stage_at_its_deadline() -> None:
    waiting = job("train").with_pod(pod().unschedulable("0/3 nodes are available"))
    before = planned(PENDING_LIMIT, waiting, now=at(299))
    assert (before.actions, before.next_check) == ((), at(300))
    found = planned(PENDING_LIMIT, waiting, now=at(300))
    assert words(PENDING_LIMIT, found) == ["delete train"]
    assert found.status.phase == "Failed"
    assert condition(found, "Failed") == "True PendingDeadlineExceeded"
    assert "0/3 nodes are available" in message(found, "Failed")


def test_it_stays_failed_when_its_job_is_gone() -> None:
    waiting = job("train").with_pod(pod().unschedulable("0/3 nodes are available"))
    failed = PENDING_LIMIT.with_status(planned(PENDING_LIMIT, waiting, now=at(300)).status)
    assert words(failed, planned(failed, waiting, now=at(301))) == ["delete train"]
    assert planned(failed, now=at(310)).actions == ()
    assert planned(failed, now=at(310)).status == failed.status


def test_a_job_that_its_controller_has_not_started_has_no_deadline_yet() -> None:
    owner = PENDING_LIMIT.policy(activeDeadlineSeconds=100)
    found = planned(owner, job("train").not_started())
    assert (found.status.phase, found.next_check) == ("Pending", None)


def test_a_pod_that_ran_in_the_second_of_the_admission_meets_the_deadline() -> None:
    assert planned(PENDING_LIMIT, job("train").with_pod(pod().running(0))).next_check is None


def test_time_in_the_queue_does_not_count_as_pending() -> None:
    owner = PENDING_LIMIT.in_queue()
    queued = planned(owner, job("train").in_queue().suspended(), now=at(100_000))
    assert (queued.status.phase, queued.next_check) == ("Queued", None)
    admitted = planned(owner, job("train").in_queue().made(100_000), now=at(100_100))
    assert (admitted.status.phase, admitted.next_check) == ("Pending", at(100_300))


def test_once_a_pod_ran_the_pending_deadline_is_met() -> None:
    owner = PENDING_LIMIT.with_status(planned(PENDING_LIMIT, job("train").running()).status)
    evicted = planned(owner, job("train"), now=at(5000))
    assert (evicted.status.phase, evicted.next_check) == ("Pending", None)


def test_after_a_resume_the_pending_deadline_holds_again() -> None:
    owner = PENDING_LIMIT.with_status(planned(PENDING_LIMIT, job("train").running()).status)
    assert planned(owner, job("train").made(9000), now=at(9001)).next_check == at(9300)
    found = planned(owner, job("train").made(9000), now=at(9300))
    assert condition(found, "Failed") == "True PendingDeadlineExceeded"


def test_a_job_gets_what_is_left_of_the_running_time() -> None:
    records = [
        each.model_copy(update={"active_seconds": 400}) for each in ACTIVE_LIMIT.status.stages
    ]
    (order,) = planned(ACTIVE_LIMIT.with_records(*records)).actions
    assert isinstance(order, CreateJob)
    assert order.active_deadline_seconds == 600


def test_a_job_without_a_limit_has_no_deadline() -> None:
    (order,) = planned(OWNER).actions
    assert isinstance(order, CreateJob)
    assert order.active_deadline_seconds is None


def test_no_job_is_made_when_the_running_time_is_used_up() -> None:
    records = [
        each.model_copy(update={"active_seconds": 1000}) for each in ACTIVE_LIMIT.status.stages
    ]
    found = planned(ACTIVE_LIMIT.with_records(*records))
    assert found.actions == ()
    assert condition(found, "Failed") == "True DeadlineExceeded"


def test_the_job_controller_goes_first_where_it_knows_the_deadline() -> None:
    running = job("train").with_deadline(1000).running()
    assert planned(ACTIVE_LIMIT, running).next_check == at(1010)
    assert planned(ACTIVE_LIMIT, running, now=at(1009)).actions == ()
    found = planned(ACTIVE_LIMIT, running, now=at(1010))
    assert words(ACTIVE_LIMIT, found) == ["delete train"]
    assert condition(found, "Failed") == "True DeadlineExceeded"


def test_a_job_that_forgot_its_deadline_when_it_was_resumed_is_stopped_at_the_experiments() -> None:
    owner = ACTIVE_LIMIT
    for jobs, now in (
        (job("train").with_deadline(1000).running(), 10),
        (job("train").with_deadline(1000).suspended(), 700),
        (job("train").with_deadline(1000).made(5000).running(), 5001),
    ):
        found = planned(owner, jobs, now=at(now))
        owner = owner.with_status(found.status)
    assert found.next_check == at(5300)
    late = planned(owner, job("train").with_deadline(1000).made(5000).running(), now=at(5300))
    assert words(owner, late) == ["delete train"]
    assert record(late, "train").active_seconds == 1000


def test_the_running_time_ends_when_the_job_is_deleted() -> None:
    owner = ACTIVE_LIMIT.with_status(planned(ACTIVE_LIMIT, job("train").running()).status)
    for jobs, now in (((job("train").running().being_deleted(),), 100), ((), 130)):
        found = planned(owner, *jobs, now=at(now))
        owner = owner.with_status(found.status)
        assert record(found, "train").active_seconds == 100
    (order,) = found.actions
    assert isinstance(order, CreateJob)
    assert order.active_deadline_seconds == 900


def test_a_job_that_came_and_went_unseen_counts_once() -> None:
    owner = ACTIVE_LIMIT
    for now in (62, 65, 70):
        found = planned(owner, job("train").complete(61), now=at(now))
        owner = owner.with_status(found.status)
        assert record(found, "train").active_seconds == 61


def test_a_deadline_that_the_job_controller_kept_is_told_as_such() -> None:
    killed = pod().failed(143).saying("Stopped", outcome="Stopped")
    found = planned(ACTIVE_LIMIT, job("train").with_pod(killed).failed("DeadlineExceeded"))
    assert condition(found, "Failed") == "True DeadlineExceeded"


def test_a_deadline_that_is_set_later_holds_for_what_ran_already() -> None:
    owner = OWNER.with_status(planned(OWNER, job("train").running()).status)
    limited = owner.policy(activeDeadlineSeconds=500)
    assert planned(limited, job("train").running()).next_check == at(500)
    assert planned(limited, job("train").running(), now=at(500)).status.phase == "Failed"


def test_of_two_deadlines_the_earlier_is_looked_at() -> None:
    owner = PENDING_LIMIT.policy(activeDeadlineSeconds=100)
    assert planned(owner, job("train")).next_check == at(100)


def test_a_raised_deadline_and_a_retry_run_the_stage_again() -> None:
    owner = ACTIVE_LIMIT
    owner = owner.with_status(planned(owner, job("train").running(), now=at(5000)).status)
    assert planned(owner.policy(activeDeadlineSeconds=9000)).actions == ()
    retried = owner.policy(activeDeadlineSeconds=9000).retried("1")
    assert words(retried, planned(retried)) == ["create train"]
