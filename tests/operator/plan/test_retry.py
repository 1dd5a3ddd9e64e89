"""The retry annotation: a failed stage runs again, once per value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .builders import Experiment, experiment, job, pod
from .words import planned, words

OWNER = experiment().done("prepare")
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
