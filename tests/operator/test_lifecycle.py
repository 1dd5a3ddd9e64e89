"""An operator runs experiments on a real API server; simulated pods leave stage results."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import RESULTS, Experiment, stage_result
from tests.operator.operators import OperatorProcess, operator_settings, running_operator

MAX_WRITES = 12
FAILS = {"sim/exit-code": "10"}


@pytest.fixture
def operator(experiments_known: Cluster, namespace: str) -> Iterator[OperatorProcess]:
    """An operator that serves the test's namespace only."""
    with running_operator(experiments_known, operator_settings(namespace)) as running:
        yield running


def test_an_experiment_runs_to_its_results(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    artifacts = [{"name": "deployment", "uri": "s3://bucket/runs/deployment/"}]
    package = {"sim/message": stage_result(results=RESULTS, artifacts=artifacts)}
    experiment.apply(stages={"package": package})
    experiment.wait_for("Complete")
    status = experiment.status()
    assert status["phase"] == "Succeeded"
    assert status["observedGeneration"] == 1
    assert [stage["outcome"] for stage in status["stages"]] == ["Succeeded"] * 3
    assert status["results"]["recovery"] == RESULTS["recovery"]
    assert status["artifacts"] == artifacts
    assert sorted(experiment.jobs()) == sorted(stage["job"] for stage in status["stages"])


def test_it_takes_few_writes_and_tells_what_happened(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply()
    experiment.wait_for("Complete")
    assert operator.writes() <= MAX_WRITES
    experiment.wait_until(
        lambda: {"JobCreated", "Completed"} <= {each["reason"] for each in experiment.events()},
        "events",
    )


def test_a_stage_that_fails_fails_the_experiment(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply(stages={"train": FAILS})
    experiment.wait_for("Failed")
    assert experiment.status()["phase"] == "Failed"
    assert experiment.condition("Stalled")["status"] == "True"
    assert experiment.stage("package") == {}
    failures = operator.samples("sparse_transfer_stage_failures_total", stage="train")
    assert sum(failures.values()) == 1


def test_an_edit_runs_again_what_it_changes(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    # What a stage recorded is gone from the status while it runs again.
    told = stage_result(digests={"model": "0" * 64}, results=RESULTS)
    recorded = {"sim/message": told, "sim/duration": "4s"}
    experiment.apply(stages={"package": recorded})
    experiment.wait_for("Complete")
    before = experiment.jobs()
    experiment.patch({"spec": {"export": {"targets": ["onnxruntime"]}}})
    experiment.wait_until(
        lambda: (
            experiment.status().get("observedGeneration") == 2
            and experiment.status()["phase"] == "Succeeded"
        ),
        "the second result",
    )
    kept = set(before.items()) & set(experiment.jobs().items())
    assert {name.split("-")[2] for name, _ in kept} == {"prepare", "train"}
    assert len(experiment.jobs()) == 3


def test_a_deleted_experiment_takes_everything_with_it(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    package = {"sim/message": stage_result(results=RESULTS)}
    experiment.apply(stages={"package": package})
    experiment.wait_for("Complete")
    series = "sparse_transfer_experiment_speedup_ratio"
    assert operator.total(series, name=experiment.name) == RESULTS["headline"]["speedup"]
    experiment.kubectl("delete", "ste", experiment.name, "--wait=false")
    experiment.wait_until(lambda: not experiment.jobs(), "no Jobs")
    experiment.wait_until(lambda: not experiment.children("pods"), "no pods")
    experiment.wait_until(lambda: not operator.samples(series), "no series")
    assert operator.samples("sparse_transfer_experiments") == {}
    assert operator.total("sparse_transfer_stage_duration_seconds_count") == 3


def test_an_experiment_that_cannot_be_run_says_so(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply(template={"env": [{"name": "STE_STAGE_KEY", "value": "mine"}]})
    experiment.wait_for("Failed")
    assert "env.STE_STAGE_KEY" in experiment.condition("Failed")["message"]
    assert experiment.jobs() == {}
    experiment.patch({"spec": {"template": None}})
    experiment.wait_for("Complete")


def test_a_suspended_experiment_stops_and_goes_on(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply(stages={"train": {"sim/hang": "yes"}})
    experiment.wait_until_running("train")
    experiment.patch({"spec": {"runPolicy": {"suspend": True}}})
    experiment.wait_for_phase("Suspended")
    experiment.wait_until(lambda: len(experiment.children("pods")) == 1, "the pod to stop")
    experiment.patch({"spec": {"runPolicy": {"suspend": False}}})
    experiment.wait_until_running("train")
    experiment.wait_until(lambda: len(experiment.children("pods")) == 2, "a new pod")
    experiment.end_pod("train")
    experiment.wait_for("Complete")


def test_a_lost_pod_is_replaced(operator: OperatorProcess, experiment: Experiment) -> None:
    experiment.apply(stages={"train": {"sim/hang": "yes"}}, runPolicy={"backoffLimit": 2})
    experiment.wait_until_running("train")
    experiment.end_pod("train", exit_code="75")
    experiment.wait_until(lambda: experiment.stage("train").get("attempt") == 2, "attempt 2")
    experiment.wait_until(lambda: experiment.running_pods("train") != [], "another pod")
    experiment.end_pod("train")
    experiment.wait_for("Complete")


def test_finished_jobs_are_removed_in_time(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    policy = {"ttlSecondsAfterFinished": {"succeeded": 1}}
    experiment.apply(runPolicy=policy)
    experiment.wait_for("Complete")
    experiment.wait_until(lambda: not experiment.jobs(), "no Jobs")
    assert experiment.status()["phase"] == "Succeeded"


def test_a_job_that_is_refused_is_told_and_tried_again(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    experiment.cluster.apply(quota, namespace=experiment.namespace)
    experiment.wait_until(lambda: "status" in experiment.get("quota", "none"), "the quota")
    experiment.apply()
    experiment.wait_until(
        lambda: experiment.condition("Reconciling").get("reason") == "JobRefused", "the refusal"
    )
    assert "exceeded quota" in experiment.condition("Reconciling")["message"]
    assert operator.total("sparse_transfer_reconcile_errors_total", reason="Forbidden") >= 1
    experiment.kubectl("delete", "quota", "none")
    experiment.wait_for("Complete")


def test_what_others_apply_is_theirs(operator: OperatorProcess, experiment: Experiment) -> None:
    experiment.apply(stages={"train": {"sim/hang": "yes"}})
    experiment.wait_until_running("train")
    foreign = {
        "apiVersion": experiment.body()["apiVersion"],
        "kind": experiment.body()["kind"],
        "metadata": {"name": experiment.name, "labels": {"team": "language"}},
        "spec": {"runPolicy": {"backoffLimit": 5}},
    }
    experiment.cluster.kubectl(
        *("apply", "--server-side", "--field-manager=gitops", f"-n{experiment.namespace}"),
        *("-f", "-"),
        stdin=json.dumps(foreign),
    )
    experiment.wait_until(
        lambda: experiment.status().get("observedGeneration") == 2, "the edit to be seen"
    )
    experiment.end_pod("train")
    experiment.wait_for("Complete")
    body = experiment.get("ste", experiment.name, "--show-managed-fields")
    owners = {each["manager"]: each for each in body["metadata"]["managedFields"]}
    assert body["metadata"]["labels"] == {"team": "language"}
    assert body["spec"]["runPolicy"] == {"backoffLimit": 5}
    assert set(owners["sparse-transfer-operator"]["fieldsV1"]) == {"f:status"}
    assert "f:progress" not in owners["sparse-transfer-operator"]["fieldsV1"]["f:status"]
    assert not body["metadata"].get("finalizers")
    assert not body["metadata"].get("annotations")
