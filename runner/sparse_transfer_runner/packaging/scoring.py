"""Runs a file over a split and compares it with the trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.engines.protocol import Session
from sparse_transfer_runner.training.batches import sorted_by_length
from sparse_transfer_runner.training.loop import lengths_of
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

BATCH = 32
"""Rows at once. The order of rows does not matter to the outputs, and sorted ones pad little."""

_REGRESSION_TOLERANCE = 0.05
"""Of the spread of the trained model's outputs; nearer ones count as the same answer."""


def score(
    session: Session,
    data: EncodedSplit,
    on_batch: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Returns the logits of every row, ``[rows, labels]``, in the split's order.

    Args:
        session: The loaded file.
        data: The rows.
        on_batch: Called after each batch.
    """
    outputs: NDArray[np.float32] | None = None
    for rows in sorted_by_length(lengths_of(data), BATCH):
        logits = session.run(data.collate(rows))
        if outputs is None:
            outputs = np.zeros((len(data), logits.shape[-1]), dtype=np.float32)
        outputs[rows] = logits
        on_batch()
    assert outputs is not None, "a checked split has rows"
    return outputs


@dataclass(frozen=True)
class Agreement:
    """How near a file is to the trained model on the same rows.

    Args:
        largest_difference: Largest absolute difference of a logit.
        labels: Share of rows with the same answer.
    """

    largest_difference: float
    labels: float


def agreement(
    logits: NDArray[np.float32], reference: NDArray[np.float32], problem_type: str
) -> Agreement:
    """Compares a file's logits with the trained model's, both ``[rows, labels]``.

    The same answer is the same label; for several labels at once the same set at 0.5; for
    regression a value within 5 % of the spread of the trained model's values.
    """
    difference = np.abs(logits - reference)
    if problem_type == "multi_label_classification":
        same = ((logits > 0) == (reference > 0)).all(axis=1)
    elif problem_type == "regression":
        same = (difference <= _REGRESSION_TOLERANCE * np.ptp(reference)).all(axis=1)
    else:
        same = logits.argmax(axis=1) == reference.argmax(axis=1)
    return Agreement(float(difference.max()), float(same.mean()))
