"""The scales of what convolutions put out, which training does not learn: it rounds inputs.

onnxruntime computes a convolution in INT8 only where its output is rounded too. Most outputs are
the next layer's input, whose scale is known; the others are measured here, on the exported file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from .forms import InputScale
from .onnx_graph import Graph, module_of
from .protocol import Quantizable

_RECTIFIERS = ("Relu", "Clip")
"""Fused into the convolution before them."""
_LOW, _HIGH = "__low", "__high"
_ERRORS_ONLY = 3


def result_of(graph: Graph, node: onnx.NodeProto) -> str:
    """Returns the tensor that a convolution hands on: behind its rectifier, where it has one."""
    output = str(node.output[0])
    readers = graph.consumers.get(output, [])
    if len(readers) == 1 and readers[0].op_type in _RECTIFIERS:
        return str(readers[0].output[0])
    return output


def output_scales(model: Quantizable) -> dict[str, InputScale]:
    """Returns the scale of every tensor that a quantized convolution hands on.

    As for inputs, the range is the mean over batches of the batches' extremes.

    Args:
        model: With at least one batch to calibrate on.
    """
    loaded = onnx.load(model.source)
    graph = Graph(loaded)
    final = {item.name for item in loaded.graph.output}
    tensors = dict.fromkeys(
        result_of(graph, node) for node in graph.convolutions() if module_of(node) in model.scales
    )
    wanted = [tensor for tensor in tensors if tensor not in final]
    if not wanted:
        return {}
    for tensor in wanted:
        for operator, suffix in (("ReduceMin", _LOW), ("ReduceMax", _HIGH)):
            name = f"{tensor}{suffix}"
            loaded.graph.node.append(
                helper.make_node(operator, [tensor], [name], name=name, keepdims=0)
            )
            loaded.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    ranges = _extremes(loaded, model)
    names = [item.name for item in loaded.graph.output]
    mean = dict(zip(names, np.mean(ranges, axis=0), strict=True))
    return {
        tensor: InputScale.of_range(float(mean[f"{tensor}{_LOW}"]), float(mean[f"{tensor}{_HIGH}"]))
        for tensor in wanted
    }


def _extremes(loaded: onnx.ModelProto, model: Quantizable) -> list[list[float]]:
    """Returns the model's scalar outputs for each batch; the logits count as 0."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(
        loaded.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = [item.name for item in session.get_inputs()]
    return [
        [
            float(value) if np.ndim(value) == 0 else 0.0
            for value in session.run(None, {name: batch[name] for name in inputs})
        ]
        for batch in model.calibration
    ]
