"""Which rows make up which batch: a pure function of lengths, seed and epoch.

So a resumed run sees the batches that an unstopped one would have seen, without replaying them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_WINDOW = 50
"""Batches whose rows are sorted by length together: little padding, and still much chance."""
_PAIR = 2


def length_bucketed(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Returns the batches of one epoch in order; each row stands in exactly one.

    A single row that would be left over takes another one from the batch before: batch norms know
    no spread of one row, and PyTorch refuses to normalize by it where a picture is one pixel wide.

    Args:
        lengths: Of each row, in tokens; equal for inputs without length.
        batch_size: Rows of a batch; the last one of the data may be smaller.
        seed: Of the run.
        epoch: Counted from 0; every epoch is shuffled anew.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths))
    sizes = np.asarray(lengths)
    window = batch_size * _WINDOW
    order = np.concatenate(
        [
            part[np.argsort(sizes[part], kind="stable")]
            for part in (order[i : i + window] for i in range(0, len(order), window))
        ]
    )
    starts = list(range(0, len(order), batch_size))
    if batch_size > _PAIR and len(starts) > 1 and len(order) - starts[-1] == 1:
        starts[-1] -= 1
    batches = [order[i:j].tolist() for i, j in pairwise([*starts, len(order)])]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Returns batches for evaluation: every row once, with the least padding."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
