"""What people and tools are told: conditions, kstatus, events."""

from __future__ import annotations

import pytest

from sparse_transfer_api.status import ConditionType
from sparse_transfer_operator.actions import Event, Plan

from .builders import Experiment, Job, experiment, job, pod
from .stage_results import at
from .words import condition, planned

Steps = list[tuple[Experiment, tuple[Job, ...]]]

TRAINING = experiment().done("prepare")
FAILED = job("train").with_pod(pod().failed(10).saying("InvalidInput", "label")).failed()
EVICTED = pod().failed(143).disrupted()


def followed(*steps: tuple[Experiment, tuple[Job, ...]]) -> tuple[Experiment, Plan]:
    """Plans for each step on the status of the one before; returns the last."""
    owner, found = steps[0][0], planned(steps[0][0], *steps[0][1])
    for given, jobs in steps[1:]:
        owner = given.with_status(found.status)
        found = planned(owner, *jobs)
    return owner, found


def test_every_condition_is_always_there() -> None:
    for found in (planned(experiment()), planned(TRAINING, FAILED)):
        assert {each.type for each in found.status.conditions} == set(ConditionType)


KSTATUS: dict[str, tuple[Experiment, tuple[Job, ...], str, str, str]] = {
    "a Job that is made makes it current": (experiment(), (), "True", "False", "False"),
    "a running pod": (experiment(), (job("prepare").running(),), "True", "False", "False"),
    "between two stages": (experiment(), (job("prepare").succeeded(),), "True", "False", "False"),
    "superseded Jobs in the way": (
        experiment(),
        (job("prepare").of_key("oldkeyoldk").running(),),
        "False",
        "True",
        "False",
    ),
    "failed": (TRAINING, (FAILED,), "False", "False", "True"),
    "succeeded": (experiment().done("prepare", "train", "package"), (), "True", "False", "False"),
    "queued": (experiment().in_queue(), (), "True", "False", "False"),
    "suspended": (experiment().suspended(), (), "True", "False", "False"),
}


@pytest.mark.parametrize("case", KSTATUS.values(), ids=KSTATUS.keys())
def test_kstatus_reads(case: tuple[Experiment, tuple[Job, ...], str, str, str]) -> None:
    owner, jobs, *expected = case
    found = planned(owner, *jobs)
    read = [condition(found, kind).split()[0] for kind in ("Ready", "Reconciling", "Stalled")]
    assert read == expected


STAGES: dict[str, tuple[Experiment, tuple[Job, ...], list[str]]] = {
    "at the beginning": (
        experiment(),
        (),
        ["False WaitingForPod", "False Waiting", "False Waiting"],
    ),
    "while train runs": (
        TRAINING,
        (job("train").running(),),
        ["True Completed", "False Running", "False Waiting"],
    ),
    "when train has failed": (
        TRAINING,
        (FAILED,),
        ["True Completed", "False InvalidInput", "False Waiting"],
    ),
    "at the end": (
        experiment().done("prepare", "train", "package"),
        (),
        ["True Completed", "True Completed", "True Completed"],
    ),
}


@pytest.mark.parametrize(("owner", "jobs", "expected"), STAGES.values(), ids=STAGES.keys())
def test_the_stages_conditions_say(
    owner: Experiment, jobs: tuple[Job, ...], expected: list[str]
) -> None:
    found = planned(owner, *jobs)
    assert [condition(found, kind) for kind in ("Prepared", "Trained", "Packaged")] == expected


def test_a_stage_that_runs_again_is_not_called_prepared_any_more() -> None:
    done = experiment().done("prepare", "train", "package")
    edited = done.with_status(planned(done).status).edited(optimLevel=0.9)
    found = planned(edited)
    for kind in ("Prepared", "Trained", "Packaged", "Complete"):
        assert condition(found, kind).startswith("False")


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    first = planned(TRAINING, job("train").running(), now=at(10))
    owner = TRAINING.with_status(first.status)
    second = planned(owner, FAILED, now=at(100))
    times = {each.type.value: each.last_transition_time for each in second.status.conditions}
    assert times["Prepared"] == times["Trained"] == times["Complete"] == at(10)
    assert times["Failed"] == times["Ready"] == times["Stalled"] == at(100)


