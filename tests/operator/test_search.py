"""An operator searches over levels on a real API server; simulated pods leave stage results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import RESULTS, Experiment, stage_result
from tests.operator.operators import OperatorProcess, operator_settings, running_operator

from sparse_transfer_api.contract import ANNOTATION_RETRY, LABEL_LEVEL
from sparse_transfer_cli.__main__ import invoke

HANGS = {"sim/hang": "yes"}
# Two levels come to the same model only where prepare records the same digests.
PREPARED = {"sim/message": stage_result(digests={"model": "{key}"})}
MAX_WRITES = 24


@pytest.fixture
def operator(experiments_known: Cluster, namespace: str) -> Iterator[OperatorProcess]:
    """An operator that serves the test's namespace only."""
    with running_operator(experiments_known, operator_settings(namespace)) as running:
        yield running


def results(recovery: float, latency: float, size: int = 1000) -> dict[str, Any]:
    point = {"name": "onnxruntime", "version": "1", "isa": "AVX512", "threads": 2, "batch": 1}
    figures = {"denseLatencyMs": 10.0, "latencyMs": latency, "speedup": 10 / latency}
    return {
        **RESULTS,
        "recovery": recovery,
        "sizeBytes": size,
        "engines": [{**point, "sequence": 128, **figures, "notes": []}],
    }


def running_level(experiment: Experiment, stage: str) -> float | None:
    """Returns the level whose stage runs, and has a pod to be ended."""
    search = experiment.status().get("search", {})
    for level in search.get("levels", []):
        for each in level.get("stages", []):
            if each["name"] == stage and each.get("outcome") == "Running":
                return float(level["level"]) if experiment.running_pods(stage) else None
    return None


def end_stage(experiment: Experiment, stage: str, level: float, **how: str) -> None:
    experiment.wait_until(
        lambda: running_level(experiment, stage) == level, f"{stage} to run at {level}"
    )
    experiment.end_pod(stage, **how)


