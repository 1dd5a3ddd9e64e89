"""1x1 convolutions alone, in both forms, as in a quantized graph: bytes in, bytes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from . import sparse_blocks
from .forms import InputScale
from .layer_times import SCALE, Kind, layer_file
from .onnx_pointwise import TO_FIRST, TO_LAST

_WEIGHT_SCALE = np.float32(0.01)
_RESULT = InputScale(0.05, 0)


def _pixels(weight: NDArray[np.int8], count: int) -> NDArray[np.uint8]:
    shape = (1, 1, count, weight.shape[1])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _sparse(weight: NDArray[np.int8], count: int) -> bytes:
    blocks = sparse_blocks.to_blocks(weight)
    constants = {**blocks, **_biased(weight)}
    node = helper.make_node(
        sparse_blocks.POINTWISE,
        ["x", *constants],
        ["y"],
        domain=sparse_blocks.DOMAIN,
        in_features=weight.shape[1],
        input_scale=SCALE.scale,
        input_zero_point=SCALE.zero_point,
        output_scale=_RESULT.scale,
        output_zero_point=_RESULT.zero_point,
    )
    return layer_file([node], constants, TensorProto.UINT8, _shape(count))


def _dense(weight: NDArray[np.int8], count: int) -> bytes:
    scales, outputs = np.full(len(weight), _WEIGHT_SCALE), len(weight)
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(SCALE.scale, np.float32),
        "zero_point": np.array(SCALE.zero_point, np.uint8),
        "result_scale": np.array(_RESULT.scale, np.float32),
        "result_zero_point": np.array(_RESULT.zero_point, np.uint8),
        "weight": weight[:, :, None, None],
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
        helper.make_node("Conv", ["planes_float", "weight_float", "bias_float"], ["result"]),
        helper.make_node(
            "QuantizeLinear", ["result", "result_scale", "result_zero_point"], ["bytes"]
        ),
        helper.make_node("Transpose", ["bytes"], ["y"], perm=TO_LAST),
    ]
    return layer_file(nodes, constants, TensorProto.UINT8, _shape(count))


def _biased(weight: NDArray[np.int8]) -> dict[str, NDArray[np.float32]]:
    outputs = len(weight)
    return {"scales": np.full(outputs, _WEIGHT_SCALE), "bias": np.zeros(outputs, np.float32)}


def _shape(count: int) -> list[int | None]:
    return [1, 1, count, None]


POINTWISE = Kind(sparse=_sparse, dense=_dense, values=_pixels)