def test_times_are_whole_seconds_as_the_api_server_keeps_them() -> None:
    found = planned(TRAINING, job("train").running(), now=at(10.123456))
    assert {each.last_transition_time for each in found.status.conditions} == {at(10)}


@pytest.mark.parametrize(
    ("owner", "jobs"),
    [(owner, jobs) for owner, jobs, *_ in (*KSTATUS.values(), *STAGES.values())],
)
def test_where_nothing_happened_nothing_is_said(owner: Experiment, jobs: tuple[Job, ...]) -> None:
    first = planned(owner, *jobs)
    again = planned(owner.with_status(first.status), *jobs, now=at(64))
    assert (again.status, again.events) == (first.status, ())


EVENTS: dict[str, tuple[Steps, list[str]]] = {
    "the first Job": ([(experiment(), ())], ["JobCreated"]),
    "the first pod runs": (
        [(experiment(), ()), (experiment(), (job("prepare").running(),))],
        ["StageStarted"],
    ),
    "a stage is done": (
        [
            (experiment(), (job("prepare").running(),)),
            (experiment(), (job("prepare").succeeded(),)),
        ],
        ["StageSucceeded", "JobCreated"],
    ),
    "the last stage is done": (
        [
            (experiment().done("prepare", "train"), (job("package").running(),)),
            (experiment(), (job("package").succeeded(),)),
        ],
        ["StageSucceeded", "Completed"],
    ),
    "a failure": (
        [(TRAINING, (job("train").running(),)), (TRAINING, (FAILED,))],
        ["InvalidInput!"],
    ),
    "another attempt": (
        [
            (TRAINING, (job("train").running(),)),
            (TRAINING, (job("train").with_failures(1).with_pod(pod().failed(1), pod().running()),)),
        ],
        ["AttemptFailed!"],
    ),
    "an eviction": (
        [
            (TRAINING, (job("train").running(),)),
            (TRAINING, (job("train").with_pod(EVICTED, pod().running()),)),
        ],
        ["Disrupted"],
    ),
    "no node fits": (
        [(TRAINING, ()), (TRAINING, (job("train").with_pod(pod().unschedulable("0/3")),))],
        ["Unschedulable!"],
    ),
    "a pod that starts is not worth telling": (
        [(TRAINING, ()), (TRAINING, (job("train").with_pod(pod()),))],
        [],
    ),
    "suspended": (
        [
            (TRAINING, (job("train").running(),)),
            (TRAINING.suspended(), (job("train").running(),)),
        ],
        ["Suspended"],
    ),
    "resumed": (
        [
            (TRAINING, (job("train").running(),)),
            (TRAINING.suspended(), (job("train").suspended(),)),
            (TRAINING, (job("train").suspended(),)),
        ],
        ["Resumed"],
    ),
    "queued": ([(TRAINING.in_queue(), ())], ["JobCreated", "Queued"]),
    "an edit": (
        [(TRAINING, (job("train").running(),)), (TRAINING.edited(optimLevel=0.9), ())],
        ["Superseded", "JobCreated"],
    ),
    "a result is lost": (
        [
            (TRAINING, (job("train").running(),)),
            (
                TRAINING,
                (
                    job("train").complete(0),
                    job("train").recorded_only().complete(0),
                ),
            ),
        ],
        ["ResultLost!"],
    ),
    "a missed acceptance": (
        [
            (experiment().done("prepare", "train"), (job("package").running(),)),
            (experiment().with_spec(acceptance={"minSpeedup": 9}), (job("package").succeeded(),)),
        ],
        ["StageSucceeded", "AcceptanceMissed!"],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), EVENTS.values(), ids=EVENTS.keys())
def test_told_are(steps: Steps, expected: list[str]) -> None:
    _, found = followed(*steps)
    assert [each.reason + "!" * each.warning for each in found.events] == expected


def test_an_events_message_is_bounded() -> None:
    endless = job("train").with_pod(pod().failed(10).saying("InvalidInput", "x" * 3000)).failed()
    found = planned(TRAINING, endless)
    assert all(len(each.message) <= 1024 for each in found.events)
    assert isinstance(found.events[-1], Event)
