"""Writes INT8 ONNX files from known scales, in the forms that engines run fast.

onnxruntime's own static quantizer leaves quantize and dequantize pairs that run slower, and needs
calibration where training has already learned the scales. Only Linear layers, convolutions and
embeddings change; embeddings are rounded per row and widened after the lookup, which costs no time.
Convolutions are written as quantize and dequantize pairs whatever the form of the Linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sparse_transfer_api.errors import InputError

from . import sparse_blocks
from .forms import SMALLEST_SCALE, WEIGHT_LEVELS, Form, InputScale, joint_scale
from .onnx_graph import Graph, attribute, module_of
from .onnx_outputs import result_of
from .onnx_patterns import gelu_behind
from .onnx_pointwise import TO_FIRST, TO_LAST, limits, pointwise_convolutions

CONTRIB = "com.microsoft"
"""Domain of onnxruntime's own operators."""
_SMALL_TABLE = 1 << 14
"""Embeddings below this many elements stay in fp32: they save nothing."""
_PAIRS = (Form.QDQ, Form.REDUCED_QDQ, Form.QDQ_OUTPUTS, Form.REDUCED_QDQ_OUTPUTS)
_LARGEST_INTEGER = 2**31
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


def rounded_pointwise_weights(
    model: onnx.ModelProto, modules: Collection[str]
) -> dict[str, NDArray[np.int8]]:
    """Returns those of the 1x1 convolutions that the sparse kernels can take."""
    graph = Graph(model)
    return {
        module_of(node): rounded_weight(graph.weight(node), WEIGHT_LEVELS)[1][:, :, 0, 0]
        for node in pointwise_convolutions(graph, modules)
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
        self._graph = graph
        self._sparse = frozenset(sparse)
        self._form = form
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._absorbed: set[str] = set()
        self._inputs: dict[str, tuple[str, str, str]] = {}
        self._restored: set[str] = set()
        self._rounded: dict[str, str] = {}
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
        self._outputs = frozenset(outputs)
        self._scales = {**outputs, **_scales_by_tensor(linear, scales)}
        self._linear = {node.output[0] for node in linear}
        self._pointwise = {
            node.output[0]
            for node in pointwise_convolutions(graph, self._sparse)
            if result_of(graph, node) in self._outputs
        }

    def write(self) -> onnx.ModelProto:
        for node in self._graph.model.graph.node:
            if node.output[0] in self._linear and node.op_type == "Conv":
                self._write_convolution(node)
            elif node.output[0] in self._linear:
                self._write_linear(node)
            elif self._is_large_lookup(node):
                self._write_lookup(node)
            elif node.output[0] not in self._absorbed:
                for place, name in enumerate(node.input):
                    # Who reads a rounded output reads what every other reader does.
                    node.input[place] = self._rounded.get(name, name)
                self._nodes.append(node)
            if node.output[0] in self._outputs:
                self._round_output(node.output[0])
        return self._finished()

    def _round_output(self, tensor: str) -> None:
        """Quantizes a tensor where it is made, for all who read it."""
        node = helper.make_node("Identity", [tensor], [tensor], name=tensor)
        self._rounded[tensor] = self._restored_input(node)

    def _write_convolution(self, node: NodeProto) -> None:
        weight = self._graph.weight(node)
        scale, rounded = rounded_weight(weight, self._form.weight_levels)
        if node.output[0] in self._pointwise:
            self._write_pointwise(node, rounded[:, :, 0, 0], scale)
            return
        restored = self._restored_input(node)
        name, weight_name = module_of(node), f"{node.name}_weight_float"
        self._dequantize_constant(f"{name}.weight", rounded, scale, weight_name, axis=0)
        inputs = [restored, weight_name]
        if len(node.input) > 2:
            bias = self._graph.array(node.input[2])
            factor = scale * np.float32(self._scales[node.input[0]].scale)
            whole = np.round(bias / factor)
            if self._outputs and np.abs(whole).max() < _LARGEST_INTEGER:
                restored_bias = f"{node.name}_bias_float"
                integers = whole.astype(np.int32)
                self._dequantize_constant(f"{name}.bias", integers, factor, restored_bias, axis=0)
                inputs.append(restored_bias)
            else:
                inputs.append(node.input[2])
        written = helper.make_node("Conv", inputs, list(node.output), name=node.name)
        written.attribute.extend(node.attribute)
        self._nodes.append(written)

    def _write_pointwise(self, node: NodeProto, rounded: NDArray[Any], scale: NDArray[Any]) -> None:
        """Writes a convolution for the sparse kernels, with its bias and a rectifier behind it."""
        name, source, result = module_of(node), node.input[0], result_of(self._graph, node)
        if result != node.output[0]:
            self._absorbed.add(result)
        values, _, _ = self._quantized_input(node)
        own, handed_on = self._scales[source], self._scales[result]
        lowest, highest = limits(self._graph, node, handed_on)
        blocks = {**sparse_blocks.to_blocks(rounded), "scales": scale}
        inputs = [self._constant(f"{name}.weight_{part}", blocks[part]) for part in blocks]
        pixels, product, made = (f"{node.name}_{part}" for part in ("pixels", "product", "bytes"))
        self._add("Transpose", [values], pixels, f"{pixels}/node", perm=TO_LAST)
        self._add(
            sparse_blocks.POINTWISE,
            [pixels, *inputs, *node.input[2:3]],
            product,
            node.name,
            domain=sparse_blocks.DOMAIN,
            in_features=rounded.shape[1],
            input_scale=own.scale,
            input_zero_point=own.zero_point,
            output_scale=handed_on.scale,
            output_zero_point=handed_on.zero_point,
            lowest=lowest,
            highest=highest,
        )
        self._add("Transpose", [product], made, f"{made}/node", perm=TO_FIRST)
        constants = (f"{made}_scale", f"{made}_zp")
        self._constant(constants[0], np.array(handed_on.scale, np.float32))
        self._constant(constants[1], np.array(handed_on.zero_point, np.uint8))
        self._inputs[result] = (made, *constants)

    def _dequantize_constant(
        self, name: str, values: NDArray[Any], scale: NDArray[Any], output: str, *, axis: int
    ) -> None:
        parts = [
            self._constant(f"{name}_{values.dtype}", values),
            self._constant(f"{name}_scale", scale),
            self._constant(f"{name}_zero_point", np.zeros(len(scale), values.dtype)),
        ]
        self._add("DequantizeLinear", parts, output, f"{output}/node", axis=axis)

    def _restored_input(self, node: NodeProto) -> str:
        """Returns the node's input, rounded and widened again; made once for each tensor."""
        values, input_scale, zero_point = self._quantized_input(node)
        restored = f"{values}_float"
        if restored not in self._restored:
            self._restored.add(restored)
            parts = [values, input_scale, zero_point]
            self._add("DequantizeLinear", parts, restored, f"{restored}/node")
        return restored

    def _write_linear(self, node: NodeProto) -> None:
        scale, rounded = rounded_weight(self._graph.weight(node), self._form.weight_levels)
        if module_of(node) in self._sparse:
            self._write_sparse(node, rounded, scale)
            return
        write: Callable[[NodeProto, NDArray[Any], NDArray[Any]], None]
        if self._form in _PAIRS:
            write = self._write_qdq
        elif self._form in (Form.MATMUL_INTEGER, Form.MATMUL_INTEGER_CENTRED):
            write = self._write_integer
        else:
            write = self._write_fused
        write(node, np.ascontiguousarray(rounded.T), scale)

    def _write_fused(self, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]) -> None:
        values, input_scale, zero_point = self._quantized_input(node)
        name = module_of(node)
        bias, output = self._bias(node)
        self._add(
            "MatMulIntegerToFloat",
            [
                values,
                self._constant(f"{name}.weight_int8", weight),
                input_scale,
                self._constant(f"{name}.weight_scale", scale),
                zero_point,
                self._constant(f"{name}.weight_zero_point", np.zeros(len(scale), np.int8)),
                bias,
            ],
            output,
            node.name,
            domain=CONTRIB,
        )

    def _write_sparse(self, node: NodeProto, rounded: NDArray[Any], scale: NDArray[Any]) -> None:
        """Writes a layer for the sparse kernels, with its bias and a GELU behind it."""
        name = module_of(node)
        bias, output = self._bias(node)
        blocks = {**sparse_blocks.to_blocks(rounded), "scales": scale}
        inputs = [self._constant(f"{name}.weight_{part}", blocks[part]) for part in blocks]
        gelu = gelu_behind(self._graph, output)
        if gelu is not None:
            self._absorbed.update(gelu)
            output = gelu[-1]
        own = self._scales[node.input[0]]
        self._add(
            sparse_blocks.OPERATOR,
            [node.input[0], *inputs, *([bias] if bias else [])],
            output,
            node.name,
            domain=sparse_blocks.DOMAIN,
            in_features=rounded.shape[1],
            input_scale=own.scale,
            input_zero_point=own.zero_point,
            activation="" if gelu is None else "gelu",
        )

    def _write_integer(self, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]) -> None:
        values, _, zero_point = self._quantized_input(node)
        name = module_of(node)
        factor = scale * np.float32(self._scales[node.input[0]].scale)
        product, widened = f"{node.name}_integer", f"{node.name}_float"
        weight_name = self._constant(f"{name}.weight_int8", weight)
        inputs = [values, weight_name, zero_point]
        if self._form is Form.MATMUL_INTEGER_CENTRED:
            inputs.append(self._constant("weight_zero_point", np.zeros((), np.int8)))
        self._add("MatMulInteger", inputs, product, node.name)
        self._add("Cast", [product], widened, f"{node.name}/cast", to=TensorProto.FLOAT)
        factor_name = self._constant(f"{name}.factor", factor)
        self._add("Mul", [widened, factor_name], node.output[0], f"{node.name}/scale")

    def _write_qdq(self, node: NodeProto, weight: NDArray[Any], scale: NDArray[Any]) -> None:
        restored = self._restored_input(node)
        weight_name = f"{node.name}_weight_float"
        self._dequantize_constant(f"{module_of(node)}.weight", weight, scale, weight_name, axis=1)
        self._add("MatMul", [restored, weight_name], node.output[0], node.name)

    def _quantized_input(self, node: NodeProto) -> tuple[str, str, str]:
        """Returns value, scale and zero point of the node's input; made once for each tensor."""
        source = node.input[0]
        if source not in self._inputs:
            names = (f"{node.name}_input_int8", f"{node.name}_input_scale", f"{node.name}_input_zp")
            self._inputs[source] = names
            if self._form is Form.DYNAMIC:
                self._nodes.append(
                    helper.make_node(
                        "DynamicQuantizeLinear", [source], list(names), name=f"{names[0]}/node"
                    )
                )
            else:
                scale = self._scales[source]
                self._constant(names[1], np.array(scale.scale, np.float32))
                self._constant(names[2], np.array(scale.zero_point, np.uint8))
                self._add("QuantizeLinear", [source, *names[1:]], names[0], f"{names[0]}/node")
        return self._inputs[source]

    def _bias(self, node: NodeProto) -> tuple[str, str]:
        """Returns the bias to fuse and the output's name; takes the Add out of the graph."""
        consumers = self._graph.consumers.get(node.output[0], [])
        if len(consumers) == 1 and consumers[0].op_type == "Add":
            add = consumers[0]
            other = next(name for name in add.input if name != node.output[0])
            if other in self._graph.constants and len(self._graph.constants[other].dims) == 1:
                self._absorbed.add(add.output[0])
                return other, add.output[0]
        return "", node.output[0]

    def _is_large_lookup(self, node: NodeProto) -> bool:
        if node.op_type != "Gather" or attribute(node, "axis", 0) != 0:
            return False
        table = self._graph.constants.get(node.input[0])
        return (
            table is not None
            and table.data_type == TensorProto.FLOAT
            and len(table.dims) == 2
            and int(np.prod(table.dims)) >= _SMALL_TABLE
        )

    def _write_lookup(self, node: NodeProto) -> None:
        name, output = node.input[0], node.output[0]
        table = self._graph.array(name)
        coarse = _EMBEDDING_ERROR * np.sqrt(12 * np.mean(np.square(table)))
        needed = np.abs(table).max(axis=1, keepdims=True) / WEIGHT_LEVELS
        scale = np.maximum(needed, max(coarse, SMALLEST_SCALE)).astype(np.float32)
        rounded = np.round(table / scale).astype(np.int8)
        for part, values in (("int8", rounded), ("scale", scale)):
            constant = self._constant(f"{name}_{part}", values)
            self._add(
                "Gather", [constant, node.input[1]], f"{output}_{part}", f"{node.name}/{part}"
            )
        self._add("Cast", [f"{output}_int8"], f"{output}_float", f"{node.name}/cast", to=1)
        self._add("Mul", [f"{output}_float", f"{output}_scale"], output, node.name)

    def _add(
        self, operator: str, inputs: list[str], output: str, name: str, **attributes: Any
    ) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        """Registers a constant; a shared module's constants are the same each time."""
        self._constants[name] = values
        return name

    def _finished(self) -> onnx.ModelProto:
        """Returns the new model, without the constants that nothing reads any more."""
        source = self._graph.model
        read = {name for node in self._nodes for name in node.input}
        read.update(item.name for item in source.graph.output)
        self._nodes = [
            node
            for node in self._nodes
            # Where all readers of a rounded tensor take its bytes, nobody takes its floats.
            if node.op_type != "DequantizeLinear" or node.output[0] in read
        ]
        read = {name for node in self._nodes for name in node.input}
        constants = [item for item in source.graph.initializer if item.name in read]
        constants += [numpy_helper.from_array(v, name) for name, v in self._constants.items()]
        graph = helper.make_graph(
            self._nodes, source.graph.name, source.graph.input, source.graph.output, constants
        )
        opsets = list(source.opset_import)
        domains = {node.domain for node in self._nodes}
        opsets += [
            helper.make_opsetid(domain, 1)
            for domain in (CONTRIB, sparse_blocks.DOMAIN)
            if domain in domains
        ]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="sparse-transfer")
        model.ir_version = source.ir_version
        return model


def rounded_weight(weight: NDArray[Any], levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the scale of each output channel, and the weight in int8."""
    rows = weight.reshape(len(weight), -1)
    scale = np.maximum(np.abs(rows).max(axis=1) / levels, SMALLEST_SCALE).astype(np.float32)
    rounded = np.clip(np.round(rows / scale[:, None]), -levels, levels).astype(np.int8)
    return scale, rounded.reshape(weight.shape)


def _scales_by_tensor(
    nodes: list[NodeProto], scales: Mapping[str, InputScale]
) -> dict[str, InputScale]:
    """Returns one scale for each tensor that quantized modules read."""
    readers: dict[str, list[InputScale]] = {}
    for node in nodes:
        readers.setdefault(node.input[0], []).append(scales[module_of(node)])
    return {tensor: joint_scale(found) for tensor, found in readers.items()}
