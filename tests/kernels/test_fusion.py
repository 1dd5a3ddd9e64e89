"""Layers that follow each other become one node, where that changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import sparse_transfer_kernels
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sparse_transfer_kernels.fusion import join_layers
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
