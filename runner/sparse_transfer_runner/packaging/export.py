"""Exports a trained torch model to ONNX, and names what can be named: Linear layers, convolutions.

The tracing exporter is used on purpose: it is four times faster than the one on ``torch.export``,
its graphs are the ones that onnxruntime's fusions know, and it works with the old ``onnx`` that
sparseml needs. It keeps most parameter names, but not those of Linear weights, which it
transposes; they are found again by their exact values, whatever the exporter called them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparse_transfer_runner.engines.onnx_graph import REPEAT, attribute
from sparse_transfer_runner.use_cases.protocol import Batch

from .convolutions import simplify_convolutions
from .padding import fixed_padding

OPSET = 17
"""The first with LayerNormalization as one operator; every engine here reads it."""
OUTPUT = "logits"
_PREFIX = "traced."
_LINEAR = 2
"""Dimensions of a Linear weight; kernels have more."""


class _Logits(nn.Module):
    """Takes inputs by position and returns logits alone, which is what tracing can follow."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.traced = model
        self._names = tuple(names)

    def forward(self, *values: Tensor) -> Tensor:
        logits: Tensor = self.traced(**dict(zip(self._names, values, strict=True))).logits
        return logits


def export_onnx(
    model: nn.Module, inputs: Batch, path: Path, *, dynamic_sequence: bool
) -> tuple[str, ...]:
    """Writes a model as fp32 ONNX whose layers' nodes and weights bear their modules' names.

    Args:
        model: Its forward takes the inputs by name and returns an object with ``logits``.
        inputs: An example; batch first, at least two rows. Integer inputs are ``[batch, tokens]``.
        path: The file to write.
        dynamic_sequence: Whether the second dimension of integer inputs may vary too.

    Returns:
        The names of the inputs that the graph reads.
    """
    model = model.cpu()
    _use_plain_attention(model)
    names = list(inputs)
    axes: dict[str, dict[int, str]] = {OUTPUT: {0: "batch"}}
    if dynamic_sequence and _has_positions(model, inputs):
        axes[OUTPUT][1] = "sequence"
    for name, values in inputs.items():
        sequence = {1: "sequence"} if dynamic_sequence and _is_tokens(values) else {}
        axes[name] = {0: "batch", **sequence}
    with warnings.catch_warnings(), torch.no_grad(), fixed_padding(model, inputs):
        # The exporter announces that it is old, and each shape that it takes for a constant.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model, names).eval(),
            tuple(torch.as_tensor(inputs[name]) for name in names),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[OUTPUT],
            dynamic_axes=axes,
            # Else batch norms would be folded before the convolutions have their names.
            training=_mode(model),
        )
    written = onnx.load(path)
    name_weights(written, _layer_weights(model))
    simplify_convolutions(written)
    onnx.save(written, path)
    return tuple(item.name for item in written.graph.input)


def name_weights(model: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> None:
    """Names nodes and weights of Linear and convolution modules after the modules, in place.

    A ``Gemm`` becomes ``MatMul`` and ``Add``, so that every Linear module looks the same. Where
    two modules hold equal weights, the order of the graph is taken for the order of the modules.

    Args:
        model: The exported graph.
        weights: Each module's weight ``[out, …]`` by module name, in module order.
    """
    graph = model.graph
    _inline_copies(graph)
    _replace_gemm(graph)
    constants = {item.name: item for item in graph.initializer}
    modules: dict[bytes, list[str]] = {}
    for module, weight in weights.items():
        # Linear weights lie transposed in the graph, kernels as they are.
        in_graph = weight.T if weight.ndim == _LINEAR else weight
        modules.setdefault(_fingerprint(in_graph), []).append(module)
    renamed: dict[str, str] = {}
    calls: dict[str, int] = {}
    for node in graph.node:
        constant = constants.get(node.input[1]) if node.op_type in ("MatMul", "Conv") else None
        if constant is None:
            continue
        if constant.name not in renamed:
            found = modules.get(_fingerprint(numpy_helper.to_array(constant)))
            if not found:
                continue
            renamed[constant.name] = found.pop(0) if len(found) > 1 else found[0]
        module = renamed[constant.name]
        calls[module] = calls.get(module, 0) + 1
        node.name = module if calls[module] == 1 else f"{module}{REPEAT}{calls[module]}"
    _rename(graph, {old: f"{module}.weight" for old, module in renamed.items()})


def _layer_weights(model: nn.Module) -> dict[str, NDArray[Any]]:
    return {
        name: module.weight.detach().numpy()
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    }


def _mode(model: nn.Module) -> Any:
    norms = any(isinstance(module, _BatchNorm) for module in model.modules())
    return torch.onnx.TrainingMode.PRESERVE if norms else torch.onnx.TrainingMode.EVAL


def _use_plain_attention(model: nn.Module) -> None:
    """Fused attention exports as a detour of masks and shapes; the plain one is fused later."""
    choose = getattr(model, "set_attn_implementation", None)
    if choose is not None:
        choose("eager")


def _has_positions(model: nn.Module, inputs: Batch) -> bool:
    """Whether the logits are ``[batch, positions, labels]``."""
    with torch.inference_mode():
        logits = model(**{name: torch.as_tensor(values) for name, values in inputs.items()}).logits
    return bool(logits.dim() > 2)


def _is_tokens(values: NDArray[Any]) -> bool:
    return values.ndim == 2 and np.issubdtype(values.dtype, np.integer)


def _fingerprint(weight: NDArray[Any]) -> bytes:
    return repr(weight.shape).encode() + np.ascontiguousarray(weight, np.float32).tobytes()


def _inline_copies(graph: onnx.GraphProto) -> None:
    """Reads equal constants directly, which the exporter keeps once and copies by Identity."""
    constants = {item.name for item in graph.initializer}
    copies: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        source = copies.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Identity" and source in constants:
            copies[node.output[0]] = source
        else:
            nodes.append(node)
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = copies.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)


def _replace_gemm(graph: onnx.GraphProto) -> None:
    constants = {item.name: item for item in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Gemm" and _is_linear(node, constants):
            nodes.extend(_as_product(node, graph, constants))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_linear(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    plain = all(attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return plain and not attribute(node, "transA", 0) and node.input[1] in constants


def _as_product(
    node: NodeProto, graph: onnx.GraphProto, constants: Mapping[str, TensorProto]
) -> list[NodeProto]:
    weight, output = node.input[1], node.output[0]
    if attribute(node, "transB", 0):
        values = np.ascontiguousarray(numpy_helper.to_array(constants[weight]).T)
        weight = f"{output}_weight"
        graph.initializer.append(numpy_helper.from_array(values, weight))
    if len(node.input) < 3:
        return [helper.make_node("MatMul", [node.input[0], weight], [output], name=node.name)]
    product = f"{output}_product"
    return [
        helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name),
        helper.make_node("Add", [product, node.input[2]], [output], name=f"{node.name}/bias"),
    ]


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames constants, takes the wrapper's prefix off, and drops constants that nobody reads."""
    read = {name for node in graph.node for name in node.input}
    constants = [item for item in graph.initializer if item.name in read]
    for item in constants:
        item.name = _new_name(item.name, names)
    del graph.initializer[:]
    graph.initializer.extend(constants)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = _new_name(name, names)


def _new_name(name: str, names: Mapping[str, str]) -> str:
    return names.get(name, name.removeprefix(_PREFIX))
