"""Experiments that cannot be run as they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparse_transfer_operator.observed import Children
from sparse_transfer_operator.plan import plan

from .builders import SETTINGS, Experiment, experiment, job
from .stage_results import at
from .words import condition, message, planned, words

REFUSED = {
    "an invalid spec": (
        experiment().invalid("spec.useCase: unknown use case"),
        "InvalidSpec",
        "spec.useCase: unknown use case",
    ),
    "no output place anywhere": (
        experiment().with_spec(output={}),
        "OutputMissing",
        "spec.output.uri: missing",
    ),
}


@pytest.mark.parametrize(("given", "reason", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_it_fails_with_a_reason_and_makes_no_job(given: Experiment, reason: str, text: str) -> None:
    found = planned(given)
    assert found.actions == ()
    assert found.status.phase == "Failed"
    assert found.status.observed_generation == given.generation
    assert condition(found, "Failed") == condition(found, "Stalled") == f"True {reason}"
    assert condition(found, "Complete") == condition(found, "Ready") == f"False {reason}"
    assert condition(found, "Reconciling") == "False InProgress"
    assert message(found, "Failed").startswith(text)
    (event,) = found.events
    assert (event.reason, event.warning) == (reason, True)


@pytest.mark.parametrize(("given", "reason", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_said_once(given: Experiment, reason: str, text: str) -> None:
    first = planned(given)
    again = planned(given.with_status(first.status))
    assert (again.status, again.events) == (first.status, ())


def test_a_problem_counts_though_the_spec_could_be_read() -> None:
    observed = replace(experiment().observed(), problem="a template takes what is ours")
    found = plan(observed, Children(), at(0), SETTINGS)
    assert (found.actions, found.status.phase) == ((), "Failed")


def test_another_failure_is_told_too() -> None:
    strict = experiment().done("prepare", "train", "package")
    wrong = strict.with_spec(acceptance={"minSpeedup": 100}).invalid("no such field")
    found = planned(wrong.with_status(planned(wrong).status).mended())
    assert [each.reason for each in found.events] == ["AcceptanceMissed"]


def test_an_edit_mends_it() -> None:
    broken = experiment().invalid("no such field")
    mended = broken.with_status(planned(broken).status).mended()
    found = planned(mended)
    assert words(mended, found) == ["create prepare"]
    assert found.status.phase == "Pending"
    assert condition(found, "Stalled") == "False InProgress"


def test_what_runs_goes_on_and_what_came_out_stays_while_an_edit_is_wrong() -> None:
    owner = experiment().done("prepare", "train", "package")
    owner = owner.with_status(planned(owner).status)
    found = planned(owner.invalid("no such field"), job("train").running())
    assert found.actions == ()
    assert found.status.results == owner.status.results
    assert found.status.stages == owner.status.stages
    mended = owner.with_status(found.status).mended()
    assert planned(mended).status.phase == "Succeeded"
    assert planned(mended).status.history == ()


def test_a_long_list_of_problems_is_cut() -> None:
    found = planned(experiment().invalid("problem\n" * 1000))
    assert len(message(found, "Failed")) == 1024
    assert message(found, "Failed").endswith("…")
