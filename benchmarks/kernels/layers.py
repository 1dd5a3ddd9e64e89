"""Single layers of an encoder: the sparse kernels, onnxruntime's own INT8 and its fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from sparse_transfer_runner.engines import sparse_blocks
from sparse_transfer_runner.engines.layer_times import layer_file
from sparse_transfer_runner.engines.onnx_rewriting import CONTRIB
from sparse_transfer_runner.engines.onnxruntime import session_options

from .encoders import Encoder

_SCALE = np.float32(0.03)
_ZERO_POINT = np.uint8(128)
_OF_WEIGHTS = np.float32(0.01)

Layer = tuple[list[NodeProto], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Shape:
    """A Linear layer."""

    outputs: int
    inputs: int

    def __str__(self) -> str:
        """Returns it as it is written in results."""
        return f"{self.inputs} to {self.outputs}"


def shapes(encoder: Encoder) -> tuple[Shape, ...]:
    """Returns the shapes of an encoder's Linear layers."""
    narrow, wide = encoder.width, 4 * encoder.width
    return (Shape(narrow, narrow), Shape(wide, narrow), Shape(narrow, wide))


def runs(
    encoder: Encoder, shape: Shape, tokens: int, threads: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields the layer in each form, to be run.

    Args:
        encoder: Whose mask it has.
        shape: The layer.
        tokens: Rows.
        threads: Of onnxruntime.
    """
    import onnxruntime
    import sparse_transfer_kernels

    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (shape.outputs, shape.inputs)).astype(np.int8)
    weight *= encoder.mask(shape.outputs, shape.inputs)
    rows = random.standard_normal((tokens, shape.inputs)).astype(np.float32)
    for name, layer in (("fp32", _float), ("INT8", _dense), ("sparse", _sparse)):
        options = session_options(threads)
        sparse_transfer_kernels.register(options)
        session = onnxruntime.InferenceSession(
            layer_file(*layer(weight), TensorProto.FLOAT, ["rows", None]),
            options,
            providers=["CPUExecutionProvider"],
        )
        yield name, partial(session.run, None, {"x": rows})


def _float(weight: NDArray[np.int8]) -> Layer:
    constants = {"weight": np.ascontiguousarray(weight.T * _OF_WEIGHTS), "bias": _bias(weight)}
    gemm = helper.make_node("Gemm", ["x", "weight", "bias"], ["y"])
    return [gemm], constants


def _dense(weight: NDArray[np.int8]) -> Layer:
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(_SCALE),
        "zero_point": np.array(_ZERO_POINT),
        "weight": np.ascontiguousarray(weight.T),
        "scales": np.full(len(weight), _OF_WEIGHTS),
        "zero_points": np.zeros(len(weight), np.int8),
        "bias": _bias(weight),
    }
    inputs = ["bytes", "weight", "scale", "scales", "zero_point", "zero_points", "bias"]
    return [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["bytes"]),
        helper.make_node("MatMulIntegerToFloat", inputs, ["y"], domain=CONTRIB),
    ], constants


def _sparse(weight: NDArray[np.int8]) -> Layer:
    constants = {
        **sparse_blocks.to_blocks(weight),
        "scales": np.full(len(weight), _OF_WEIGHTS),
        "bias": _bias(weight),
    }
    node = helper.make_node(
        sparse_blocks.OPERATOR,
        ["x", "values", "columns", "offsets", "scales", "bias"],
        ["y"],
        domain=sparse_blocks.DOMAIN,
        in_features=weight.shape[1],
        input_scale=float(_SCALE),
        input_zero_point=int(_ZERO_POINT),
    )
    return [node], constants


def _bias(weight: NDArray[np.int8]) -> NDArray[np.float32]:
    return np.zeros(len(weight), np.float32)
