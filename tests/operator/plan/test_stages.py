"""The stages one after the other: which Job is made, what its end means, what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from sparse_transfer_api.contract import Stage
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.observed import Children
from sparse_transfer_operator.plan import plan
from sparse_transfer_operator.settings import OperatorSettings

from .builders import Experiment, Job, experiment, job, pod
from .stage_results import DIGESTS, at, results, succeeded
from .words import condition, planned, record, words


@dataclass(frozen=True)
class Case:
    """A situation, and what follows."""

    given: Experiment
    jobs: tuple[Job, ...]
    actions: list[str]
    phase: str


CASES = {
    "a new experiment begins with prepare": Case(experiment(), (), ["create prepare"], "Pending"),
    "a Job without a pod is not called running": Case(
        experiment(), (job("prepare"),), [], "Pending"
    ),
    "a running pod of prepare makes the phase Preparing": Case(
        experiment(), (job("prepare").running(),), [], "Preparing"
    ),
    "train follows prepare": Case(
        experiment(), (job("prepare").succeeded(),), ["create train"], "Pending"
    ),
    "train follows as soon as prepare's pod has proved success": Case(
        experiment(),
        (job("prepare").with_pod(pod().succeeded()),),
        ["create train"],
        "Pending",
    ),
    "train follows a recorded prepare whose Job is long gone": Case(
        experiment().done("prepare"), (), ["create train"], "Pending"
    ),
    "a running pod of train makes the phase Training": Case(
        experiment().done("prepare"), (job("train").running(),), [], "Training"
    ),
    "package follows train": Case(
        experiment().done("prepare"), (job("train").succeeded(),), ["create package"], "Pending"
    ),
    "a running pod of package makes the phase Packaging": Case(
        experiment().done("prepare", "train"), (job("package").running(),), [], "Packaging"
    ),
    "after package the experiment has succeeded": Case(
        experiment().done("prepare", "train"), (job("package").succeeded(),), [], "Succeeded"
    ),
    "what is recorded is enough": Case(
        experiment().done("prepare", "train", "package"), (), [], "Succeeded"
    ),
    "where the status was lost, Jobs that are there are followed up to the end": Case(
        experiment(),
        (job("prepare").succeeded(), job("train").succeeded(), job("package").succeeded()),
        [],
        "Succeeded",
    ),
    "a pod that ended well without a result proves nothing": Case(
        experiment(),
        (job("prepare").with_pod(pod().succeeded().with_message("done")),),
        [],
        "Preparing",
    ),
    "a pod that ended well and tells of a failure proves nothing": Case(
        experiment(),
        (job("prepare").with_pod(pod().succeeded().saying("InvalidInput")),),
        [],
        "Preparing",
    ),
    "a pod that failed after it told of success proves nothing": Case(
        experiment(), (job("prepare").with_pod(pod().failed(1).telling_success()),), [], "Preparing"
    ),
    "another stage's result proves nothing": Case(
        experiment(),
        (
            job("prepare").with_pod(
                pod()
                .succeeded()
                .with_message(
                    succeeded("train", experiment().key("prepare"))
                    .to_termination_message()
                    .decode()
                )
            ),
        ),
        [],
        "Preparing",
    ),
    "a result under another key proves nothing": Case(
        experiment(),
        (
            job("prepare").with_pod(
                pod()
                .succeeded()
                .with_message(succeeded("prepare", "another").to_termination_message().decode())
            ),
        ),
        [],
        "Preparing",
    ),
    "a Job that was deleted by hand is waited for": Case(
        experiment().done("prepare"), (job("train").running().being_deleted(),), [], "Pending"
    ),
    "a Job that is gone is made again": Case(
        experiment().done("prepare"), (), ["create train"], "Pending"
    ),
    "a pod that ended is still the stage's work until its Job has ended": Case(
        experiment(), (job("prepare").with_pod(pod().failed(1)).with_failures(1),), [], "Preparing"
    ),
    "an experiment that is being deleted is left alone": Case(
        experiment().being_deleted(), (job("prepare").running(),), [], "None"
    ),
    "an experiment of another manager is left alone": Case(
        experiment().policy(managedBy="example.com/dispatcher"), (), [], "None"
    ),
    "an experiment whose manager is this operator is run": Case(
        experiment().policy(managedBy="sparsetransfer.dev/operator"),
        (),
        ["create prepare"],
        "Pending",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_that(case: Case) -> None:
    found = planned(case.given, *case.jobs)
    assert words(case.given, found) == case.actions
    assert str(found.status.phase) == case.phase


def test_another_managers_status_is_not_touched_even_where_the_spec_is_wrong() -> None:
    owner = experiment().done("prepare").invalid("no such field")
    observed = replace(owner.observed(), managed_by="example.com/dispatcher")
    found = plan(observed, Children(), at(0), OperatorSettings())
    assert (found.status, found.actions, found.next_check) == (owner.status, (), None)


def test_a_jobs_key_follows_from_the_digests_that_the_stage_before_recorded() -> None:
    owner = experiment()
    usual = planned(owner, job("prepare").succeeded())
    other = planned(owner, job("prepare").succeeded(digests={"data": "another"}))
    (first,), (second,) = usual.actions, other.actions
    assert isinstance(first, CreateJob)
    assert isinstance(second, CreateJob)
    assert first.key == owner.key("train") != second.key


def test_a_succeeded_stage_is_recorded_with_all_that_is_needed_later() -> None:
    found = record(planned(experiment(), job("prepare").succeeded(when=50)), "prepare")
    key = experiment().key("prepare")
    assert found.key == key
    assert found.job == f"a-prepare-{key}"
    assert (found.attempt, found.disruptions) == (1, 0)
    assert (found.start_time, found.completion_time) == (at(2), at(50))
    assert found.active_seconds == 61  # of its Job
    assert (found.outcome, found.reason, found.message) == (
        "Succeeded",
        "Completed",
        "prepare is done",
    )
    assert found.digests == DIGESTS[Stage.PREPARE]
    assert found.manifest_uri == f"s3://bucket/runs/prepare-{key}/manifest.json"


def test_attempts_count_failed_pods_and_disruptions_are_counted_apart() -> None:
    evicted = pod().failed(143).disrupted()
    owner = experiment()
    found = planned(
        owner,
        job("prepare").with_failures(1).with_pod(evicted, pod().failed(1), pod().running()),
    )
    assert (record(found, "prepare").attempt, record(found, "prepare").disruptions) == (2, 1)


def test_a_disrupted_pod_counts_once_and_goes_on_counting_when_it_is_gone() -> None:
    evicted = pod().failed(143).disrupted()
    owner = experiment()
    for pods, expected in (
        ((evicted,), 1),
        ((evicted, pod()), 1),
        ((pod().made(20),), 1),
        ((pod().made(20).running().disrupted(),), 2),
        ((), 2),
        ((pod().made(40),), 2),
    ):
        found = planned(owner, job("prepare").with_pod(*pods))
        owner = owner.with_status(found.status)
        assert record(found, "prepare").disruptions == expected
    assert record(planned(owner, job("prepare")), "prepare").attempt == 1


def test_a_job_that_is_made_again_does_not_forget_disruptions() -> None:
    owner = experiment()
    evicted = job("prepare").with_pod(pod().failed(143).disrupted())
    owner = owner.with_status(planned(owner, evicted).status)
    assert record(planned(owner), "prepare").disruptions == 1


def test_a_stages_start_is_its_first_pods() -> None:
    owner = experiment()
    owner = owner.with_status(planned(owner, job("prepare").with_pod(pod().running(5))).status)
    again = planned(owner, job("prepare").with_pod(pod().made(30).running(40)))
    assert record(again, "prepare").start_time == at(5)
    assert record(again, "prepare").last_start_time == at(40)


def test_what_was_resolved_is_shown_first_from_the_spec_and_then_from_prepare() -> None:
    owner = experiment().level(0.1)
    first = planned(owner)
    assert first.status.resolved is not None
    assert first.status.resolved.to_json_dict() == {
        "useCase": "nlp-sentiment_analysis",
        "level": 0.1,
        "band": "LargestInt8",
        "digests": {},
        "settings": {},
    }
    second = planned(owner.with_status(first.status), job("prepare").succeeded()).status.resolved
    assert second is not None
    assert (second.use_case, second.level) == ("nlp-sentiment_analysis", 0.1)
    assert (second.model, second.recipe, second.settings) == ("catalog:small", "packaged", {"e": 3})
    assert second.digests == DIGESTS[Stage.PREPARE]


def test_results_and_artifacts_come_with_the_packages_result() -> None:
    owner = experiment().done("prepare", "train")
    found = planned(owner, job("package").succeeded()).status
    assert found.results == results()
    assert [each.name for each in found.artifacts] == ["deployment"]


def test_artifacts_of_one_name_are_one() -> None:
    artifact = {"name": "model", "uri": "s3://bucket/1"}
    twice = [artifact, {**artifact, "uri": "s3://bucket/2"}]
    owner = experiment().done("prepare", "train")
    found = planned(owner, job("package").succeeded(artifacts=twice)).status
    assert [each.uri for each in found.artifacts] == ["s3://bucket/1"]


def test_progress_is_left_to_its_own_field_manager() -> None:
    assert planned(experiment(), job("prepare").running()).status.progress is None


def test_the_settings_output_place_enters_the_keys() -> None:
    owner = experiment()
    nowhere = owner.with_spec(output={})
    settings = OperatorSettings.model_validate({"output": {"uri": "s3://bucket/runs/"}})
    (order,) = planned(nowhere, settings=settings).actions
    assert isinstance(order, CreateJob)
    assert order.key == owner.key("prepare")


def test_a_job_that_a_deleted_experiment_of_the_name_left_is_waited_for() -> None:
    owner = experiment()
    stranger = job("prepare").owned_by("another-uid").running()
    found = planned(owner, stranger)
    assert found.actions == ()
    assert condition(found, "Ready") == "False JobNameTaken"
    assert condition(found, "Reconciling") == "True JobNameTaken"
    again = planned(owner.with_status(found.status), stranger)
    assert (again.status, again.actions, again.events) == (found.status, (), ())
    assert words(owner, planned(owner.with_status(found.status))) == ["create prepare"]
