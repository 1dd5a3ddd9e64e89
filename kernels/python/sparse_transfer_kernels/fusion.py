"""Joins what belongs together in a model file: sparse layers, normalizations, attention.

joined = fusion.join_layers(model)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, MutableSequence, Sequence
from typing import TYPE_CHECKING

from .attention_pattern import join_attention

if TYPE_CHECKING:
    import onnx

__all__ = ["join_attention", "join_layers", "join_normalizations"]

_DOMAIN = "sparsetransfer.dev"
_LAYER, _TWO_LAYERS = "SparseQLinear", "SparseQFeedForward"
_INPUTS = 6
"""Of a layer with a bias."""
_NORMALIZATION, _ADD_NORMALIZATION = "LayerNormalization", "AddLayerNormalization"
_NORMALIZED = 3
"""Inputs of a normalization with a bias."""


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
    readers = _readers(model)
    made_by = {name: node for node in nodes for name in node.output}
    joined = 0
    for second in list(nodes):
        first = made_by.get(second.input[0]) if second.input else None
        if first is None or readers[second.input[0]] != 1 or not _follow(first, second):
            continue
        _replace(nodes, first, second, _joined(first, second))
        joined += 1
    return joined


def join_normalizations(model: onnx.ModelProto) -> int:
    """Makes one node of each residual ``Add`` and the ``LayerNormalization`` behind it.

    Taken are those that add what a sparse layer puts out to what a normalization did: the residual
    stream of an encoder, which has one shape all along. (A model that adds tensors of two shapes
    there would be refused when it runs.) Results differ by rounding alone.

    Args:
        model: Changed in place.

    Returns:
        How many were joined.
    """
    nodes = model.graph.node
    readers = _readers(model)
    constants = {item.name for item in model.graph.initializer}
    made_by = {name: node for node in nodes for name in node.output}
    joined = 0
    for norm in list(nodes):
        add = made_by.get(norm.input[0]) if norm.input else None
        if add is None or add.op_type != "Add" or readers[norm.input[0]] != 1:
            continue
        sources = [made_by.get(name) for name in add.input]
        if not _normalizes_rows(norm, constants) or not _residual(sources):
            continue
        node = _add_normalization(add, norm)
        _replace(nodes, add, norm, node)
        made_by[node.output[0]] = node
        joined += 1
    return joined


def _readers(model: onnx.ModelProto) -> Counter[str]:
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(item.name for item in model.graph.output)
    return readers


def _replace(
    nodes: MutableSequence[onnx.NodeProto],
    first: onnx.NodeProto,
    second: onnx.NodeProto,
    joined: onnx.NodeProto,
) -> None:
    """Puts a node where the second of two stood that it computes."""
    nodes.insert(list(nodes).index(second), joined)
    nodes.remove(first)
    nodes.remove(second)


def _normalizes_rows(norm: onnx.NodeProto, constants: Container[str]) -> bool:
    axes = [item.i for item in norm.attribute if item.name == "axis"]
    return (
        norm.op_type == _NORMALIZATION
        and not norm.domain
        and len(norm.input) == _NORMALIZED
        and len(norm.output) == 1
        and all(name in constants for name in norm.input[1:])
        and axes in ([], [-1])
    )


def _residual(sources: Sequence[onnx.NodeProto | None]) -> bool:
    kinds = [node.op_type if node is not None else "" for node in sources]
    sparse = [kind in (_LAYER, _TWO_LAYERS) for kind in kinds]
    normalized = [kind in (_NORMALIZATION, _ADD_NORMALIZATION) for kind in kinds]
    return any(sparse) and any(normalized)


def _add_normalization(add: onnx.NodeProto, norm: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    node = onnx.NodeProto(name=norm.name, op_type=_ADD_NORMALIZATION, domain=_DOMAIN)
    node.input.extend([*add.input, *norm.input[1:]])
    node.output.extend(norm.output)
    node.attribute.extend(item for item in norm.attribute if item.name == "epsilon")
    return node


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
