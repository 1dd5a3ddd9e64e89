"""Metrics by hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.use_cases.metrics import NAMES, resolve_metric, score

SINGLE, MULTI, REGRESSION = NAMES


def test_accuracy_and_macro_f1_of_single_labels() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]], dtype=np.float32)

    found = score(SINGLE, logits, np.array([0, 1, 1, 1]))

    assert found["accuracy"] == 0.75
    # Class 0: precision 1/2, recall 1; class 1: precision 1, recall 2/3.
    assert found["f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["matthews_correlation"] == pytest.approx(1 / np.sqrt(3))


def test_one_class_alone_needs_no_warning() -> None:
    found = score(SINGLE, np.array([[2.0, 1.0]] * 3), np.zeros(3, dtype=np.int64))

    assert found == {"accuracy": 1.0, "f1": 1.0, "matthews_correlation": 0.0}


def test_micro_f1_counts_labels_above_one_half() -> None:
    logits = np.array([[1.0, -1.0, 0.1], [-2.0, 3.0, -0.1]], dtype=np.float32)
    targets = np.array([[1, 0, 0], [0, 1, 1]], dtype=np.float32)

    found = score(MULTI, logits, targets)

    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["subset_accuracy"] == 0.0


def test_pearson_with_rmse_beside_it() -> None:
    found = score(REGRESSION, np.array([[1.0], [2.0], [4.0]]), np.array([2.0, 4.0, 8.0]))

    assert found["pearson"] == pytest.approx(1.0)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 4 + 16) / 3))


def test_a_constant_prediction_correlates_with_nothing() -> None:
    assert score(REGRESSION, np.ones((3, 1)), np.array([1.0, 2.0, 3.0]))["pearson"] == 0.0


@pytest.mark.parametrize("problem_type", NAMES)
def test_every_name_that_can_be_asked_for_is_computed(problem_type: str) -> None:
    targets = np.array([0, 1]) if problem_type != MULTI else np.eye(2)
    logits = np.eye(2) if problem_type != REGRESSION else np.array([[0.0], [1.0]])

    assert set(NAMES[problem_type]) <= score(problem_type, logits, targets).keys()


def test_the_first_metric_is_the_default() -> None:
    assert resolve_metric(None, NAMES[SINGLE]) == "accuracy"
    assert resolve_metric("f1", NAMES[SINGLE]) == "f1"


def test_an_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'acuracy'; expected accuracy, f1, .*mean accuracy"):
        resolve_metric("acuracy", NAMES[SINGLE])
