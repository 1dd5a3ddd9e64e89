from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparse_transfer_runner.packaging.scoring import agreement, score
from sparse_transfer_runner.use_cases.protocol import Batch


@dataclass(frozen=True)
class _Rows:
    """Rows of growing and shrinking length whose first token is their number."""

    features: Sequence[dict[str, Any]]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.features)

    @property
    def lengths(self) -> list[int]:
        return [len(row["ids"]) for row in self.features]

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        return {"first": np.array([self.features[row]["ids"][0] for row in rows])}


class _Echo:
    def run(self, batch: Batch) -> NDArray[np.float32]:
        return batch["first"][:, None].astype(np.float32)


def test_outputs_come_back_in_the_order_of_the_rows() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    rows = _Rows([{"ids": [n] * length} for n, length in enumerate(lengths)], np.zeros(100))
    batches = []
    logits = score(_Echo(), rows, lambda: batches.append(1))
    np.testing.assert_array_equal(logits[:, 0], np.arange(100))
    assert len(batches) == 4


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
    found = agreement(np.array(logits, dtype=np.float32), reference, problem_type)
    assert found.labels == labels
    assert found.largest_difference > 0


def test_values_of_a_regression_agree_within_a_twentieth_of_their_spread() -> None:
    reference = np.array([[0.0], [10.0], [5.0]], dtype=np.float32)
    found = agreement(
        reference + np.array([[0.4], [0.6], [0.0]], np.float32), reference, "regression"
    )
    assert found.labels == pytest.approx(2 / 3)
    assert found.largest_difference == pytest.approx(0.6, abs=1e-6)
