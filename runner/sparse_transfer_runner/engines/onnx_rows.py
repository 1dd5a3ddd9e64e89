"""What each layer reads in one inference: how many rows, or pictures of which size.

Most Linear layers see every token; what stands behind a pooling sees one row of each text.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import onnx
from onnx import TensorProto, helper

from sparse_transfer_runner.use_cases.protocol import Batch

from .onnx_graph import Graph, module_of

_SHAPE = "__shape"
_ERRORS_ONLY = 3


def shapes_of_inputs(
    model: onnx.ModelProto, modules: Collection[str], example: Batch
) -> dict[str, Sequence[int]]:
    """Runs a model once, and returns what each module reads; of one called often, the most.

    Args:
        model: An fp32 file whose nodes bear their modules' names; it is not changed.
        modules: Linear modules, which read ``[…, in]``, and convolutions, ``[batch, in, height,
            width]``.
        example: The inputs.
    """
    import onnxruntime

    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = Graph(probed)
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
    found = session.run([f"{tensor}{_SHAPE}" for tensor in tensors], inputs)
    shapes = {tensor: tuple(shape.tolist()) for tensor, shape in zip(tensors, found, strict=True)}
    return {
        module: max((shapes[tensor] for name, tensor in reads if name == module), key=math.prod)
        for module, _ in reads
    }
