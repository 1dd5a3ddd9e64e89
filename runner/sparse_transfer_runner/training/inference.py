"""The model's outputs for a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparse_transfer_runner.use_cases.outputs import Outputs, rows_at_once
from sparse_transfer_runner.use_cases.protocol import EncodedSplit, ReducedSplit

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
    """
    model.eval()
    outputs = Outputs(data)
    batches = sorted_by_length(lengths_of(data), rows_at_once(data, BATCH))
    with torch.inference_mode(), precision_context(precision):
        for done, rows in enumerate(batches, start=1):
            logits = model(**to_tensors(data.collate(rows))).logits
            outputs.put(rows, logits.float().cpu().numpy())
            on_batch(done)
    return outputs.all
