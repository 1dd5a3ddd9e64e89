"""How an experiment ended, and with which exit code."""

from __future__ import annotations

import pytest
from tests.cli.cluster.experiments import (
    Document,
    condition,
    conditions,
    failed,
    missed,
    queued,
    seen,
    stage,
    succeeded,
    training,
)

from sparse_transfer_cli.cluster.outcome import exit_code_for, outcome_of


@pytest.mark.parametrize("status", [None, {}, queued(), training()])
def test_while_it_goes_on_there_is_no_outcome(status: Document | None) -> None:
    assert outcome_of(seen(status)) is None


def test_what_ended_before_an_edit_is_no_outcome() -> None:
    assert outcome_of(seen(succeeded(), generation=2)) is None


@pytest.mark.parametrize(
    ("reason", "observed", "ended"),
    [
        ("OutOfMemory", None, False),
        ("OutOfMemory", "1", False),
        ("OutOfMemory", "2", True),
        ("InvalidSpec", None, True),
    ],
)
def test_what_is_to_be_tried_again_has_not_ended(
    reason: str, observed: str | None, ended: bool
) -> None:
    status = {**failed(reason), **({} if observed is None else {"observedRetry": observed})}
    experiment = seen(status, annotations={"sparsetransfer.dev/retry": "2"})
    assert (outcome_of(experiment) is not None) is ended


def test_success_is_0() -> None:
    outcome = outcome_of(seen(succeeded()))
    assert outcome is not None
    assert (outcome.succeeded, outcome.measured, outcome.exit_code) == (True, True, 0)
    assert outcome.message == "recovery 0.9762, speed-up 2.00"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("InvalidInput", 10),
        ("InvalidSpec", 10),
        ("OutputMissing", 10),
        ("NotSupported", 10),
        ("AcceptanceMissed", 11),
        ("OutOfMemory", 12),
        ("AccessDenied", 13),
        ("OutputVanished", 14),
        ("Transient", 75),
        ("DeadlineExceeded", 1),
        ("NobodyKnows", 1),
    ],
)
def test_a_failure_has_the_code_of_its_reason(reason: str, code: int) -> None:
    assert exit_code_for(reason) == code
    outcome = outcome_of(seen(failed(reason, "why")))
    assert outcome is not None
    assert (outcome.reason, outcome.message, outcome.exit_code) == (reason, "why", code)
    assert not outcome.succeeded


def test_a_miss_is_a_failure_with_results() -> None:
    outcome = outcome_of(seen(missed()))
    assert outcome is not None
    assert (outcome.succeeded, outcome.measured, outcome.exit_code) == (False, True, 11)


def test_what_is_stalled_has_ended_whatever_its_phase() -> None:
    told = conditions("JobRefused", "No Job can be made of this", ready=False, Stalled=True)
    outcome = outcome_of(seen({"phase": "Pending", "conditions": told}))
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == ("JobRefused", 10)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [condition("Stalled", "True", "Quota", "too much")]}, "Quota"),
        ({"stages": [stage("train", "Failed", reason="OutOfMemory")]}, "OutOfMemory"),
        ({"conditions": [condition("Complete", "False", "Deadline")]}, "Deadline"),
        ({}, "Failed"),
    ],
)
def test_the_reason_is_looked_for_where_it_may_be(status: Document, reason: str) -> None:
    outcome = outcome_of(seen({"phase": "Failed", **status}))
    assert outcome is not None
    assert outcome.reason == reason
