"""Edits: what runs again, what is stopped first, what is kept of the run before."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .builders import Experiment, Job, experiment, job, pod
from .stage_results import at
from .words import condition, message, planned, record, words

LEVEL = {"optimLevel": 0.9}
TARGETS = {"export": {"targets": ["openvino"]}}
DONE = experiment().done("prepare", "train", "package")
FINISHED = DONE.with_status(planned(DONE).status)
OLD = "oldkeyoldk"


@dataclass(frozen=True)
class Case:
    """An edited experiment with the Jobs of before, and what follows."""

    given: Experiment
    jobs: tuple[Job, ...]
    actions: list[str]


CASES = {
    "an edited level runs everything again": Case(FINISHED.edited(**LEVEL), (), ["create prepare"]),
    "edited targets run package alone": Case(FINISHED.edited(**TARGETS), (), ["create package"]),
    "an edited acceptance runs nothing": Case(
        FINISHED.edited(acceptance={"minSpeedup": 100}), (), []
    ),
    "an edited pod template runs nothing": Case(
        FINISHED.edited(template={"nodeSelector": {"gpu": "yes"}}), (), []
    ),
    "an edited pod template leaves a running Job alone": Case(
        experiment().done("prepare").edited(template={"nodeSelector": {"gpu": "yes"}}),
        (job("train").running(),),
        [],
    ),
    "a superseded Job is deleted before another is made": Case(
        experiment().done("prepare"),
        (job("train").of_key(OLD).running(),),
        ["delete old train"],
    ),
    "a superseded Job that is being deleted is waited for": Case(
        experiment().done("prepare"),
        (job("train").of_key(OLD).running().being_deleted(),),
        [],
    ),
    "once it is gone the new one is made": Case(experiment().done("prepare"), (), ["create train"]),
    "superseded Jobs that have ended are deleted too": Case(
        experiment().done("prepare"),
        (job("train").of_key(OLD).succeeded(), job("package").of_key(OLD).failed()),
        ["delete old train", "delete old package"],
    ),
    "Jobs of later stages are superseded while an earlier stage is not done": Case(
        experiment(),
        (job("prepare").running(), job("train").running()),
        ["delete train"],
    ),
    "Jobs of earlier stages stay until they expire": Case(
        experiment().done("prepare"), (job("prepare").succeeded(), job("train").running()), []
    ),
    "an edit back adopts the Job that is still there": Case(
        experiment().done("prepare"),
        (job("train").running(), job("train").of_key(OLD).being_deleted()),
        [],
    ),
    "a superseded Job of another owner is none of ours": Case(
        experiment().done("prepare"),
        (job("train").of_key(OLD).owned_by("another-uid").running(),),
        ["create train"],
    ),
    "suspended, superseded Jobs are still deleted": Case(
        experiment().done("prepare").suspended(),
        (job("train").of_key(OLD).running(),),
        ["delete old train"],
    ),
    "a failed stage runs again under another key": Case(
        experiment()
        .with_status(planned(experiment(), job("prepare").failed()).status)
        .edited(**LEVEL),
        (),
        ["create prepare"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_that(case: Case) -> None:
    assert words(case.given, planned(case.given, *case.jobs)) == case.actions


def test_the_user_is_told_what_is_waited_for() -> None:
    owner = experiment().done("prepare")
    found = planned(owner, job("train").of_key(OLD).running())
    assert condition(found, "Complete") == "False Superseding"
    assert message(found) == f"waits until Job a-train-{OLD} and its pods are gone"


def test_the_status_speaks_of_the_edited_spec_at_once() -> None:
    found = planned(FINISHED.edited(**LEVEL)).status
    assert found.observed_generation == 2
    assert {each.observed_generation for each in found.conditions} == {2}
    assert [each.name for each in found.stages] == ["prepare"]
    assert found.resolved is not None
    assert found.resolved.level == 0.9
    assert found.resolved.model is None


def test_a_finished_run_goes_to_the_history_when_another_begins() -> None:
    found = planned(FINISHED.edited(**TARGETS)).status
    (past,) = found.history
    assert (past.generation, past.outcome, past.reason) == (1, "Succeeded", "Completed")
    assert (past.sparsity, past.recovery, past.speedup) == (0.8, 0.98, 3.0)
    assert past.level == 0.5
    assert past.completion_time == at(0)
    assert (found.results, found.artifacts) == (None, ())


def test_the_history_grows_once_per_run() -> None:
    owner = FINISHED.edited(**TARGETS)
    owner = owner.with_status(planned(owner).status)
    assert len(planned(owner, job("package").running()).status.history) == 1


def test_a_failed_run_goes_to_the_history_too() -> None:
    failed = planned(
        experiment(), job("prepare").with_pod(pod().failed(10).saying("InvalidInput")).failed()
    )
    owner = experiment().with_status(failed.status).edited(**LEVEL)
    (past,) = planned(owner).status.history
    assert (past.outcome, past.reason, past.recovery) == ("Failed", "InvalidInput", None)


def test_a_run_that_missed_its_acceptance_is_remembered_as_such() -> None:
    strict = DONE.with_spec(acceptance={"minSpeedup": 100})
    owner = strict.with_status(planned(strict).status).edited(**TARGETS)
    (past,) = planned(owner).status.history
    assert (past.outcome, past.reason, past.speedup) == ("Failed", "AcceptanceMissed", 3.0)


def test_a_wrong_edit_in_between_does_not_take_the_place_of_the_run_in_the_history() -> None:
    wrong = FINISHED.invalid("no such field")
    mended = wrong.with_status(planned(wrong).status).mended().with_spec(**TARGETS)
    (past,) = planned(mended).status.history
    assert (past.generation, past.outcome, past.recovery) == (1, "Succeeded", 0.98)


def test_a_run_that_had_not_ended_leaves_no_history() -> None:
    owner = experiment().done("prepare")
    owner = owner.with_status(planned(owner, job("train").running()).status).edited(**LEVEL)
    found = planned(owner, job("train").of_key(OLD).running())
    assert found.status.history == ()


def test_a_package_that_had_not_ended_leaves_no_history() -> None:
    owner = experiment().done("prepare", "train")
    owner = owner.with_status(planned(owner, job("package").running()).status).edited(**TARGETS)
    assert planned(owner).status.history == ()


def test_superseded_jobs_in_the_way_of_a_later_stage_do_not_make_gitops_wait() -> None:
    owner = experiment().done("prepare", "train")
    found = planned(owner, job("package").of_key(OLD).running())
    assert condition(found, "Ready") == "True Superseding"
    assert condition(found, "Reconciling") == "False InProgress"


def test_the_history_keeps_the_last_five() -> None:
    owner = DONE
    for number in range(7):
        owner = owner.edited(benchmark={"threads": number + 1})
        owner = owner.with_status(planned(owner).status)
        owner = owner.with_status(planned(owner, job("package").succeeded()).status)
    assert [past.generation for past in owner.status.history] == [7, 6, 5, 4, 3]


def test_an_edit_that_runs_nothing_keeps_results_and_history() -> None:
    found = planned(FINISHED.edited(acceptance={"minSpeedup": 2}))
    assert found.status.results == FINISHED.status.results
    assert found.status.history == ()
    assert found.status.observed_generation == 2


def test_a_stage_that_runs_again_after_an_edit_starts_its_count_anew() -> None:
    owner = experiment()
    owner = owner.with_status(planned(owner, job("prepare").with_failures(2).running()).status)
    found = planned(owner.edited(**LEVEL))
    assert record(found, "prepare").attempt == 1
    assert record(found, "prepare").start_time is None
