"""Writes INT8 ONNX files from known scales, in the forms that engines run fast.

onnxruntime's own static quantizer leaves quantize and dequantize pairs that run slower, and needs
calibration where training has already learned the scales. Only Linear layers, convolutions and
embeddings change; embeddings are rounded per row and widened after the lookup, which costs no time.
Convolutions are written as quantize and dequantize pairs whatever the form of the Linear layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from sparse_transfer_api.errors import InputError

from .forms import SMALLEST_SCALE, WEIGHT_LEVELS, Form, InputScale, joint_scale
from .onnx_convolutions import write_convolution
from .onnx_graph import Graph, attribute, module_of
from .onnx_linear import write_linear
from .onnx_outputs import result_of
from .onnx_rewriting import Rewriting, rounded_weight
from .sparse_convolutions import Geometry, rows_of_kernel, sparse_convolutions

_SMALL_TABLE = 1 << 14
"""Embeddings below this many elements stay in fp32: they save nothing."""
_EMBEDDING_ERROR = 0.02
"""Relative error that rounding embeddings may bring (a step is sqrt(12) times its error).

Finer steps would be lost in the noise of INT8 activations, and equal steps compress best: rows get
a coarser one only where they need it to fit eight bits.
"""


def quantized(
    model: onnx.ModelProto,
    scales: Mapping[str, InputScale],
    form: Form,
    outputs: Mapping[str, InputScale] | None = None,
    sparse: Collection[str] = (),
) -> onnx.ModelProto:
    """Returns an INT8 form of an fp32 model.

    Args:
        model: Exported by ``export``: nodes bear their modules' names.
        scales: The input scale of each module to quantize; modules not named stay in fp32.
        form: Which form; ``NNCF`` and ``FP32`` are not written here.
        outputs: The scales of tensors that convolutions hand on, for forms that round them too; a
            scale that a reader learned goes before.
        sparse: Modules whose zeros the sparse kernels leave out, whatever the form of the others.

    Raises:
        InputError: The graph has no node for a named module.
    """
    writer = _Writer(Graph(model), scales, form, outputs or {}, sparse)
    return writer.write()


def rounded_weights(
    model: onnx.ModelProto, modules: Collection[str]
) -> dict[str, NDArray[np.int8]]:
    """Returns the INT8 weights ``[out, in]`` of Linear modules, as every form has them."""
    graph = Graph(model)
    return {
        module_of(node): rounded_weight(graph.weight(node), WEIGHT_LEVELS)[1]
        for node in graph.linear_nodes()
        if module_of(node) in modules
    }


def rounded_convolutions(
    model: onnx.ModelProto, modules: Collection[str]
) -> dict[str, tuple[Geometry, NDArray[np.int8]]]:
    """Returns those of the convolutions that the kernels can take, as ``rows_of_kernel`` does."""
    graph = Graph(model)
    return {
        module_of(node): (
            Geometry.of(graph, node),
            rows_of_kernel(rounded_weight(graph.weight(node), WEIGHT_LEVELS)[1]),
        )
        for node in sparse_convolutions(graph, modules)
    }


class _Writer:
    """One rewriting of one graph."""

    def __init__(
        self,
        graph: Graph,
        scales: Mapping[str, InputScale],
        form: Form,
        outputs: Mapping[str, InputScale],
        sparse: Collection[str],
    ) -> None:
        linear = [
            node
            for nodes in (graph.linear_nodes(), graph.convolutions())
            for node in nodes
            if module_of(node) in scales
        ]
        if missing := sorted(set(scales) - {module_of(node) for node in linear}):
            raise InputError(
                f"the exported graph has no product for {missing[0]} "
                f"({len(missing)} of {len(scales)} quantized modules); its learned scales "
                "cannot be applied"
            )
        by_tensor = {**outputs, **_scales_by_tensor(linear, scales)}
        self._made = Rewriting(graph, form, by_tensor, rounds_outputs=bool(outputs))
        self._outputs = frozenset(outputs)
        self._rounded: dict[str, str] = {}
        self._linear = {node.output[0] for node in linear}
        self._sparse = {
            node.output[0] for node in graph.linear_nodes() if module_of(node) in sparse
        } | {
            node.output[0]
            for node in sparse_convolutions(graph, sparse)
            if result_of(graph, node) in self._outputs
        }

    def write(self) -> onnx.ModelProto:
        for node in self._made.graph.model.graph.node:
            if node.output[0] in self._linear:
                write = write_convolution if node.op_type == "Conv" else write_linear
                write(self._made, node, sparse=node.output[0] in self._sparse)
            elif self._is_large_lookup(node):
                self._write_lookup(node)
            elif node.output[0] not in self._made.absorbed:
                for place, name in enumerate(node.input):
                    # Who reads a rounded output reads what every other reader does.
                    node.input[place] = self._rounded.get(name, name)
                self._made.nodes.append(node)
            if node.output[0] in self._outputs:
                self._round_output(node.output[0])
        return self._made.finished()

    def _round_output(self, tensor: str) -> None:
        """Quantizes a tensor where it is made, for all who read it."""
        node = helper.make_node("Identity", [tensor], [tensor], name=tensor)
        self._rounded[tensor] = self._made.restored_input(node)

    def _is_large_lookup(self, node: NodeProto) -> bool:
        if node.op_type != "Gather" or attribute(node, "axis", 0) != 0:
            return False
        table = self._made.graph.constants.get(node.input[0])
        return (
            table is not None
            and table.data_type == TensorProto.FLOAT
            and len(table.dims) == 2
            and int(np.prod(table.dims)) >= _SMALL_TABLE
        )

    def _write_lookup(self, node: NodeProto) -> None:
        name, output = node.input[0], node.output[0]
        table = self._made.graph.array(name)
        coarse = _EMBEDDING_ERROR * np.sqrt(12 * np.mean(np.square(table)))
        needed = np.abs(table).max(axis=1, keepdims=True) / WEIGHT_LEVELS
        scale = np.maximum(needed, max(coarse, SMALLEST_SCALE)).astype(np.float32)
        rounded = np.round(table / scale).astype(np.int8)
        for part, values in (("int8", rounded), ("scale", scale)):
            constant = self._made.constant(f"{name}_{part}", values)
            self._made.add(
                "Gather", [constant, node.input[1]], f"{output}_{part}", f"{node.name}/{part}"
            )
        self._made.add("Cast", [f"{output}_int8"], f"{output}_float", f"{node.name}/cast", to=1)
        self._made.add("Mul", [f"{output}_float", f"{output}_scale"], output, node.name)


def _scales_by_tensor(
    nodes: list[NodeProto], scales: Mapping[str, InputScale]
) -> dict[str, InputScale]:
    """Returns one scale for each tensor that quantized modules read."""
    readers: dict[str, list[InputScale]] = {}
    for node in nodes:
        readers.setdefault(node.input[0], []).append(scales[module_of(node)])
    return {tensor: joint_scale(found) for tensor, found in readers.items()}
