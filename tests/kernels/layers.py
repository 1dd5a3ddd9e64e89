"""Layers as model files hold them, and sessions of such files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import sparse_transfer_kernels
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BLOCK = 4
_FATAL_ONLY = 4


@dataclass(frozen=True)
class Layer:
    """A layer as a model file holds it."""

    features: int
    values: NDArray[Any]
    columns: NDArray[Any]
    offsets: NDArray[Any]
    scales: NDArray[Any]
    bias: NDArray[Any] | None = None

    @classmethod
    def of(cls, weight: NDArray[np.int8], bias: NDArray[Any] | None = None) -> Layer:
        """Returns the layer of a weight ``[outputs, inputs]``."""
        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // BLOCK, BLOCK)
        kept = blocks.any(axis=2)
        scales = np.linspace(0.005, 0.02, outputs, dtype=np.float32)
        return cls(
            inputs,
            blocks[kept],
            np.nonzero(kept)[1].astype(np.uint16),
            np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32),
            scales,
            bias,
        )

    def constants(self) -> dict[str, NDArray[Any]]:
        """Returns the constants of its node by name, in the order of the node's inputs."""
        constants = {
            "values": self.values,
            "columns": self.columns,
            "offsets": self.offsets,
            "scales": self.scales,
        }
        return constants if self.bias is None else {**constants, "bias": self.bias}

    def model(self, **attributes: Any) -> bytes:
        """Returns a model of one node."""
        attributes = {"in_features": self.features, **attributes}
        return model("SparseQLinear", self.constants(), attributes)


def pointwise(layer: Layer, **attributes: Any) -> bytes:
    """Returns a model of a layer with bytes in and out."""
    attributes = {"in_features": layer.features, **attributes}
    return model("SparseQPointwise", layer.constants(), attributes, TensorProto.UINT8)


def convolution(
    layer: Layer,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    *,
    size: tuple[int | str, int | str] = ("height", "width"),
    **attributes: Any,
) -> bytes:
    """Returns a model of a convolution, channels last; pads are top, left, bottom, right."""
    named = {
        "in_features": layer.features,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": strides[0],
        "stride_width": strides[1],
        **dict(zip(("pad_top", "pad_left", "pad_bottom", "pad_right"), pads, strict=True)),
        **attributes,
    }
    shape = ["batch", *size, None]
    return model("SparseQConvolution", layer.constants(), named, TensorProto.UINT8, shape)


def feed_forward(first: Layer, second: Layer, **attributes: Any) -> bytes:
    """Returns a model of two layers in one node."""
    constants = {
        f"{place}_{name}": values
        for place, layer in (("first", first), ("second", second))
        for name, values in layer.constants().items()
    }
    attributes = {"in_features": first.features, **attributes}
    return model("SparseQFeedForward", constants, attributes)


def model(
    operator: str,
    constants: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, Any],
    element: int = TensorProto.FLOAT,
    shape: Sequence[int | str | None] = ("batch", "tokens", None),
) -> bytes:
    """Returns a model of one node of an operator."""
    node = helper.make_node(
        operator,
        ["x", *constants],
        ["y"],
        domain=sparse_transfer_kernels.DOMAIN,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [
        helper.make_opsetid("", 17),
        helper.make_opsetid(sparse_transfer_kernels.DOMAIN, 1),
    ]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


def attention(**attributes: Any) -> bytes:
    """Returns a model of one node of attention, whose inputs have the names of its own."""
    shapes = {
        "query": ["b", "q", "w"],
        "key": ["b", "k", "w"],
        "value": ["b", "k", "w"],
        "mask": ["mb", "mh", "mq", "k"],
    }
    node = helper.make_node(
        "SelfAttention", list(shapes), ["y"], domain=sparse_transfer_kernels.DOMAIN, **attributes
    )
    graph = helper.make_graph(
        [node],
        "attention",
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, None if name == "mask" else shape
            )
            for name, shape in shapes.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [
        helper.make_opsetid("", 17),
        helper.make_opsetid(sparse_transfer_kernels.DOMAIN, 1),
    ]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


def session(model: bytes, threads: int = 2) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    sparse_transfer_kernels.register(options)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def sparse_weight(outputs: int, inputs: int, share: float, seed: int = 0) -> NDArray[np.int8]:
    random = np.random.default_rng(seed)
    kept = np.repeat(random.random((outputs, inputs // BLOCK)) < share, BLOCK, axis=1)
    return np.where(kept, random.integers(-127, 128, (outputs, inputs)), 0).astype(np.int8)


def rounded(values: NDArray[Any], scale: float, zero_point: int) -> NDArray[np.float64]:
    """Returns values as the layer sees them."""
    steps = np.clip(np.rint(values / np.float32(scale)) + zero_point, 0, 255) - zero_point
    seen: NDArray[np.float64] = steps.astype(np.float64) * scale
    return seen
