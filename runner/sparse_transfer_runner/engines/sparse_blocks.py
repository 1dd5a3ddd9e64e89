"""INT8 weights as blocks of four neighbouring inputs of one output, for the sparse kernels.

The operators are documented in ``kernels/src/operators``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .forms import InputScale

DOMAIN = "sparsetransfer.dev"
OPERATOR = "SparseQLinear"
TWO_LAYERS = "SparseQFeedForward"
POINTWISE = "SparseQPointwise"
CONVOLUTION = "SparseQConvolution"
VALUES = ".weight_values"
"""Ends the name of a constant; what is before it is the layer's."""
BLOCK = 4
MOST_INPUTS = BLOCK << 16
"""Of an output: places of blocks are 16-bit numbers."""


def fits(weight: NDArray[Any]) -> bool:
    """Whether a weight ``[out, in]`` can be stored so."""
    return weight.shape[1] % BLOCK == 0 and weight.shape[1] <= MOST_INPUTS


def share_of_blocks(weight: NDArray[Any]) -> float:
    """Returns the share of a weight's blocks, 0 to 1, that hold anything but zeros."""
    return float(_kept(weight).mean())


def to_blocks(weight: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
    """Returns the constants ``values``, ``columns`` and ``offsets`` of a weight ``[out, in]``."""
    kept = _kept(weight)
    return {
        "values": weight.reshape(len(weight), -1, BLOCK)[kept],
        "columns": np.nonzero(kept)[1].astype(np.uint16),
        "offsets": np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32),
    }


def node_attributes(features: int, scale: InputScale) -> dict[str, Any]:
    """Returns what every node of a layer says: its domain, its inputs and how they are rounded.

    Args:
        features: Inputs.
        scale: Of the inputs.
    """
    return {
        "domain": DOMAIN,
        "in_features": features,
        "input_scale": scale.scale,
        "input_zero_point": scale.zero_point,
    }


def from_blocks(blocks: Mapping[str, NDArray[Any]], features: int) -> NDArray[np.int8]:
    """Returns the weight ``[out, in]`` that constants hold.

    Args:
        blocks: What ``to_blocks`` returned.
        features: Inputs.
    """
    offsets = blocks["offsets"]
    weight = np.zeros((len(offsets) - 1, features // BLOCK, BLOCK), np.int8)
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    weight[rows, blocks["columns"]] = blocks["values"]
    return weight.reshape(len(weight), features)


def _kept(weight: NDArray[Any]) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.any(weight.reshape(len(weight), -1, BLOCK) != 0, axis=2)
    return kept
