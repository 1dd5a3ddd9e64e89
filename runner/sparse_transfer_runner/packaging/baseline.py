"""Whether a baseline is worth comparing with: better than giving always the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Metric


def constant_metric(targets: NDArray[Any], metric: Metric, problem_type: str, labels: int) -> float:
    """Returns the primary metric of the best answer that ignores its input.

    Args:
        targets: Of the evaluation rows, in the shapes of ``EncodedSplit.targets``.
        metric: The primary metric.
        problem_type: Such as ``single_label_classification``.
        labels: Number of outputs.
    """
    if problem_type == "regression":
        return 0.0  # a constant correlates with nothing
    rows = len(targets)
    if problem_type == "multi_label_classification":
        order = np.argsort(-targets.sum(axis=0), kind="stable")
        answers = [np.isin(np.arange(labels), order[:count]) for count in range(1, labels + 1)]
    else:
        counts = np.bincount(targets.astype(np.int64), minlength=labels)
        answers = [np.arange(labels) == counts.argmax()]
    return max(
        metric(np.tile(np.where(answer, 1.0, -1.0).astype(np.float32), (rows, 1)), targets)
        for answer in answers
    )
