"""Which layers the sparse kernels compute faster than onnxruntime's own INT8, by measurement.

Each layer is timed alone, in both forms in turn, on as many rows as one inference has. Layers
of one shape and about one density take the same time, and are timed once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from . import sparse_blocks
from .forms import InputScale
from .onnx_rewriting import CONTRIB
from .protocol import LayerTime

SCALE = InputScale(0.03, 128)
"""Of the values that layers are timed on."""
_RUNS = 30
_DENSITIES = 20
"""Steps of the share of blocks, within which layers count as alike."""

Run = Callable[[NDArray[Any]], object]
Load = Callable[[bytes], Run]
"""Loads a model of one input ``x`` as the engine loads files."""


@dataclass(frozen=True)
class Kind:
    """How layers of a kind are timed, from a weight ``[out, in]`` and a number of rows.

    Args:
        sparse: Writes the model that leaves zeros out.
        dense: Writes the engine's own.
        values: Makes the input ``x`` of both.
    """

    sparse: Callable[[NDArray[np.int8], int], bytes]
    dense: Callable[[NDArray[np.int8], int], bytes]
    values: Callable[[NDArray[np.int8], int], NDArray[Any]]


def timed_layers(
    weights: Mapping[str, NDArray[np.int8]], rows: Mapping[str, int], load: Load, kind: Kind
) -> dict[str, LayerTime]:
    """Times layers by name.

    Args:
        weights: Rounded, ``[out, in]``; only those that blocks can hold.
        rows: That a layer multiplies in one inference.
        load: How the engine loads.
        kind: Of the layers.
    """
    known: dict[tuple[int, ...], LayerTime] = {}
    found = {}
    for name, weight in weights.items():
        share = sparse_blocks.share_of_blocks(weight)
        alike = (rows[name], *weight.shape, round(share * _DENSITIES))
        if alike not in known:
            known[alike] = _timed(weight, rows[name], load, kind)
        found[name] = replace(known[alike], blocks=share)
    return found


def _timed(weight: NDArray[np.int8], rows: int, load: Load, kind: Kind) -> LayerTime:
    values = kind.values(weight, rows)
    sessions = [load(form(weight, rows)) for form in (kind.sparse, kind.dense)]
    for run in sessions:
        run(values)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_RUNS):
        for run, own in zip(sessions, seconds, strict=True):
            started = time.perf_counter()
            run(values)
            own.append(time.perf_counter() - started)
    sparse, dense = (statistics.median(own) * 1e3 for own in seconds)
    return LayerTime(sparse_ms=sparse, dense_ms=dense)


def _rows(weight: NDArray[np.int8], count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, weight.shape[1]), np.float32)


def _sparse_layer(weight: NDArray[np.int8], _: int) -> bytes:
    blocks = sparse_blocks.to_blocks(weight)
    constants = {**blocks, "scales": np.full(len(weight), 0.01, np.float32)}
    node = helper.make_node(
        sparse_blocks.OPERATOR,
        ["x", *constants],
        ["y"],
        **sparse_blocks.node_attributes(weight.shape[1], SCALE),
    )
    return layer_file([node], constants, TensorProto.FLOAT, ["rows", None])


def _dense_layer(weight: NDArray[np.int8], _: int) -> bytes:
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(SCALE.scale, np.float32),
        "zero_point": np.array(SCALE.zero_point, np.uint8),
        "weight": np.ascontiguousarray(weight.T),
        "scales": np.full(len(weight), 0.01, np.float32),
        "zero_points": np.zeros(len(weight), np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["bytes"]),
        helper.make_node(
            "MatMulIntegerToFloat",
            ["bytes", "weight", "scale", "scales", "zero_point", "zero_points"],
            ["y"],
            domain=CONTRIB,
        ),
    ]
    return layer_file(nodes, constants, TensorProto.FLOAT, ["rows", None])


def layer_file(
    nodes: Sequence[Any],
    constants: Mapping[str, NDArray[Any]],
    element: int,
    shape: Sequence[int | str | None],
) -> bytes:
    """Returns a model file of one layer.

    Args:
        nodes: From ``x`` to ``y``; of onnxruntime's and of the kernels' operators too.
        constants: Their other inputs by name.
        element: Type of ``x`` and ``y``.
        shape: Of both, as far as it is the same.
    """
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    domains = {"": 17, CONTRIB: 1, sparse_blocks.DOMAIN: 1}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


LINEAR = Kind(sparse=_sparse_layer, dense=_dense_layer, values=_rows)
