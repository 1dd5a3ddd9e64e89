"""Reading ONNX graphs whose Linear and convolution nodes bear their modules' names.

``export`` names the nodes; every form keeps the names, so that a file can be checked by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from . import sparse_blocks
from .protocol import FileWeights

_SPARSE_WEIGHTS = {
    sparse_blocks.OPERATOR: (1,),
    sparse_blocks.TWO_LAYERS: (1, 6),
    sparse_blocks.POINTWISE: (1,),
    sparse_blocks.CONVOLUTION: (1,),
}
"""Where the weights of each layer begin among a node's inputs."""
REPEAT = "#"
"""Separates a module's name from a count, where a shared module is called more than once."""
_INTEGER = ("MatMulInteger", "MatMulIntegerToFloat")
_WEIGHT_TYPES = (np.float32, np.float16, np.int8, np.uint8)


def module_of(node: onnx.NodeProto) -> str:
    """Returns the module that a node computes, by its name."""
    return str(node.name).partition(REPEAT)[0]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Returns a node's attribute, or the operator's default."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def is_matrix(array: NDArray[Any]) -> bool:
    """Whether a constant is a weight matrix or kernel rather than a bias, scale or shape."""
    return array.dtype in _WEIGHT_TYPES and sum(size > 1 for size in array.shape) >= 2


@dataclass(frozen=True)
class Graph:
    """A graph with its constants by name.

    Args:
        model: The whole file.
    """

    model: onnx.ModelProto

    @classmethod
    def load(cls, path: Path) -> Graph:
        """Reads a file."""
        return cls(onnx.load(path))

    @cached_property
    def constants(self) -> dict[str, onnx.TensorProto]:
        """Initializers, and what nodes ``Constant`` hold as tensors, by name."""
        found = {item.name: item for item in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = node.attribute[0].t
        return found

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that computes each value."""
        return {output: node for node in self.model.graph.node for output in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each value."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def array(self, name: str) -> NDArray[Any]:
        """Returns a constant's values."""
        return numpy_helper.to_array(self.constants[name])

    def linear_nodes(self) -> Iterator[onnx.NodeProto]:
        """Yields the fp32 matrix products with a constant weight."""
        for node in self.model.graph.node:
            if node.op_type == "MatMul" and node.input[1] in self.constants:
                yield node

    def convolutions(self) -> Iterator[onnx.NodeProto]:
        """Yields the fp32 convolutions with a constant weight."""
        for node in self.model.graph.node:
            if node.op_type == "Conv" and node.input[1] in self.constants:
                yield node

    def weight(self, node: onnx.NodeProto) -> NDArray[Any]:
        """Returns the decoded weight ``[out, …]`` of a module's node, in any form."""
        name = node.input[1]
        if node.op_type in _INTEGER:
            return self._integer_weight(node).T
        producer = self.producers.get(name)
        if producer is not None and producer.op_type == "DequantizeLinear":
            values = self._dequantized(producer)
        else:
            values = self.array(name)
        return values if node.op_type == "Conv" else values.T

    def sparse_weights(self, node: onnx.NodeProto) -> dict[str, NDArray[Any]]:
        """Returns the weights ``[out, in, …]`` of a node of the sparse kernels, by module."""
        if node.domain != sparse_blocks.DOMAIN:
            return {}
        starts = _SPARSE_WEIGHTS.get(node.op_type, ())
        features = attribute(node, "in_features", 0)
        found = {}
        for start in starts:
            parts = zip(("values", "columns", "offsets"), node.input[start:], strict=False)
            blocks = {part: self.array(name) for part, name in parts}
            weight = sparse_blocks.from_blocks(blocks, features)
            features = len(weight)
            if node.op_type in (sparse_blocks.POINTWISE, sparse_blocks.CONVOLUTION):
                sizes = (attribute(node, f"kernel_{axis}", 1) for axis in ("height", "width"))
                weight = weight.reshape(len(weight), *sizes, -1).transpose(0, 3, 1, 2)
            found[node.input[start].removesuffix(sparse_blocks.VALUES)] = weight
        return found

    def _integer_weight(self, node: onnx.NodeProto) -> NDArray[Any]:
        fused = node.op_type == "MatMulIntegerToFloat"
        place = 5 if fused else 3
        zero_point = node.input[place] if len(node.input) > place else ""
        return self._centred(node.input[1], zero_point)

    def _dequantized(self, node: onnx.NodeProto) -> NDArray[Any]:
        axis = attribute(node, "axis", 1)
        zero_point = node.input[2] if len(node.input) > 2 else ""
        values = self._centred(node.input[0], zero_point, axis)
        return values * _along(self.array(node.input[1]), values.ndim, axis)

    def _centred(self, weight: str, zero_point: str, axis: int = 1) -> NDArray[Any]:
        values = self.array(weight).astype(np.int32)
        if not zero_point:
            return values
        return values - _along(self.array(zero_point).astype(np.int32), values.ndim, axis)


def _along(values: NDArray[Any], dimensions: int, axis: int) -> NDArray[Any]:
    """Returns one value for each index of an axis in a shape that multiplies along it."""
    if values.ndim == 0:
        return values
    return values.reshape([-1 if place == axis else 1 for place in range(dimensions)])


def _matrices(graph: Graph, without: Collection[str]) -> Iterator[NDArray[Any]]:
    for item in graph.model.graph.initializer:
        values = numpy_helper.to_array(item)
        if item.name not in without and is_matrix(values):
            yield values


def file_weights(path: Path, modules: Sequence[str]) -> FileWeights:
    """Reads the weights of an ONNX file; see ``Engine.weights``."""
    graph = Graph.load(path)
    wanted = set(modules)
    linear: dict[str, NDArray[Any]] = {}
    sparse: dict[str, NDArray[Any]] = {}
    for node in graph.model.graph.node:
        if node.domain == sparse_blocks.DOMAIN:
            sparse |= graph.sparse_weights(node)
        elif module_of(node) in wanted:
            linear[module_of(node)] = graph.weight(node)
    linear |= {name: weight for name, weight in sparse.items() if name in wanted}
    stored = {f"{name}{sparse_blocks.VALUES}" for name in sparse}
    zeros = total = 0
    for values in chain(sparse.values(), _matrices(graph, stored)):
        total += values.size
        zeros += values.size - int(np.count_nonzero(values))
    return FileWeights(linear, zeros, total)
