"""Convolutions alone, in both forms, as in a quantized graph: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from . import sparse_blocks
from .forms import InputScale
from .layer_times import SCALE, Kind, layer_file
from .sparse_convolutions import TO_FIRST, TO_LAST, Geometry, kernel_of_rows

_WEIGHT_SCALE = np.float32(0.01)
_RESULT = InputScale(0.05, 0)


def convolution_kind(geometry: Geometry, pictures: Sequence[int]) -> Kind:
    """Returns how convolutions are timed; of their weights as ``rows_of_kernel`` has them.

    Args:
        geometry: Of the convolutions.
        pictures: What they read: ``[batch, channels, height, width]``.
    """
    shape = [pictures[axis] for axis in TO_LAST]

    def sparse(weight: NDArray[np.int8], _: int) -> bytes:
        scales = np.full(len(weight), _WEIGHT_SCALE)
        bias = np.zeros(len(weight), np.float32)
        constants = {**sparse_blocks.to_blocks(weight), "scales": scales, "bias": bias}
        node = helper.make_node(
            geometry.operator,
            ["x", *constants],
            ["y"],
            **sparse_blocks.node_attributes(weight.shape[1], SCALE),
            output_scale=_RESULT.scale,
            output_zero_point=_RESULT.zero_point,
            **geometry.attributes,
        )
        return layer_file([node], constants, TensorProto.UINT8, [shape[0], None, None, None])

    def dense(weight: NDArray[np.int8], _: int) -> bytes:
        return _dense(kernel_of_rows(weight, geometry.kernel), geometry, shape[0])

    def values(weight: NDArray[np.int8], _: int) -> NDArray[np.uint8]:
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    return Kind(sparse=sparse, dense=dense, values=values)


def _dense(weight: NDArray[np.int8], geometry: Geometry, batch: int) -> bytes:
    outputs = len(weight)
    scales = np.full(outputs, _WEIGHT_SCALE)
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(SCALE.scale, np.float32),
        "zero_point": np.array(SCALE.zero_point, np.uint8),
        "result_scale": np.array(_RESULT.scale, np.float32),
        "result_zero_point": np.array(_RESULT.zero_point, np.uint8),
        "weight": np.ascontiguousarray(weight),
        "scales": scales,
        "zero_points": np.zeros(outputs, np.int8),
        "bias": np.zeros(outputs, np.int32),
        "bias_scales": scales * np.float32(SCALE.scale),
        "bias_zero_points": np.zeros(outputs, np.int32),
    }
    widened = [
        (["planes", "scale", "zero_point"], "planes_float", {}),
        (["weight", "scales", "zero_points"], "weight_float", {"axis": 0}),
        (["bias", "bias_scales", "bias_zero_points"], "bias_float", {"axis": 0}),
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=TO_FIRST),
        *(
            helper.make_node("DequantizeLinear", inputs, [output], **attributes)
            for inputs, output, attributes in widened
        ),
        helper.make_node(
            "Conv",
            ["planes_float", "weight_float", "bias_float"],
            ["result"],
            strides=geometry.strides,
            pads=geometry.pads,
        ),
        helper.make_node(
            "QuantizeLinear", ["result", "result_scale", "result_zero_point"], ["bytes"]
        ),
        helper.make_node("Transpose", ["bytes"], ["y"], perm=TO_LAST),
    ]
    return layer_file(nodes, constants, TensorProto.UINT8, [batch, None, None, None])
