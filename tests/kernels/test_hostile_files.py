"""Damaged model files: refused when the session is made, or run within their bounds.

A file is right at first, and then damaged where it reaches the kernels: constants lose or gain
bytes, types or dimensions, inputs vanish or change places, attributes change. What this process
survives is the test; the sanitizer (``make -C kernels sanitize``) looks closer at the same layers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sparse_transfer_kernels import DOMAIN
from tests.kernels.layers import (
    Layer,
    convolution,
    feed_forward,
    pointwise,
    session,
    sparse_weight,
)

_TYPES = (TensorProto.INT8, TensorProto.UINT8, TensorProto.UINT16, TensorProto.INT32)
_FLOAT_ATTRIBUTES = ("input_scale", "hidden_scale", "output_scale", "epsilon", "scale")

Damage = Callable[[onnx.ModelProto], None]


def whole_files() -> list[bytes]:
    bias, hidden_bias = np.zeros(24, np.float32), np.zeros(40, np.float32)
    layer = Layer.of(sparse_weight(40, 24, 0.4), hidden_bias)
    second = Layer.of(sparse_weight(24, 40, 0.4, seed=1), bias)
    scales = {"input_scale": 0.03, "input_zero_point": 3}
    return [
        layer.model(activation="gelu", **scales),
        feed_forward(layer, second, hidden_scale=0.05, hidden_zero_point=7, **scales),
        normalization(24),
        self_attention(24),
        pointwise(layer, output_scale=0.05, output_zero_point=9, **scales),
        convolution(
            layer, (3, 1), (1, 2), (1, 0, 2, 0), output_scale=0.05, output_zero_point=9, **scales
        ),
    ]


def normalization(width: int) -> bytes:
    node = onnx.helper.make_node(
        "AddLayerNormalization", ["x", "x", "scale", "bias"], ["y"], domain=DOMAIN, epsilon=1e-5
    )
    constants = [
        onnx.numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in (("scale", np.ones(width)), ("bias", np.zeros(width)))
    ]
    x, y = (
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", width])
        for name in "xy"
    )
    graph = onnx.helper.make_graph([node], "normalization", [x], [y], constants)
    opsets = [onnx.helper.make_opsetid(name, version) for name, version in (("", 17), (DOMAIN, 1))]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def self_attention(width: int) -> bytes:
    """Returns attention of x to keys and values that the file holds."""
    node = onnx.helper.make_node(
        "SelfAttention", ["x", "key", "value", "mask"], ["y"], domain=DOMAIN, head_size=8, scale=0.5
    )
    constants = [
        onnx.numpy_helper.from_array(np.full(shape, number, np.float32), name)
        for name, shape, number in (
            ("key", (1, 5, width), 0.5),
            ("value", (1, 5, width), 2),
            ("mask", (1, 1, 1, 5), 0),
        )
    ]
    x = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", width])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "attention", [x], [y], constants)
    opsets = [onnx.helper.make_opsetid(name, version) for name, version in (("", 17), (DOMAIN, 1))]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


FILES = whole_files()


def _constant(model: onnx.ModelProto, place: int) -> TensorProto:
    constants = model.graph.initializer
    return constants[place % len(constants)]


def changed_bytes(constant: int, place: int, value: bytes) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        tensor = _constant(model, constant)
        if tensor.raw_data:
            start = place % len(tensor.raw_data)
            data = tensor.raw_data[:start] + value + tensor.raw_data[start + len(value) :]
            tensor.raw_data = data[: len(tensor.raw_data)]

    return damage


def resized(constant: int, size: int, fill: int) -> Damage:
    """Keeps size and dimensions in step, so that onnxruntime itself has nothing to complain of."""

    def damage(model: onnx.ModelProto) -> None:
        tensor = _constant(model, constant)
        count = int(np.prod(tensor.dims))
        width = len(tensor.raw_data) // max(count, 1)
        data = tensor.raw_data + bytes([fill]) * (size * width)
        del tensor.dims[:]
        tensor.dims.append(size)
        tensor.raw_data = data[: size * width]

    return damage


def retyped(constant: int, type_: int) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        _constant(model, constant).data_type = type_

    return damage


def swapped_inputs(first: int, second: int) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        names = model.graph.node[0].input
        one, other = first % len(names), second % len(names)
        names[one], names[other] = names[other], names[one]

    return damage


def fewer_inputs(count: int) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        del model.graph.node[0].input[max(len(model.graph.node[0].input) - count, 1) :]

    return damage


def computed(place: int) -> Damage:
    """Makes a constant an input of the model, but for the last one."""

    def damage(model: onnx.ModelProto) -> None:
        if len(model.graph.initializer) == 1:
            return
        tensor = _constant(model, place)
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
        model.graph.initializer.remove(tensor)

    return damage


def other_attribute(place: int, number: int, real: float) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        attributes = model.graph.node[0].attribute
        attribute = attributes[place % len(attributes)]
        if attribute.name in _FLOAT_ATTRIBUTES:
            attribute.f = real
        else:
            attribute.i = number

    return damage


numbers = st.integers(0, 1 << 16)
damages = st.one_of(
    st.builds(changed_bytes, numbers, numbers, st.binary(min_size=1, max_size=8)),
    st.builds(resized, numbers, st.integers(0, 400), st.integers(0, 255)),
    st.builds(retyped, numbers, st.sampled_from(_TYPES)),
    st.builds(swapped_inputs, numbers, numbers),
    st.builds(fewer_inputs, st.integers(0, 11)),
    st.builds(computed, numbers),
    st.builds(other_attribute, numbers, st.integers(-(2**63), 2**63 - 1), st.floats(width=32)),
)


@settings(max_examples=400, deadline=None)
@given(file=st.sampled_from(FILES), what=st.lists(damages, min_size=1, max_size=3))
def test_a_damaged_file_is_refused_or_runs_within_its_bounds(
    file: bytes, what: list[Damage]
) -> None:
    model = onnx.load_from_string(file)
    for damage in what:
        damage(model)
    try:
        running = session(model.SerializeToString(), threads=1)
    except Exception:  # noqa: BLE001 - refused, by whatever class onnxruntime has for it
        return
    inputs = {item.name: item.shape for item in running.get_inputs()}
    if set(inputs) != {"x"}:
        return
    # A convolution of three pixels reads a third of the layer's inputs of each.
    shape = (1, 3, 4, 8) if len(inputs["x"]) == 4 else (1, 3, 24)
    element = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    try:
        (found,) = running.run(None, {"x": np.ones(shape, element)})
    except Exception as error:  # noqa: BLE001 - by whatever class onnxruntime has for it
        # It has become a file of other rows; some know their shapes when they run.
        known = ("in its last dimension", "SelfAttention", "SparseQConvolution")
        assert any(words in str(error) for words in known)
    else:
        batch_alone = model.graph.node[0].op_type == "SparseQConvolution"
        expected = shape[: 1 if batch_alone else 2]
        assert model.graph.node[0].input[0] != "x" or found.shape[: len(expected)] == expected
