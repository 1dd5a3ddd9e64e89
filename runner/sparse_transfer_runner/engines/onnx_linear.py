"""Writes a Linear layer in each of the INT8 forms, and for the sparse kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from . import sparse_blocks
from .forms import Form
from .onnx_graph import module_of
from .onnx_patterns import gelu_behind
from .onnx_rewriting import CONTRIB, Rewriting, rounded_weight

_PAIRS = (Form.QDQ, Form.REDUCED_QDQ, Form.QDQ_OUTPUTS, Form.REDUCED_QDQ_OUTPUTS)


def write_linear(made: Rewriting, node: NodeProto, *, sparse: bool) -> None:
    """Writes a layer, with its bias where the form has one.

    Args:
        made: What is written.
        node: The product.
        sparse: For the sparse kernels, whatever the form.
    """
    scale, rounded = rounded_weight(made.graph.weight(node), made.form.weight_levels)
    if sparse:
        _write_sparse(made, node, rounded, scale)
        return
    write: Callable[[Rewriting, NodeProto, NDArray[Any], NDArray[Any]], None]
    if made.form in _PAIRS:
        write = _write_qdq
    elif made.form in (Form.MATMUL_INTEGER, Form.MATMUL_INTEGER_CENTRED):
        write = _write_integer
    else:
        write = _write_fused
    write(made, node, np.ascontiguousarray(rounded.T), scale)


def _write_fused(
    made: Rewriting, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]
) -> None:
    values, input_scale, zero_point = made.quantized_input(node)
    name = module_of(node)
    bias, output = _bias(made, node)
    made.add(
        "MatMulIntegerToFloat",
        [
            values,
            made.constant(f"{name}.weight_int8", weight),
            input_scale,
            made.constant(f"{name}.weight_scale", scale),
            zero_point,
            made.constant(f"{name}.weight_zero_point", np.zeros(len(scale), np.int8)),
            bias,
        ],
        output,
        node.name,
        domain=CONTRIB,
    )


def _write_sparse(
    made: Rewriting, node: NodeProto, rounded: NDArray[Any], scale: NDArray[Any]
) -> None:
    """Writes a layer for the sparse kernels, with its bias and a GELU behind it."""
    name = module_of(node)
    bias, output = _bias(made, node)
    inputs = made.blocks(name, rounded, scale)
    gelu = gelu_behind(made.graph, output)
    if gelu is not None:
        made.absorbed.update(gelu)
        output = gelu[-1]
    own = made.scales[node.input[0]]
    made.add(
        sparse_blocks.OPERATOR,
        [node.input[0], *inputs, *([bias] if bias else [])],
        output,
        node.name,
        **sparse_blocks.node_attributes(rounded.shape[1], own),
        activation="" if gelu is None else "gelu",
    )


def _write_integer(
    made: Rewriting, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]
) -> None:
    values, _, zero_point = made.quantized_input(node)
    name = module_of(node)
    factor = scale * np.float32(made.scales[node.input[0]].scale)
    product, widened = f"{node.name}_integer", f"{node.name}_float"
    weight_name = made.constant(f"{name}.weight_int8", weight)
    inputs = [values, weight_name, zero_point]
    if made.form is Form.MATMUL_INTEGER_CENTRED:
        inputs.append(made.constant("weight_zero_point", np.zeros((), np.int8)))
    made.add("MatMulInteger", inputs, product, node.name)
    made.add("Cast", [product], widened, f"{node.name}/cast", to=TensorProto.FLOAT)
    factor_name = made.constant(f"{name}.factor", factor)
    made.add("Mul", [widened, factor_name], node.output[0], f"{node.name}/scale")


def _write_qdq(made: Rewriting, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]) -> None:
    restored = made.restored_input(node)
    weight_name = f"{node.name}_weight_float"
    made.dequantize_constant(f"{module_of(node)}.weight", weight, scale, weight_name, axis=1)
    made.add("MatMul", [restored, weight_name], node.output[0], node.name)


def _bias(made: Rewriting, node: NodeProto) -> tuple[str, str]:
    """Returns the bias to fuse and the output's name; takes the Add out of the graph."""
    consumers = made.graph.consumers.get(node.output[0], [])
    if len(consumers) == 1 and consumers[0].op_type == "Add":
        add = consumers[0]
        other = next(name for name in add.input if name != node.output[0])
        if other in made.graph.constants and len(made.graph.constants[other].dims) == 1:
            made.absorbed.add(add.output[0])
            return other, add.output[0]
    return "", node.output[0]
