"""Layers that follow each other become one node, where that changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import sparse_transfer_kernels
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sparse_transfer_kernels.fusion import join_layers, join_normalizations
from tests.kernels.layers import Layer, session, sparse_weight

FIRST: dict[str, Any] = {"activation": "gelu", "input_scale": 0.03, "input_zero_point": 120}
SECOND: dict[str, Any] = {"input_scale": 0.02, "input_zero_point": 9}


def two_layers(
    second: dict[str, Any], *, bias: bool = True, extra_outputs: tuple[str, ...] = ()
) -> onnx.ModelProto:
    """Returns a model of two nodes; what is between them is called ``between``."""
    sizes = (("first", 40, 24, "x", "between", FIRST), ("second", 24, 40, "between", "y", second))
    nodes, constants = [], []
    for name, outputs, inputs, read, made, attributes in sizes:
        added: NDArray[Any] | None = np.ones(outputs, np.float32) if bias else None
        own = Layer.of(sparse_weight(outputs, inputs, 0.4), added).constants()
        constants += [numpy_helper.from_array(own[key], f"{name}.{key}") for key in own]
        nodes.append(
            helper.make_node(
                "SparseQLinear",
                [read, *(f"{name}.{key}" for key in own)],
                [made],
                name=name,
                domain=sparse_transfer_kernels.DOMAIN,
                in_features=inputs,
                **attributes,
            )
        )
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("y", *extra_outputs)
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", 24])
    graph = helper.make_graph(nodes, "layers", [x], values, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(sparse_transfer_kernels.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_joined_layers_give_the_same_results() -> None:
    model = two_layers(SECOND)
    x = np.random.default_rng(0).standard_normal((2, 70, 24)).astype(np.float32)
    wanted = session(model.SerializeToString()).run(None, {"x": x})[0]
    assert join_layers(model) == 1
    assert [node.op_type for node in model.graph.node] == ["SparseQFeedForward"]
    found = session(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(two_layers({}), id="the second layer's scale is that of its values"),
        pytest.param(two_layers({**SECOND, "activation": "relu"}), id="a second activation"),
        pytest.param(two_layers(SECOND, bias=False), id="no bias"),
        pytest.param(two_layers(SECOND, extra_outputs=("between",)), id="somebody else reads it"),
    ],
)
def test_layers_stay_apart_where_one_node_could_not_say_it(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert join_layers(model) == 0
    assert model.SerializeToString() == before


def residual(*, axis: int = -1, addend: str = "normalized") -> onnx.ModelProto:
    """Returns a model of a normalization, a sparse layer, their sum, and its normalization."""
    layer = Layer.of(sparse_weight(24, 24, 0.4), np.ones(24, np.float32)).constants()
    constants = {**layer, "scale": np.linspace(0.5, 2, 24, dtype=np.float32)}
    constants["shift"] = np.linspace(-1, 1, 24, dtype=np.float32)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["normalized"]),
        helper.make_node(
            "SparseQLinear",
            ["normalized", *layer],
            ["made"],
            domain=sparse_transfer_kernels.DOMAIN,
            in_features=24,
            input_scale=0.03,
            input_zero_point=100,
        ),
        helper.make_node("Add", ["made", addend], ["sum"]),
        helper.make_node(
            "LayerNormalization", ["sum", "scale", "shift"], ["y"], axis=axis, epsilon=1e-12
        ),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", 24])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    kept = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "residual", [x], [y], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(sparse_transfer_kernels.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (2, 70), (0, 3)])
def test_a_sum_and_its_normalization_give_the_same_in_one_node(
    batch: int, tokens: int, threads: int
) -> None:
    model = residual()
    x = np.random.default_rng(0).standard_normal((batch, tokens, 24)).astype(np.float32)
    wanted = session(model.SerializeToString(), threads).run(None, {"x": x})[0]
    assert join_normalizations(model) == 1
    assert model.graph.node[-1].op_type == "AddLayerNormalization"
    joined = session(model.SerializeToString(), threads)
    assert joined.get_outputs()[0].shape == ["batch", "tokens", 24]
    np.testing.assert_allclose(joined.run(None, {"x": x})[0], wanted, atol=1e-5)


@pytest.mark.parametrize("what", [{"axis": 1}, {"addend": "x"}])
def test_other_sums_and_normalizations_stay(what: dict[str, Any]) -> None:
    assert join_normalizations(residual(**what)) == 0


def test_a_normalization_of_tensors_of_two_shapes_is_refused() -> None:
    model = residual()
    join_normalizations(model)
    model.graph.node[-1].input[1] = "other"
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["one", "two", "three"])
    model.graph.input.append(other)
    x = np.zeros((1, 2, 24), np.float32)
    with pytest.raises(Exception, match="but input 1"):
        session(model.SerializeToString()).run(None, {"x": x, "other": x[:, :1]})
