"""Finds what torch spells out in several nodes, and kernels compute in one."""

from __future__ import annotations

import math

import onnx

from .onnx_graph import Graph

_EXACT = 1e-6


def gelu_behind(graph: Graph, tensor: str) -> tuple[str, ...] | None:
    """Returns the outputs of the nodes that make a GELU of a tensor, the GELU's own last.

    That is ``x * (erf(x / sqrt 2) + 1) * 0.5``, in the order in which transformers writes it. None
    where the tensor is used for anything else.
    """
    readers = graph.consumers.get(tensor, [])
    if {node.op_type for node in readers} != {"Div", "Mul"} or len(readers) != 2:
        return None
    divided = next(node for node in readers if node.op_type == "Div")
    product = next(node for node in readers if node.op_type == "Mul")
    erf = _only_reader(graph, divided, "Erf")
    shifted = _only_reader(graph, erf, "Add")
    halved = _only_reader(graph, product, "Mul")
    if erf is None or shifted is None or halved is None:
        return None
    if _only_reader(graph, shifted, "Mul") is not product or tensor != divided.input[0]:
        return None
    constants = ((divided, math.sqrt(2)), (shifted, 1.0), (halved, 0.5))
    if not all(_has_constant(graph, node, value) for node, value in constants):
        return None
    behind: list[onnx.NodeProto] = [divided, erf, shifted, product, halved]
    return tuple(str(node.output[0]) for node in behind)


def _only_reader(graph: Graph, node: onnx.NodeProto | None, operator: str) -> onnx.NodeProto | None:
    readers = graph.consumers.get(node.output[0], []) if node is not None else []
    return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None


def _has_constant(graph: Graph, node: onnx.NodeProto, value: float) -> bool:
    """Whether one of a node's inputs is the given scalar."""
    found = [graph.array(name) for name in node.input if name in graph.constants]
    return any(each.size == 1 and abs(float(each.reshape(())) - value) < _EXACT for each in found)
