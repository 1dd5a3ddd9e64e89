"""Reading OpenVINO models whose products and convolutions bear their modules' names.

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

_KERNELS = ("Convolution", "GroupConvolution")
_UNBIASED = "/WithoutBiases"
"""What OpenVINO appends to a convolution's name when it reads its bias as a node of its own."""
_DECODING = ("Convert", "Subtract", "Multiply", "FakeQuantize", "Transpose", "Reshape")


def products(model: openvino.Model) -> Iterator[tuple[str, str]]:
    """Yields module and node name of each product or convolution with a constant weight."""
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("MatMul", *_KERNELS) and _is_constant(node.input_value(1)):
            yield _module_of(node), node.get_friendly_name()


def file_weights(path: Path, modules: Sequence[str]) -> FileWeights:
    """Reads the weights of a model; see ``Engine.weights``."""
    nodes = openvino.Core().read_model(path).get_ordered_ops()
    wanted = set(modules)
    linear: dict[str, str] = {}
    kinds: dict[str, Node] = {}
    decoded: dict[str, Output] = {}
    for node in nodes:
        module = _module_of(node)
        if node.get_type_name() in ("MatMul", *_KERNELS) and module in wanted:
            weight = node.input_value(1)
            linear[module], kinds[module] = _key(weight), node
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
        {module: _as_module(kinds[module], values[key]) for module, key in linear.items()},
        zeros=sum(array.size - int(np.count_nonzero(array)) for array in every),
        total=sum(array.size for array in every),
    )


def _module_of(node: Node) -> str:
    name: str = node.get_friendly_name().removesuffix(_UNBIASED)
    return name.partition(REPEAT)[0]


def _as_module(node: Node, weight: NDArray[Any]) -> NDArray[Any]:
    """Returns a node's weight in its module's shape."""
    kind = node.get_type_name()
    if kind == "GroupConvolution":
        return weight.reshape(-1, *weight.shape[2:])
    if kind == "MatMul" and not node.get_attributes()["transpose_b"]:
        return weight.T
    return weight


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
