"""Reading OpenVINO models whose matrix products bear their modules' names.

A weight is read by evaluating the constant part of the graph behind it, as the engine itself
would: whatever stands there (int8 with scales, zero points, transposes), what comes out is what
the engine multiplies by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node, Output

from .onnx_graph import REPEAT, is_matrix
from .protocol import FileWeights

_DECODING = ("Convert", "Subtract", "Multiply", "FakeQuantize", "Transpose", "Reshape")


def products(model: openvino.Model) -> Iterator[tuple[str, str]]:
    """Yields module and node name of each matrix product with a constant weight."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" and _is_constant(node.input_value(1)):
            name = node.get_friendly_name()
            yield name.partition(REPEAT)[0], name


def file_weights(path: Path, modules: Sequence[str]) -> FileWeights:
    """Reads the weights of a model; see ``Engine.weights``."""
    nodes = openvino.Core().read_model(path).get_ordered_ops()
    wanted = set(modules)
    linear: dict[str, tuple[str, bool]] = {}
    decoded: dict[str, Output] = {}
    for node in nodes:
        module = node.get_friendly_name().partition(REPEAT)[0]
        if node.get_type_name() == "MatMul" and module in wanted:
            weight = node.input_value(1)
            linear[module] = (_key(weight), node.get_attributes()["transpose_b"])
            decoded[_key(weight)] = weight
    matrices = [
        _decoded(node)
        for node in nodes
        if node.get_type_name() == "Constant" and is_matrix(node.data)
    ]
    decoded.update((_key(output), output) for output in matrices)
    values = _evaluate(decoded)
    every = [values[_key(output)] for output in matrices]
    return FileWeights(
        {
            module: values[key] if transposed else values[key].T
            for module, (key, transposed) in linear.items()
        },
        zeros=sum(array.size - int(np.count_nonzero(array)) for array in every),
        total=sum(array.size for array in every),
    )


def _is_constant(output: Output) -> bool:
    node = output.get_node()
    if node.get_type_name() == "Constant":
        return True
    return node.get_type_name() in _DECODING and all(map(_is_constant, node.input_values()))


def _decoded(constant: Node) -> Output:
    """Follows a constant to the last value that depends on constants only."""
    output = constant.output(0)
    while True:
        targets = output.get_target_inputs()
        if len(targets) != 1:
            return output
        node = next(iter(targets)).get_node()
        if not _is_constant(node.output(0)):
            return output
        output = node.output(0)


def _evaluate(outputs: Mapping[str, Output]) -> dict[str, NDArray[Any]]:
    """Returns the values of outputs that depend on constants only, computed in one run."""
    keys = list(outputs)
    model = openvino.Model([outputs[key] for key in keys], [])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    results = openvino.Core().compile_model(model, "CPU", settings)({})
    return {key: results[index] for index, key in enumerate(keys)}


def _key(output: Output) -> str:
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"
