from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparse_transfer_runner.packaging.scoring import outputs_of
from sparse_transfer_runner.packaging.verification import largest_difference
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
        width = max(self.lengths[row] for row in rows)
        first = np.array([self.features[row]["ids"][0] for row in rows])
        return {"first": first, "width": np.full(len(rows), width)}


class _Echo:
    def run(self, batch: Batch) -> NDArray[np.float32]:
        return batch["first"][:, None].astype(np.float32)


def test_outputs_come_back_in_the_order_of_the_rows() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    rows = _Rows([{"ids": [n] * length} for n, length in enumerate(lengths)], np.zeros(100))
    batches = []
    logits = outputs_of(_Echo(), rows, lambda: batches.append(1))
    np.testing.assert_array_equal(logits[:, 0], np.arange(100))
    assert len(batches) == 4


class _EchoAtEachPosition:
    def run(self, batch: Batch) -> NDArray[np.float32]:
        return np.repeat(batch["first"][:, None, None], batch["width"][0], 1).astype(np.float32)


def test_outputs_at_positions_are_as_long_as_the_longest_row() -> None:
    lengths = [3, 5, 1]
    rows = _Rows([{"ids": [n + 1] * length} for n, length in enumerate(lengths)], np.zeros(3))
    outputs = outputs_of(_EchoAtEachPosition(), rows)
    assert outputs.shape == (3, 5, 1)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(outputs[row, :length, 0], row + 1)


def test_outputs_of_padding_are_not_kept() -> None:
    class PadsByItself:
        def run(self, batch: Batch) -> NDArray[np.float32]:
            width = int(batch["width"][0])
            return np.ones((len(batch["width"]), width + 2, 1), dtype=np.float32)

    lengths = [3, 1, 2]
    rows = _Rows([{"ids": [n] * length} for n, length in enumerate(lengths)], np.zeros(3))

    outputs = outputs_of(PadsByItself(), rows)

    assert outputs.shape == (3, 3, 1)
    assert outputs.sum(axis=(1, 2)).tolist() == lengths


class _Reduced(_Rows):
    def reduced(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        return np.ones((len(outputs), 4, 6), dtype=np.float32)

    def rows_at_once(self) -> int:
        return 2


def test_what_a_split_reduces_is_kept_whole() -> None:
    rows = _Reduced([{"ids": [n]} for n in range(3)], np.zeros(3))

    batches = []
    outputs = outputs_of(_EchoAtEachPosition(), rows, lambda: batches.append(1))

    assert outputs.shape == (3, 4, 6)
    assert outputs.all()
    assert len(batches) == 2


@pytest.mark.parametrize(("kind", "difference"), [(_Rows, 0.5), (_Reduced, None)])
def test_outputs_have_a_largest_difference_where_they_are_not_the_best_of_many(
    kind: type[_Rows], difference: float | None
) -> None:
    rows = kind([{"ids": [0]}], np.zeros(1))
    one, other = np.zeros((1, 4, 6), np.float32), np.full((1, 4, 6), 0.5, np.float32)
    assert largest_difference(one, other, rows) == difference
