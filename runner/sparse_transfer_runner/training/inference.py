"""The model's outputs for a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparse_transfer_runner.out_of_memory import is_out_of_memory, release_memory
from sparse_transfer_runner.use_cases.outputs import Outputs, rows_at_once
from sparse_transfer_runner.use_cases.protocol import EncodedSplit, ReducedSplit

from .backoff import Backoff
from .batches import sorted_by_length
from .hardware import precision_context, to_tensors
from .loop import lengths_of

BATCH = 64
"""Rows of an evaluation batch; their order does not matter to the outputs."""


def logits_bytes(model: nn.Module, data: EncodedSplit, *, precision: str = "fp32") -> int:
    """Returns the memory that ``logits_of`` takes for its result; one row is looked at.

    Args:
        model: Put into evaluation mode.
        data: The rows.
        precision: Of the arithmetic.
    """
    model.eval()
    with torch.inference_mode(), precision_context(precision):
        logits = model(**to_tensors(data.collate([0]))).logits.float()
    shape = logits.shape[1:]
    if isinstance(data, ReducedSplit):
        shape = data.reduced(logits.cpu().numpy()).shape[1:]
    elif len(shape) > 1:
        shape = (max(int(np.max(data.lengths)), shape[0]), *shape[1:])
    return len(data) * math.prod(shape) * np.dtype(np.float32).itemsize


def logits_of(
    model: nn.Module,
    data: EncodedSplit,
    *,
    precision: str = "fp32",
    on_batch: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """Returns the logits of every row, in the split's order; see ``Outputs``.

    Args:
        model: Put into evaluation mode.
        data: The rows.
        precision: Of the arithmetic.
        on_batch: Called with the number of finished batches.

    Raises:
        OutOfMemory: A batch does not fit, halved as often as it may be.
    """
    model.eval()
    outputs = Outputs(data)
    most = rows_at_once(data, BATCH)
    fitting = Backoff(most)
    for done, rows in enumerate(sorted_by_length(lengths_of(data), most), start=1):
        waiting = list(fitting.parts(rows))
        while waiting:
            answered = _logits(model, data, waiting[0], precision)
            if isinstance(answered, str):
                release_memory()
                fitting.halve(len(waiting[0]), 1, f"looking at {len(data)} rows", answered)
                rest = [row for part in waiting for row in part]
                waiting = list(fitting.parts(rest))
                continue
            outputs.put(waiting.pop(0), answered)
        on_batch(done)
    return outputs.all


def _logits(
    model: nn.Module, data: EncodedSplit, rows: Sequence[int], precision: str
) -> NDArray[np.float32] | str:
    """Returns the logits of rows; where memory runs out, what the library said of it."""
    try:
        with torch.inference_mode(), precision_context(precision):
            found = model(**to_tensors(data.collate(rows))).logits
            logits: NDArray[np.float32] = found.float().cpu().numpy()
        return logits
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Not the error itself, whose traceback holds the batch's tensors.
        return str(error) or type(error).__name__
