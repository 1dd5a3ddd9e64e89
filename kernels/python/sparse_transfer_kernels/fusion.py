"""Joins sparse layers that follow each other in a model file.

joined = fusion.join_layers(model)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_DOMAIN = "sparsetransfer.dev"
_LAYER, _TWO_LAYERS = "SparseQLinear", "SparseQFeedForward"
_INPUTS = 6
"""Of a layer with a bias."""


def join_layers(model: onnx.ModelProto) -> int:
    """Makes one node of each two ``SparseQLinear`` of which the second alone reads the first.

    What is between them then never is a tensor of floats; the results stay the same, to the last
    bit. The second layer needs a fixed scale and no activation, and both need a bias.

    Args:
        model: Changed in place.

    Returns:
        How many were joined.
    """
    nodes = model.graph.node
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(item.name for item in model.graph.output)
    made_by = {name: node for node in nodes for name in node.output}
    joined = 0
    for second in list(nodes):
        first = made_by.get(second.input[0]) if second.input else None
        if first is None or readers[second.input[0]] != 1 or not _follow(first, second):
            continue
        place = list(nodes).index(second)
        nodes.insert(place, _joined(first, second))
        nodes.remove(first)
        nodes.remove(second)
        joined += 1
    return joined


def _follow(first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    for node in (first, second):
        if (node.domain, node.op_type) != (_DOMAIN, _LAYER) or len(node.input) != _INPUTS:
            return False
        if not all(node.input):
            return False
    attributes = {item.name: item for item in second.attribute}
    activation = attributes.get("activation")
    return "input_scale" in attributes and (activation is None or not activation.s)


def _joined(first: onnx.NodeProto, second: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    node = onnx.NodeProto(name=second.name, op_type=_TWO_LAYERS, domain=_DOMAIN)
    node.input.extend([*first.input, *second.input[1:]])
    node.output.extend(second.output)
    node.attribute.extend(first.attribute)
    for item in second.attribute:
        if item.name in ("input_scale", "input_zero_point"):
            hidden = onnx.AttributeProto()
            hidden.CopyFrom(item)
            hidden.name = item.name.replace("input", "hidden", 1)
            node.attribute.append(hidden)
    return node
