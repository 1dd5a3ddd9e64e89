from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparse_transfer_runner.packaging.baseline import constant_metric
from sparse_transfer_runner.packaging.bootstrap import Metric, recovery_interval, row_sums
from sparse_transfer_runner.use_cases import metrics

_ROWS = 600


def _metric(problem_type: str, name: str) -> Metric:
    return lambda logits, targets: metrics.score(problem_type, logits, targets)[name]


def _data(problem_type: str, noise: float, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns logits that know the targets up to noise, and the targets."""
    random = np.random.default_rng(seed)
    spread = random.normal(size=(_ROWS, 3)).astype(np.float32) * noise
    if problem_type == metrics.SINGLE_LABEL:
        targets = np.random.default_rng(7).integers(0, 3, _ROWS)
        return np.eye(3, dtype=np.float32)[targets] + spread, targets
    if problem_type == metrics.MULTI_LABEL:
        wanted = (np.random.default_rng(7).random((_ROWS, 3)) < 0.4).astype(np.float32)
        return wanted - 0.5 + spread, wanted
    values = np.random.default_rng(7).normal(size=_ROWS).astype(np.float32)
    return values[:, None] + spread[:, :1], values


_PRIMARY = [
    (metrics.SINGLE_LABEL, "accuracy"),
    (metrics.MULTI_LABEL, "micro_f1"),
    (metrics.REGRESSION, "pearson"),
]


@pytest.mark.parametrize(("problem_type", "name"), _PRIMARY)
def test_each_primary_metric_is_a_function_of_sums_over_rows(problem_type: str, name: str) -> None:
    logits, targets = _data(problem_type, noise=0.7)
    metric = _metric(problem_type, name)
    sums = row_sums(logits, targets, metric)
    assert sums is not None
    random = np.random.default_rng(1)
    for _ in range(5):
        rows = random.integers(0, _ROWS, _ROWS)
        resampled = sums.combine(sums.terms[rows].sum(axis=0, keepdims=True))[0]
        assert resampled == pytest.approx(metric(logits[rows], targets[rows]), abs=1e-6)


@pytest.mark.parametrize(
    ("problem_type", "name"), [*_PRIMARY, (metrics.SINGLE_LABEL, "matthews_correlation")]
)
def test_the_interval_holds_the_recovery(problem_type: str, name: str) -> None:
    dense, targets = _data(problem_type, noise=0.5, seed=1)
    product, _ = _data(problem_type, noise=0.7, seed=2)
    metric = _metric(problem_type, name)
    interval = recovery_interval(product, dense, targets, metric)
    assert interval is not None
    recovery = metric(product, targets) / metric(dense, targets)
    assert interval.low < recovery < interval.high
    assert interval.high - interval.low < 0.2


def test_a_product_that_is_its_baseline_recovers_exactly_one() -> None:
    logits, targets = _data(metrics.SINGLE_LABEL, noise=0.5)
    interval = recovery_interval(logits, logits, targets, _metric(metrics.SINGLE_LABEL, "accuracy"))
    assert interval is not None
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_pairing_makes_the_interval_narrower_than_a_given_baseline() -> None:
    metric = _metric(metrics.SINGLE_LABEL, "accuracy")
    dense, targets = _data(metrics.SINGLE_LABEL, noise=0.5, seed=1)
    product = dense.copy()
    product[:10] = -product[:10]
    paired = recovery_interval(product, dense, targets, metric)
    given = recovery_interval(product, None, targets, metric, given=metric(dense, targets))
    assert paired is not None
    assert given is not None
    assert paired.high - paired.low < given.high - given.low


def test_the_same_seed_gives_the_same_interval() -> None:
    metric = _metric(metrics.SINGLE_LABEL, "accuracy")
    dense, targets = _data(metrics.SINGLE_LABEL, noise=0.5, seed=1)
    product, _ = _data(metrics.SINGLE_LABEL, noise=0.7, seed=2)
    first, second = (recovery_interval(product, dense, targets, metric, seed=5) for _ in range(2))
    assert first == second


def test_there_is_no_interval_where_the_baseline_reaches_zero() -> None:
    targets = np.zeros(20, dtype=np.int64)
    wrong = np.tile(np.array([0.0, 1.0], dtype=np.float32), (20, 1))
    metric = _metric(metrics.SINGLE_LABEL, "accuracy")
    assert recovery_interval(-wrong, wrong, targets, metric) is None


def test_a_baseline_is_needed_in_one_form() -> None:
    logits, targets = _data(metrics.SINGLE_LABEL, noise=0.5)
    with pytest.raises(ValueError, match="one of baseline and given"):
        recovery_interval(logits, None, targets, _metric(metrics.SINGLE_LABEL, "accuracy"))


@pytest.mark.parametrize(
    ("problem_type", "name", "targets", "labels", "constant"),
    [
        pytest.param(
            metrics.SINGLE_LABEL,
            "accuracy",
            np.array([0, 1, 1, 1, 2]),
            3,
            0.6,
            id="the most frequent class",
        ),
        pytest.param(
            metrics.MULTI_LABEL,
            "micro_f1",
            np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.float32),
            2,
            0.75,
            id="the best fixed set of labels",
        ),
        pytest.param(
            metrics.REGRESSION,
            "pearson",
            np.array([0.1, 0.5], dtype=np.float32),
            1,
            0.0,
            id="a constant correlates with nothing",
        ),
    ],
)
def test_the_best_constant_answer(
    problem_type: str, name: str, targets: NDArray[Any], labels: int, constant: float
) -> None:
    metric = _metric(problem_type, name)
    assert constant_metric(targets, metric, problem_type, labels) == pytest.approx(constant)
