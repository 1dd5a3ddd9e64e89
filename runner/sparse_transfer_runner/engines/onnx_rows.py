"""How many rows each layer multiplies in one inference.

Most Linear layers see every token; what stands behind a pooling sees one row of each text. Rows of
a convolution are its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx
from onnx import TensorProto, helper

from sparse_transfer_runner.use_cases.protocol import Batch

from .onnx_graph import Graph, module_of

_SHAPE = "__shape"
_ERRORS_ONLY = 3


def rows_of_layers(
    model: onnx.ModelProto, modules: Collection[str], example: Batch
) -> dict[str, int]:
    """Runs a model once, and returns the rows of each module; of one called often, the most.

    Args:
        model: An fp32 file whose nodes bear their modules' names; it is not changed.
        modules: Linear modules and 1x1 convolutions.
        example: The inputs.
    """
    import onnxruntime

    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = Graph(probed)
    planes = {node.input[0] for node in graph.convolutions()}
    reads = [
        (module_of(node), node.input[0])
        for nodes in (graph.linear_nodes(), graph.convolutions())
        for node in nodes
        if module_of(node) in modules
    ]
    if not reads:
        return {}
    tensors = list(dict.fromkeys(tensor for _, tensor in reads))
    for tensor in tensors:
        name = f"{tensor}{_SHAPE}"
        probed.graph.node.append(helper.make_node("Shape", [tensor], [name], name=name))
        probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {item.name: example[item.name] for item in session.get_inputs()}
    shapes = session.run([f"{tensor}{_SHAPE}" for tensor in tensors], inputs)
    rows = {
        tensor: math.prod(_without_channels(shape.tolist(), 1 if tensor in planes else -1))
        for tensor, shape in zip(tensors, shapes, strict=True)
    }
    return {
        module: max(rows[tensor] for name, tensor in reads if name == module) for module, _ in reads
    }


def _without_channels(shape: list[int], axis: int) -> list[int]:
    del shape[axis]
    return shape
