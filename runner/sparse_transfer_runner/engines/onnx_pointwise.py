"""1x1 convolutions that the sparse kernels take: bytes in, bytes out, channels last.

Transposes stand around such a node, since the graph has channels first. onnxruntime computes its
own quantized convolutions channels last, and takes pairs of transposes out when it loads the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from . import sparse_blocks
from .forms import ACTIVATION_LEVELS, InputScale
from .onnx_graph import Graph, attribute, module_of
from .onnx_outputs import result_of

TO_LAST = (0, 2, 3, 1)
"""Moves channels behind the pixels."""
TO_FIRST = (0, 3, 1, 2)


def pointwise_convolutions(graph: Graph, modules: Collection[str]) -> Iterator[onnx.NodeProto]:
    """Yields the convolutions of modules that the kernels can take."""
    final = {item.name for item in graph.model.graph.output}
    for node in graph.convolutions():
        if (
            module_of(node) in modules
            and result_of(graph, node) not in final
            and _is_pointwise(graph, node)
            and _has_constant_limits(graph, node)
        ):
            yield node


def limits(graph: Graph, node: onnx.NodeProto, scale: InputScale) -> tuple[int, int]:
    """Returns the smallest and largest byte that the rectifier behind a convolution lets through.

    Args:
        graph: Of the node.
        node: One of ``pointwise_convolutions``.
        scale: Of what it hands on.
    """
    rectifier = graph.producers[result_of(graph, node)]
    low, high = -float("inf"), float("inf")
    if rectifier.op_type == "Relu":
        low = 0.0
    elif rectifier.op_type == "Clip":
        bounds = [float(graph.array(name)) if name else None for name in rectifier.input[1:]]
        bounds += [None, None]
        low = low if bounds[0] is None else bounds[0]
        high = high if bounds[1] is None else bounds[1]
    low, high = max(low, scale.low), min(high, scale.high)
    lowest, highest = (round(bound / scale.scale) + scale.zero_point for bound in (low, high))
    lowest = min(max(lowest, 0), ACTIVATION_LEVELS)
    return lowest, min(max(highest, lowest), ACTIVATION_LEVELS)


def _is_pointwise(graph: Graph, node: onnx.NodeProto) -> bool:
    sizes = list(graph.constants[node.input[1]].dims)
    return (
        len(sizes) == 4
        and sizes[2:] == [1, 1]
        and sizes[0] % sparse_blocks.BLOCK == 0
        and sizes[1] % sparse_blocks.BLOCK == 0
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "strides", [1])) == {1}
        and not any(attribute(node, "pads", []))
        and (len(node.input) < 3 or node.input[2] in graph.constants)
    )


def _has_constant_limits(graph: Graph, node: onnx.NodeProto) -> bool:
    rectifier = graph.producers[result_of(graph, node)]
    bounds = rectifier.input[1:] if rectifier.op_type == "Clip" else []
    return all(not name or name in graph.constants for name in bounds)
