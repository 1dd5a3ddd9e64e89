"""An INT8 graph in the making, which the writers of layers, convolutions and lookups share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from . import sparse_blocks
from .forms import SMALLEST_SCALE, Form, InputScale
from .onnx_graph import Graph

CONTRIB = "com.microsoft"
"""Domain of onnxruntime's own operators."""


class Rewriting:
    """What is written so far of one graph.

    Args:
        graph: In fp32.
        form: Of what is written.
        scales: Of the tensors that are rounded, by name.
        rounds_outputs: Whether convolutions round what they hand on.

    Attributes:
        nodes: Written, in order.
        absorbed: Tensors that are made by other nodes than in the graph: whoever makes them there
            is not written.
    """

    def __init__(
        self,
        graph: Graph,
        form: Form,
        scales: Mapping[str, InputScale],
        *,
        rounds_outputs: bool = False,
    ) -> None:
        self.graph = graph
        self.form = form
        self.scales = scales
        self.rounds_outputs = rounds_outputs
        self.nodes: list[NodeProto] = []
        self.absorbed: set[str] = set()
        self._constants: dict[str, NDArray[Any]] = {}
        self._bytes: dict[str, tuple[str, str, str]] = {}
        self._restored: set[str] = set()

    def add(
        self, operator: str, inputs: list[str], output: str, name: str, **attributes: Any
    ) -> None:
        """Writes a node of one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Registers a constant; a shared module's constants are the same each time."""
        self._constants[name] = values
        return name

    def blocks(self, module: str, rounded: NDArray[Any], scale: NDArray[Any]) -> list[str]:
        """Registers what the sparse kernels read of a weight ``[out, in]``, in their order."""
        blocks = {**sparse_blocks.to_blocks(rounded), "scales": scale}
        return [self.constant(f"{module}.weight_{part}", blocks[part]) for part in blocks]

    def dequantize_constant(
        self, name: str, values: NDArray[Any], scale: NDArray[Any], output: str, *, axis: int
    ) -> None:
        """Writes a rounded constant and the node that widens it."""
        parts = [
            self.constant(f"{name}_{values.dtype}", values),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero_point", np.zeros(len(scale), values.dtype)),
        ]
        self.add("DequantizeLinear", parts, output, f"{output}/node", axis=axis)

    def quantized_input(self, node: NodeProto) -> tuple[str, str, str]:
        """Returns value, scale and zero point of a node's input; made once for each tensor."""
        source = node.input[0]
        if source not in self._bytes:
            names = (f"{node.name}_input_int8", f"{node.name}_input_scale", f"{node.name}_input_zp")
            self._bytes[source] = names
            if self.form is Form.DYNAMIC:
                self.nodes.append(
                    helper.make_node(
                        "DynamicQuantizeLinear", [source], list(names), name=f"{names[0]}/node"
                    )
                )
            else:
                self._scale_constants(names, self.scales[source])
                self.add("QuantizeLinear", [source, *names[1:]], names[0], f"{names[0]}/node")
        return self._bytes[source]

    def hand_on_bytes(self, tensor: str, made: str) -> None:
        """Takes ``made`` for the rounded values of a tensor."""
        self._bytes[tensor] = (made, f"{made}_scale", f"{made}_zp")
        self._scale_constants(self._bytes[tensor], self.scales[tensor])

    def restored_input(self, node: NodeProto) -> str:
        """Returns a node's input, rounded and widened again; made once for each tensor."""
        values, input_scale, zero_point = self.quantized_input(node)
        restored = f"{values}_float"
        if restored not in self._restored:
            self._restored.add(restored)
            parts = [values, input_scale, zero_point]
            self.add("DequantizeLinear", parts, restored, f"{restored}/node")
        return restored

    def finished(self) -> onnx.ModelProto:
        """Returns the new model, without the constants that nothing reads any more."""
        source = self.graph.model
        read = {name for node in self.nodes for name in node.input}
        read.update(item.name for item in source.graph.output)
        nodes = [
            node
            for node in self.nodes
            # Where all readers of a rounded tensor take its bytes, nobody takes its floats.
            if node.op_type not in ("DequantizeLinear", "Constant") or node.output[0] in read
        ]
        read = {name for node in nodes for name in node.input}
        constants = [item for item in source.graph.initializer if item.name in read]
        constants += [numpy_helper.from_array(v, name) for name, v in self._constants.items()]
        graph = helper.make_graph(
            nodes, source.graph.name, source.graph.input, source.graph.output, constants
        )
        opsets = list(source.opset_import)
        domains = {node.domain for node in nodes}
        opsets += [
            helper.make_opsetid(domain, 1)
            for domain in (CONTRIB, sparse_blocks.DOMAIN)
            if domain in domains
        ]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="sparse-transfer")
        model.ir_version = source.ir_version
        return model

    def _scale_constants(self, names: tuple[str, str, str], scale: InputScale) -> None:
        self.constant(names[1], np.array(scale.scale, np.float32))
        self.constant(names[2], np.array(scale.zero_point, np.uint8))


def rounded_weight(weight: NDArray[Any], levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the scale of each output channel, and the weight in int8."""
    rows = weight.reshape(len(weight), -1)
    scale = np.maximum(np.abs(rows).max(axis=1) / levels, SMALLEST_SCALE).astype(np.float32)
    rounded = np.clip(np.round(rows / scale[:, None]), -levels, levels).astype(np.int8)
    return scale, rounded.reshape(weight.shape)
