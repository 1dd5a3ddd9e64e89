from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparse_transfer_runner.use_cases import metrics
from sparse_transfer_runner.use_cases.classification_scores import constant_metric, same_answers


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
    found = constant_metric(
        targets, labels, problem_type, lambda *given: metrics.score(problem_type, *given), name
    )
    assert found == pytest.approx(constant)


@pytest.mark.parametrize(
    ("problem_type", "logits", "labels"),
    [
        ("single_label_classification", [[1.0, 2.0], [0.0, 3.0], [2.0, 1.0], [1.0, 0.0]], 0.75),
        ("multi_label_classification", [[1.0, 2.0], [1.0, 3.0], [2.0, 1.0], [1.0, 1.0]], 0.5),
    ],
)
def test_agreement_counts_equal_answers(
    problem_type: str, logits: list[list[float]], labels: float
) -> None:
    reference = np.array([[0.5, 2.5], [-1.0, 3.0], [2.0, 1.0], [-1.0, 1.0]], dtype=np.float32)
    found = same_answers(np.array(logits, dtype=np.float32), reference, problem_type)
    assert found == labels


def test_values_of_a_regression_agree_within_a_twentieth_of_their_spread() -> None:
    reference = np.array([[0.0], [10.0], [5.0]], dtype=np.float32)
    shifted = reference + np.array([[0.4], [0.6], [0.0]], np.float32)
    assert same_answers(shifted, reference, "regression") == pytest.approx(2 / 3)
