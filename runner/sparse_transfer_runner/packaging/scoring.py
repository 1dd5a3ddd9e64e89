"""Runs a file over a split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.engines.protocol import Session
from sparse_transfer_runner.training.batches import sorted_by_length
from sparse_transfer_runner.training.loop import lengths_of
from sparse_transfer_runner.use_cases.outputs import Outputs, rows_at_once
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

BATCH = 32
"""Rows at once. The order of rows does not matter to the outputs, and sorted ones pad little."""


def outputs_of(
    session: Session,
    data: EncodedSplit,
    on_batch: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Returns the outputs for every row, in the split's order; see ``Outputs``.

    Args:
        session: The loaded file.
        data: The rows.
        on_batch: Called after each batch.
    """
    gathered = Outputs(data)
    for rows in sorted_by_length(lengths_of(data), rows_at_once(data, BATCH)):
        gathered.put(rows, session.run(data.collate(rows)))
        on_batch()
    return gathered.all
