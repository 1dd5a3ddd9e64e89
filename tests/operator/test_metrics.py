"""The metrics are those that the design names, and say what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.operator.bodies import NAMESPACE, UID, experiment_body, job_body

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import SparseTransferStatus, StageStatus
from sparse_transfer_operator.actions import Plan
from sparse_transfer_operator.metrics import Metrics
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.observed import Children
from sparse_transfer_operator.observer import Kind, Observer
from sparse_transfer_operator.projection import observed_experiment, observed_job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESULTS = {"recovery": 0.98, "sparsity": 0.8, "headline": {"speedup": 2.5}}
PROGRESS = {"stage": "train", "percentage": 40.0, "estimatedRemainingSeconds": 60}
USE_CASE = "nlp-sentiment_analysis"


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def metrics(observer: Observer) -> Metrics:
    return Metrics(observer.summaries)


def _value(metrics: Metrics, metric: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(metric, labels)


def _names(metrics: Metrics) -> set[str]:
    return {family.name for family in metrics.registry.collect()}


def test_there_are_exactly_these_metrics(metrics: Metrics) -> None:
    assert {name for name in _names(metrics) if name.startswith("sparse_transfer")} == {
        "sparse_transfer_build_info",
        "sparse_transfer_experiment_accuracy_recovery_ratio",
        "sparse_transfer_experiment_progress_percentage",
        "sparse_transfer_experiment_remaining_seconds",
        "sparse_transfer_experiment_sparsity_ratio",
        "sparse_transfer_experiment_speedup_ratio",
        "sparse_transfer_experiments",
        "sparse_transfer_progress_posts",
        "sparse_transfer_queue_wait_seconds",
        "sparse_transfer_reconcile_duration_seconds",
        "sparse_transfer_reconcile_errors",
        "sparse_transfer_stage_duration_seconds",
        "sparse_transfer_stage_failures",
    }


def test_experiments_are_counted_and_shown_while_they_are_there(
    observer: Observer, metrics: Metrics
) -> None:
    status = {"phase": "Training", "results": RESULTS, "progress": PROGRESS}
    observer.see(Kind.EXPERIMENT, experiment_body(1, uid="1", name="a", status=status))
    observer.see(Kind.EXPERIMENT, experiment_body(2, uid="2", name="b", status=status))
    observer.see(Kind.EXPERIMENT, experiment_body(3, uid="3", name="c"))
    count = {"namespace": NAMESPACE, "use_case": USE_CASE}
    of_a = {"namespace": NAMESPACE, "name": "a"}
    prefix = "sparse_transfer_experiment"
    assert _value(metrics, f"{prefix}s", phase="Training", **count) == 2
    assert _value(metrics, f"{prefix}s", phase="Pending", **count) == 1
    for name, value in (
        ("accuracy_recovery_ratio", 0.98),
        ("speedup_ratio", 2.5),
        ("sparsity_ratio", 0.8),
    ):
        assert _value(metrics, f"{prefix}_{name}", use_case=USE_CASE, **of_a) == value
    assert _value(metrics, f"{prefix}_progress_percentage", stage="train", **of_a) == 40
    assert _value(metrics, f"{prefix}_remaining_seconds", stage="train", **of_a) == 60
    observer.bury(Kind.EXPERIMENT, ObjectKey(NAMESPACE, "a"), "1")
    assert _value(metrics, f"{prefix}s", phase="Training", **count) == 1
    assert _value(metrics, f"{prefix}_speedup_ratio", use_case=USE_CASE, **of_a) is None


def _train(**fields: object) -> StageStatus:
    return StageStatus.model_validate({"name": Stage.TRAIN, "key": "k", "job": "j", **fields})


def _written(metrics: Metrics, *stages: StageStatus) -> None:
    """Tells of statuses that were written one after the other, of one stage each."""
    job = observed_job(job_body(metadata={"name": "j"}))
    assert job is not None
    status = SparseTransferStatus()
    for stage in stages:
        before = observed_experiment(experiment_body(status=status.to_json_dict()))
        assert before.uid == UID
        status = SparseTransferStatus(stages=(stage,))
        metrics.written(before, Children((job,)), Plan(status))


def test_a_stage_is_measured_once(metrics: Metrics) -> None:
    started, ended = NOON + timedelta(seconds=5), NOON + timedelta(seconds=65)
    running = _train(start_time=started, outcome="Running")
    done = _train(start_time=started, completion_time=ended, outcome="Succeeded")
    _written(metrics, running, running, done, done)
    labels = {"stage": "train", "use_case": USE_CASE, "outcome": "Succeeded"}
    duration = "sparse_transfer_stage_duration_seconds"
    assert _value(metrics, f"{duration}_count", **labels) == 1
    assert _value(metrics, f"{duration}_sum", **labels) == 60
    assert _value(metrics, "sparse_transfer_queue_wait_seconds_count") == 1
    assert _value(metrics, "sparse_transfer_queue_wait_seconds_sum") == 5


def test_a_stage_that_runs_again_is_measured_again(metrics: Metrics) -> None:
    failed = _train(start_time=NOON, completion_time=NOON, outcome="Failed", reason="OutOfMemory")
    _written(metrics, failed, failed.model_copy(update={"outcome": "Running"}), failed)
    labels = {"stage": "train", "reason": "OutOfMemory"}
    assert _value(metrics, "sparse_transfer_stage_failures_total", **labels) == 2


def test_reasons_that_runners_make_up_are_few_series(metrics: Metrics) -> None:
    for number in range(200):
        _written(metrics, _train(outcome="Failed", reason=f"Reason{number}"))
    failures = "sparse_transfer_stage_failures_total"
    assert _value(metrics, failures, stage="train", reason="Reason0") == 1
    assert _value(metrics, failures, stage="train", reason="Reason199") is None
    others = _value(metrics, failures, stage="train", reason="Other")
    assert others is not None
    assert others > 100


def test_build_info_names_the_version(metrics: Metrics) -> None:
    (family,) = (each for each in metrics.registry.collect() if each.name.endswith("build_info"))
    assert set(family.samples[0].labels) == {"version", "revision"}
    assert family.samples[0].value == 1