def test_a_search_keeps_its_best_level_and_judges_again_when_asked_for_more(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply(stages={"prepare": PREPARED, "package": HANGS}, search={"levels": [0.3, 0.6]})
    came_to = {0.3: results(0.99, 5.0), 0.6: results(0.97, 2.5)}
    for level, found in came_to.items():
        end_stage(experiment, "package", level, message=stage_result(results=found))
    experiment.wait_for("Complete")
    status = experiment.status()
    assert status["phase"] == "Succeeded"
    assert (status["search"]["selected"], status["search"]["summary"]) == (0.6, "2 of 2")
    assert status["results"] == came_to[0.6]
    assert status["resolved"]["level"] == 0.6
    assert [each["results"] for each in status["search"]["levels"]] == list(came_to.values())
    jobs = experiment.jobs()
    assert len(jobs) == 6
    assert operator.writes() <= MAX_WRITES
    assert operator.total("sparse_transfer_stage_duration_seconds_count") == 6
    assert operator.total("sparse_transfer_experiment_speedup_ratio", name=experiment.name) > 0
    assert "2 of 2" in experiment.kubectl("get", "ste", experiment.name, "--output=wide")
    experiment.wait_until(
        lambda: any("level 0.6: package" in each["message"] for each in experiment.events()),
        "events of levels",
    )
    experiment.patch({"spec": {"search": {"minRecovery": 0.98}}})
    experiment.wait_until(
        lambda: experiment.status()["search"].get("selected") == 0.3, "another level"
    )
    assert experiment.status()["results"] == came_to[0.3]
    assert [each["recovery"] for each in experiment.status()["history"]] == [0.97]
    assert experiment.jobs() == jobs


def test_a_level_that_fails_ends_alone_and_a_level_that_is_added_is_tried_alone(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    package = {"sim/message": stage_result(results=results(0.98, 5.0))}
    stages = {"prepare": PREPARED, "train": HANGS, "package": package}
    experiment.apply(stages=stages, search={"levels": [0.3, 0.6]})
    end_stage(experiment, "train", 0.3, exit_code="10")
    end_stage(experiment, "train", 0.6)
    experiment.wait_for("Complete")
    search = experiment.status()["search"]
    assert [each["outcome"] for each in search["levels"]] == ["Failed", "Succeeded"]
    assert search["message"].startswith("level 0.6 is the only one that passes; level 0.3 failed")
    failures = operator.samples("sparse_transfer_stage_failures_total", stage="train")
    assert sum(failures.values()) == 1
    before = experiment.jobs()
    experiment.patch({"spec": {"search": {"levels": [0.3, 0.6, 0.9]}}})
    end_stage(experiment, "train", 0.9)
    experiment.wait_until(
        lambda: experiment.status()["search"].get("summary") == "3 of 3", "three levels"
    )
    assert set(before.items()) <= set(experiment.jobs().items())
    assert len(experiment.jobs()) == len(before) + 3


def test_where_no_level_passes_it_fails_and_an_easier_criterion_picks_one_without_a_job(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    stages = {"prepare": PREPARED, "package": HANGS}
    experiment.apply(stages=stages, search={"levels": [0.3, 0.6], "minRecovery": 0.98})
    came_to = {0.3: results(0.97, 2.5, size=2000), 0.6: results(0.95, 5.0)}
    for level, found in came_to.items():
        end_stage(experiment, "package", level, message=stage_result(results=found))
    experiment.wait_for("Failed")
    assert experiment.condition("Failed")["reason"] == "AcceptanceMissed"
    assert experiment.condition("Failed")["message"] == (
        "no level passes; level 0.3 comes nearest: recovery is 0.97; at least 0.98 is required"
    )
    status = experiment.status()
    assert (status["phase"], status["results"]) == ("Failed", came_to[0.3])
    assert [each["outcome"] for each in status["search"]["levels"]] == ["Succeeded"] * 2
    jobs = experiment.jobs()
    experiment.patch({"spec": {"search": {"minRecovery": 0.94, "objective": "Smallest"}}})
    experiment.wait_for("Complete")
    assert experiment.status()["search"]["message"] == "level 0.6 is the smallest of 2 that pass"
    assert experiment.status()["results"] == came_to[0.6]
    assert experiment.jobs() == jobs


def test_where_all_levels_fail_it_says_why_and_a_retry_runs_again_what_failed(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    package = {"sim/message": stage_result(results=results(0.98, 5.0))}
    stages = {"prepare": PREPARED, "train": HANGS, "package": package}
    experiment.apply(stages=stages, search={"levels": [0.3, 0.6]})
    for level in (0.3, 0.6):
        end_stage(experiment, "train", level, exit_code="10")
    experiment.wait_for("Failed")
    assert experiment.condition("Failed")["message"] == (
        "no level came to a result; level 0.3 failed: Simulated; level 0.6 failed: Simulated"
    )
    assert "selected" not in experiment.status()["search"]
    before = experiment.jobs()
    experiment.kubectl("annotate", "ste", experiment.name, f"{ANNOTATION_RETRY}=1")
    for level in (0.3, 0.6):
        end_stage(experiment, "train", level)
    experiment.wait_for("Complete")
    status = experiment.status()
    assert (status["observedRetry"], status["search"]["summary"]) == ("1", "2 of 2")
    kept = set(before.items()) & set(experiment.jobs().items())
    assert [name.split("-")[2] for name, _ in kept] == ["prepare"] * 2
    assert len(experiment.jobs()) == 6


def test_a_level_of_the_same_model_and_recipe_as_another_is_skipped(
    operator: OperatorProcess,
    experiment: Experiment,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    stages = {
        "prepare": {"sim/message": stage_result(digests={"model": "the same"})},
        "package": {"sim/message": stage_result(results=results(0.98, 5.0))},
    }
    experiment.apply(stages=stages, search={"levels": [0.6, 0.7]})
    experiment.wait_for("Complete")
    first, second = experiment.status()["search"]["levels"]
    assert [(each["name"], each["outcome"]) for each in second["stages"]] == [
        ("prepare", "Succeeded")
    ]
    assert (second["outcome"], second["sameAs"]) == ("Skipped", first["level"])
    levels = [each["metadata"]["labels"][LABEL_LEVEL] for each in experiment.children("jobs")]
    assert sorted(levels) == ["0.6", "0.6", "0.6", "0.7"]
    kubeconfig = str(experiment.cluster.kubeconfig)
    where = (experiment.name, "--namespace", experiment.namespace, "--kubeconfig", kubeconfig)
    assert invoke(["status", *where]) == 0
    told = capsys.readouterr().out
    assert "level        0.6 (MediumSparseInt8), kept; 2 of 2 levels have ended" in told
    assert "same as 0.6" in told
    page = tmp_path / "search.html"
    assert invoke(["results", *where, "--report", str(page)]) == 0
    assert "level 0.6 is the only one that passes" in capsys.readouterr().out
    assert "a search over 2 levels" in page.read_text()


def test_a_suspended_search_stops_and_goes_on_with_its_level(
    operator: OperatorProcess, experiment: Experiment
) -> None:
    package = {"sim/message": stage_result(results=results(0.98, 5.0))}
    stages = {"prepare": PREPARED, "train": HANGS, "package": package}
    experiment.apply(stages=stages, search={"levels": [0.3, 0.6]})
    experiment.wait_until(lambda: running_level(experiment, "train") == 0.3, "train at 0.3")
    jobs = experiment.jobs()
    experiment.patch({"spec": {"runPolicy": {"suspend": True}}})
    experiment.wait_for_phase("Suspended")
    experiment.wait_until(lambda: not experiment.running_pods("train"), "the pod to stop")
    experiment.patch({"spec": {"runPolicy": {"suspend": False}}})
    for level in (0.3, 0.6):
        end_stage(experiment, "train", level)
    experiment.wait_for("Complete")
    assert experiment.status()["search"]["summary"] == "2 of 2"
    assert set(jobs.items()) <= set(experiment.jobs().items())
