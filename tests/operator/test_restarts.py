"""An operator that stops and starts loses nothing and does nothing twice."""

from __future__ import annotations

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment
from tests.operator.operators import operator_settings, running_operator

STAGES = ("prepare", "train", "package")
HANGS = {"sim/hang": "yes"}
QUICK = {"durationSeconds": 3, "renewDeadlineSeconds": 2, "retrySeconds": 0.5}


@pytest.mark.parametrize("stage", STAGES)
def test_a_restart_while_a_stage_runs_writes_nothing(
    stage: str, experiments_known: Cluster, experiment: Experiment
) -> None:
    settings = operator_settings(experiment.namespace)
    with running_operator(experiments_known, settings):
        experiment.apply(stages={stage: HANGS})
        experiment.wait_until_running(stage)
    before, jobs = experiment.body(), experiment.jobs()
    with running_operator(experiments_known, settings) as second:
        second.wait_until_idle()
        assert second.writes() == 0
        assert (
            experiment.body()["metadata"]["resourceVersion"]
            == (before["metadata"]["resourceVersion"])
        )
        experiment.end_pod(stage)
        experiment.wait_for("Complete")
        assert jobs.items() <= experiment.jobs().items()


@pytest.mark.parametrize("stage", STAGES)
def test_what_happens_while_no_operator_runs_is_not_lost(
    stage: str, experiments_known: Cluster, experiment: Experiment
) -> None:
    settings = operator_settings(experiment.namespace)
    with running_operator(experiments_known, settings):
        experiment.apply(stages={stage: HANGS})
        experiment.wait_until_running(stage)
    experiment.end_pod(stage)
    experiment.wait_until(lambda: experiment.running_pods(stage) == [], "the pod's end")
    with running_operator(experiments_known, settings):
        experiment.wait_for("Complete")


def test_a_killed_operator_is_replaced_by_one_that_goes_on(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    settings = operator_settings(experiment.namespace, lease=QUICK)
    with running_operator(experiments_known, settings) as first:
        experiment.apply(stages={"train": HANGS})
        experiment.wait_until_running("train")
        first.kill()
    jobs = experiment.jobs()
    with running_operator(experiments_known, settings):
        experiment.end_pod("train")
        experiment.wait_for("Complete")
    assert jobs.items() <= experiment.jobs().items()


def test_an_experiment_that_was_deleted_meanwhile_is_not_there(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    settings = operator_settings(experiment.namespace)
    with running_operator(experiments_known, settings):
        experiment.apply()
        experiment.wait_for("Complete")
    experiment.kubectl("delete", "ste", experiment.name)
    with running_operator(experiments_known, settings) as second:
        assert second.samples("sparse_transfer_experiments") == {}
        assert second.writes() == 0
