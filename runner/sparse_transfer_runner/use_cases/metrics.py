"""Metrics of classification and regression; in every list the primary one comes first.

All are higher-is-better but ``rmse``, which is reported and cannot be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.suggest import did_you_mean

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

NAMES: dict[str, tuple[str, ...]] = {
    SINGLE_LABEL: ("accuracy", "f1", "matthews_correlation"),
    MULTI_LABEL: ("micro_f1", "macro_f1", "subset_accuracy"),
    REGRESSION: ("pearson", "spearman"),
}


TOP_5 = "top5_accuracy"


def names_for_classes(count: int) -> tuple[str, ...]:
    """Returns the metrics of classifiers into so many classes; five of five are always right."""
    return (*NAMES[SINGLE_LABEL], TOP_5) if count > _TOP else NAMES[SINGLE_LABEL]


_TOP = 5


def resolve_metric(asked: str | None, names: Sequence[str]) -> str:
    """Returns the primary metric.

    Args:
        asked: ``spec.evaluation.metric``.
        names: The use case's, the primary one first.

    Raises:
        InputError: There is no such metric; the message suggests the nearest.
    """
    if asked is None:
        return names[0]
    if asked in names:
        return asked
    raise InputError(
        "the metric cannot be used",
        [
            Problem(
                "spec.evaluation.metric",
                f"{asked!r}; expected {', '.join(names)}{did_you_mean(asked, names)}",
            )
        ],
    )


def score(problem_type: str, logits: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Returns every metric of a problem type by name.

    Args:
        problem_type: As transformers names it.
        logits: float32 ``[rows, labels]``.
        targets: int64 ``[rows]`` classes, float32 ``[rows, labels]`` 0 or 1, or float32 ``[rows]``.
    """
    if problem_type == REGRESSION:
        return _regression(logits.reshape(len(targets)), targets)
    if problem_type == MULTI_LABEL:
        return _multi_label(logits, targets)
    return _single_label(logits, targets)


def score_classes(logits: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Returns every metric of single-label classification, top-5 accuracy where it says something.

    Args:
        logits: float32 ``[rows, classes]``.
        targets: int64 ``[rows]``.
    """
    found = _single_label(logits, targets)
    if logits.shape[1] > _TOP:
        best = np.argpartition(-logits, _TOP - 1, axis=1)[:, :_TOP]
        found[TOP_5] = float((best == targets[:, None]).any(axis=1).mean())
    return found


def _single_label(logits: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    from sklearn.metrics import f1_score, matthews_corrcoef

    predicted = logits.argmax(axis=-1)
    constant = len(np.unique(np.concatenate([targets, predicted]))) == 1
    return {
        "accuracy": float((predicted == targets).mean()),
        # Macro: it depends neither on the order of the labels nor on which one is "positive".
        "f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "matthews_correlation": 0.0 if constant else float(matthews_corrcoef(targets, predicted)),
    }


def _multi_label(logits: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    from sklearn.metrics import f1_score

    # A probability above 0.5 is a logit above 0.
    predicted, wanted = logits > 0, targets > 0.5
    return {
        "micro_f1": float(f1_score(wanted, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(wanted, predicted, average="macro", zero_division=0)),
        "subset_accuracy": float((predicted == wanted).all(axis=-1).mean()),
    }


def _regression(values: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    from scipy.stats import rankdata

    return {
        "pearson": _correlation(values, targets),
        "spearman": _correlation(rankdata(values), rankdata(targets)),
        "rmse": math.sqrt(float(np.mean((values.astype(float) - targets) ** 2))),
    }


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Returns Pearson's correlation; 0 where one side is constant, which predicts nothing."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first.astype(float), second.astype(float))[0, 1])
