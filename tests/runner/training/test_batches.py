from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.training.batches import length_bucketed, sorted_by_length

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=300)


@given(lengths=LENGTHS, size=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_an_epoch_visits_every_row_once_and_is_a_function_of_seed_and_epoch(
    lengths: list[int], size: int, seed: int, epoch: int
) -> None:
    batches = length_bucketed(lengths, size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert batches == length_bucketed(lengths, size, seed=seed, epoch=epoch)
    assert len(batches) == math.ceil(len(lengths) / size)
    if size > 2 and len(lengths) > 1:
        assert min(map(len, batches)) > 1, "batch norms cannot learn from one row"


@given(lengths=LENGTHS, size=st.integers(1, 40))
def test_evaluation_batches_hold_rows_of_like_length(lengths: list[int], size: int) -> None:
    batches = sorted_by_length(lengths, size)
    flat = [row for batch in batches for row in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[row] for row in flat] == sorted(lengths)


def test_epochs_differ() -> None:
    lengths = list(range(1, 200))
    first, second = (length_bucketed(lengths, 8, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second
