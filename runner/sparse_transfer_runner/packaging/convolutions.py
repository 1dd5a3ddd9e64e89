"""Makes an exported convolution what engines compute: one node with its padding and batch norm.

The exporter could fold batch norms itself, but would then lose the weights' names and values, by
which a layer is recognized. Folding multiplies whole output channels, so that zeros stay zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from sparse_transfer_runner.engines.onnx_graph import Graph, attribute

_EPSILON = 1e-5


def simplify_convolutions(model: onnx.ModelProto) -> None:
    """Folds batch norms and constant padding into the convolutions beside them, in place."""
    _fold_batch_norms(Graph(model))
    _fold_padding(Graph(model))
    _drop_unread(model.graph)


def _fold_batch_norms(graph: Graph) -> None:
    gone: set[str] = set()
    for conv in graph.convolutions():
        readers = graph.consumers.get(conv.output[0], [])
        shared = len(graph.consumers[conv.input[1]]) > 1
        if len(readers) != 1 or readers[0].op_type != "BatchNormalization" or shared:
            continue
        norm = readers[0]
        scale, shift, mean, variance = (
            graph.array(name).astype(np.float64) for name in norm.input[1:5]
        )
        factor = scale / np.sqrt(variance + attribute(norm, "epsilon", _EPSILON))
        weight = graph.array(conv.input[1])
        bias = graph.array(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(factor))
        folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        _replace(graph, conv.input[1], folded)
        name = f"{conv.name}.folded_bias"
        _add(graph, name, (bias - mean) * factor + shift)
        del conv.input[2:]
        conv.input.append(name)
        conv.output[0] = norm.output[0]
        gone.add(norm.name)
    _remove(graph, gone)


def _fold_padding(graph: Graph) -> None:
    gone: set[str] = set()
    for conv in graph.convolutions():
        pad = graph.producers.get(conv.input[0])
        if pad is None or pad.op_type != "Pad" or len(graph.consumers[pad.output[0]]) != 1:
            continue
        amounts = _zero_padding(graph, pad)
        if amounts is None or attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
            continue
        rank = len(amounts) // 2
        own = attribute(conv, "pads", [0] * (2 * (rank - 2)))
        added = [*amounts[2:rank], *amounts[rank + 2 :]]
        kept = [item for item in conv.attribute if item.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend(kept)
        total = [int(a) + int(b) for a, b in zip(own, added, strict=True)]
        conv.attribute.append(helper.make_attribute("pads", total))
        conv.input[0] = pad.input[0]
        gone.add(pad.name)
    _remove(graph, gone)


def _zero_padding(graph: Graph, pad: NodeProto) -> list[int] | None:
    """Returns a padding's amounts where it puts constant zeros around height and width alone."""
    if attribute(pad, "mode", b"constant") != b"constant":
        return None
    amounts = _constant(graph, pad.input[1])
    if amounts is None:
        return None
    value = _constant(graph, pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    rank = len(amounts) // 2
    outer = [*amounts[:2], *amounts[rank : rank + 2]]
    if value is None or np.any(value != 0) or any(outer) or min(amounts) < 0:
        return None
    return [int(amount) for amount in amounts]


def _constant(graph: Graph, name: str) -> NDArray[Any] | None:
    """Returns a value that depends on constants alone, which the exporter does not compute itself.

    None where it depends on inputs.
    """
    from onnx.reference import ReferenceEvaluator

    nodes: list[NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    wanted = [name]
    while wanted:
        each = wanted.pop()
        producer = graph.producers.get(each)
        if producer is not None:
            if producer not in nodes:
                nodes.append(producer)
                wanted += [item for item in producer.input if item]
        elif each in graph.constants:
            constants[each] = graph.constants[each]
        else:
            return None
    part = helper.make_graph(
        [node for node in graph.model.graph.node if node in nodes],
        "part",
        [],
        [helper.make_empty_tensor_value_info(name)],
        list(constants.values()),
    )
    model = helper.make_model(part, opset_imports=graph.model.opset_import)
    value: NDArray[Any] = ReferenceEvaluator(model).run(None, {})[0]
    return value


def _replace(graph: Graph, name: str, values: NDArray[Any]) -> None:
    graph.constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def _add(graph: Graph, name: str, values: NDArray[Any]) -> None:
    graph.model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))


def _remove(graph: Graph, gone: set[str]) -> None:
    nodes = [node for node in graph.model.graph.node if node.name not in gone]
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {item.name for item in graph.output}
    nodes: list[NodeProto] = []
    for node in reversed(graph.node):
        if not read.isdisjoint(node.output):
            nodes.append(node)
            read.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    kept = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
