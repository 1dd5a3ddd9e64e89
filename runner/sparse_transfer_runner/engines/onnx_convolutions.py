"""Writes a convolution with rounded weights: as pairs, or for the sparse kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from . import sparse_blocks
from .onnx_graph import module_of
from .onnx_outputs import result_of
from .onnx_rewriting import Rewriting, rounded_weight
from .sparse_convolutions import TO_FIRST, TO_LAST, Geometry, limits, rows_of_kernel

_LARGEST_INTEGER = 2**31


def write_convolution(made: Rewriting, node: NodeProto, *, sparse: bool) -> None:
    """Writes a convolution; its bias is rounded too where outputs are.

    Args:
        made: What is written.
        node: The convolution.
        sparse: For the sparse kernels; one of ``sparse_convolutions`` whose result is rounded.
    """
    weight = made.graph.weight(node)
    scale, rounded = rounded_weight(weight, made.form.weight_levels)
    if sparse:
        _write_sparse(made, node, rows_of_kernel(rounded), scale)
        return
    restored = made.restored_input(node)
    name, weight_name = module_of(node), f"{node.name}_weight_float"
    made.dequantize_constant(f"{name}.weight", rounded, scale, weight_name, axis=0)
    inputs = [restored, weight_name]
    if len(node.input) > 2:
        bias = made.graph.array(node.input[2])
        factor = scale * np.float32(made.scales[node.input[0]].scale)
        whole = np.round(bias / factor)
        if made.rounds_outputs and np.abs(whole).max() < _LARGEST_INTEGER:
            restored_bias = f"{node.name}_bias_float"
            integers = whole.astype(np.int32)
            made.dequantize_constant(f"{name}.bias", integers, factor, restored_bias, axis=0)
            inputs.append(restored_bias)
        else:
            inputs.append(node.input[2])
    written = helper.make_node("Conv", inputs, list(node.output), name=node.name)
    written.attribute.extend(node.attribute)
    made.nodes.append(written)


def _write_sparse(
    made: Rewriting, node: NodeProto, rounded: NDArray[Any], scale: NDArray[Any]
) -> None:
    """Writes a convolution for the sparse kernels, with its bias and a rectifier behind it."""
    name, source, result = module_of(node), node.input[0], result_of(made.graph, node)
    if result != node.output[0]:
        made.absorbed.add(result)
    values, _, _ = made.quantized_input(node)
    own, target = made.scales[source], made.scales[result]
    lowest, highest = limits(made.graph, node, target)
    inputs = made.blocks(name, rounded, scale)
    geometry = Geometry.of(made.graph, node)
    pixels, product, handed = (f"{node.name}_{part}" for part in ("pixels", "product", "bytes"))
    made.add("Transpose", [values], pixels, f"{pixels}/node", perm=TO_LAST)
    made.add(
        geometry.operator,
        [pixels, *inputs, *node.input[2:3]],
        product,
        node.name,
        **sparse_blocks.node_attributes(rounded.shape[1], own),
        output_scale=target.scale,
        output_zero_point=target.zero_point,
        lowest=lowest,
        highest=highest,
        **geometry.attributes,
    )
    made.add("Transpose", [product], handed, f"{handed}/node", perm=TO_FIRST)
    made.hand_on_bytes(result, handed)
