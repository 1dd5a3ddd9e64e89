"""A model's outputs for a whole split, gathered batch by batch.

Those of many words or masks take more than memory has; such lie in a file without a name, which is
gone with them.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.storage.settings import scratch_folder

from .protocol import EncodedSplit, ReducedSplit

_IN_MEMORY_BYTES = 128 << 20


def rows_at_once(rows: EncodedSplit, most: int) -> int:
    """Returns how many rows of a split to ask a model about at once.

    Args:
        rows: The split.
        most: Where their outputs are small.
    """
    return min(most, rows.rows_at_once()) if isinstance(rows, ReducedSplit) else most


class Outputs:
    """Takes batches in any order; knows the outputs of all rows in the end.

    Args:
        rows: The split.
    """

    def __init__(self, rows: EncodedSplit) -> None:
        self._rows = rows
        self._gathered: NDArray[np.float32] | None = None

    def put(self, places: Sequence[int], outputs: NDArray[Any]) -> None:
        """Notes a batch's outputs, ``[batch, labels]`` or ``[batch, positions, labels]``.

        What a split reduces is reduced here, before it is kept.
        """
        with_positions = outputs.ndim > 2
        if isinstance(self._rows, ReducedSplit):
            outputs, with_positions = self._rows.reduced(outputs), False
        if self._gathered is None:
            shape = outputs.shape[1:]
            if with_positions:
                shape = (int(np.max(self._rows.lengths)), *shape[1:])
            self._gathered = _zeros((len(self._rows), *shape))
        if with_positions:
            # Padding has outputs too; they differ with what engines and batches pad rows to.
            outputs = outputs[:, : self._gathered.shape[1]]
            width = outputs.shape[1]
            within = np.arange(width) < np.asarray(self._rows.lengths)[places, None]
            self._gathered[places, :width] = outputs * within[:, :, None]
        else:
            self._gathered[places] = outputs

    @property
    def all(self) -> NDArray[np.float32]:
        """Of every row, in the split's order; positions beyond its length are zero."""
        assert self._gathered is not None, "a checked split has rows"
        return self._gathered


def _zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns zeros, in memory or, where they are many, in a file.

    Raises:
        Transient: The disk is full.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    if size <= _IN_MEMORY_BYTES:
        return np.zeros(shape, dtype=np.float32)
    folder = scratch_folder()
    with explained(folder, "more scratch space"), tempfile.TemporaryFile(dir=folder) as file:
        # Room is asked for here: where it is missing later, the process is killed.
        os.posix_fallocate(file.fileno(), 0, size)
        mapped = np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
    # A plain array, which keeps the mapping alive.
    return np.asarray(mapped)
