from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparse_transfer_runner.packaging.bootstrap import recovery_interval
from sparse_transfer_runner.use_cases import metrics
from sparse_transfer_runner.use_cases.classification_scores import scored
from sparse_transfer_runner.use_cases.scores import Scored, Sums

_ROWS = 600


def _scored(problem_type: str, logits: NDArray[Any], targets: NDArray[Any]) -> Scored:
    return scored(logits, targets, lambda *given: metrics.score(problem_type, *given))


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
    sums = _scored(problem_type, logits, targets).resampling(name)
    assert isinstance(sums, Sums)
    random = np.random.default_rng(1)
    for _ in range(5):
        rows = random.integers(0, _ROWS, _ROWS)
        counts = np.bincount(rows, minlength=_ROWS)
        wanted = metrics.score(problem_type, logits[rows], targets[rows])[name]
        assert sums.values(counts[None])[0] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("problem_type", "name"), [*_PRIMARY, (metrics.SINGLE_LABEL, "matthews_correlation")]
)
def test_the_interval_holds_the_recovery(problem_type: str, name: str) -> None:
    dense, targets = _data(problem_type, noise=0.5, seed=1)
    product, _ = _data(problem_type, noise=0.7, seed=2)
    sparse, baseline = (_scored(problem_type, each, targets) for each in (product, dense))
    interval = recovery_interval(sparse, baseline, name)
    assert interval is not None
    recovery = sparse.metrics[name] / baseline.metrics[name]
    assert interval.low < recovery < interval.high
    assert interval.high - interval.low < 0.2


def test_a_product_that_is_its_baseline_recovers_exactly_one() -> None:
    logits, targets = _data(metrics.SINGLE_LABEL, noise=0.5)
    own = _scored(metrics.SINGLE_LABEL, logits, targets)
    interval = recovery_interval(own, own, "accuracy")
    assert interval is not None
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_pairing_makes_the_interval_narrower_than_a_given_baseline() -> None:
    dense, targets = _data(metrics.SINGLE_LABEL, noise=0.5, seed=1)
    product = dense.copy()
    product[:10] = -product[:10]
    sparse, baseline = (_scored(metrics.SINGLE_LABEL, each, targets) for each in (product, dense))
    paired = recovery_interval(sparse, baseline, "accuracy")
    given = recovery_interval(sparse, None, "accuracy", given=baseline.metrics["accuracy"])
    assert paired is not None
    assert given is not None
    assert paired.high - paired.low < given.high - given.low


def test_the_same_seed_gives_the_same_interval() -> None:
    dense, targets = _data(metrics.SINGLE_LABEL, noise=0.5, seed=1)
    product, _ = _data(metrics.SINGLE_LABEL, noise=0.7, seed=2)
    both = [_scored(metrics.SINGLE_LABEL, each, targets) for each in (product, dense)]
    first, second = (recovery_interval(*both, "accuracy", seed=5) for _ in range(2))
    assert first == second


def test_there_is_no_interval_where_the_baseline_reaches_zero() -> None:
    targets = np.zeros(20, dtype=np.int64)
    wrong = np.tile(np.array([0.0, 1.0], dtype=np.float32), (20, 1))
    right, baseline = (_scored(metrics.SINGLE_LABEL, each, targets) for each in (-wrong, wrong))
    assert recovery_interval(right, baseline, "accuracy") is None


def test_a_baseline_is_needed_in_one_form() -> None:
    logits, targets = _data(metrics.SINGLE_LABEL, noise=0.5)
    with pytest.raises(ValueError, match="one of baseline and given"):
        recovery_interval(_scored(metrics.SINGLE_LABEL, logits, targets), None, "accuracy")
