"""Convolutions that the sparse kernels take: bytes in, bytes out, channels last.

Transposes stand around such a node, since the graph has channels first. onnxruntime computes its
own quantized convolutions channels last, and takes pairs of transposes out when it loads the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from . import sparse_blocks
from .forms import ACTIVATION_LEVELS, InputScale
from .onnx_graph import Graph, attribute, module_of
from .onnx_outputs import result_of

TO_LAST = (0, 2, 3, 1)
"""Moves channels behind the pixels."""
TO_FIRST = (0, 3, 1, 2)


@dataclass(frozen=True)
class Geometry:
    """What a result of a convolution sees, in pixels; of heights, then of widths.

    Args:
        kernel: What it sees.
        strides: How far results are apart.
        pads: Around a picture: top, left, bottom, right.
    """

    kernel: tuple[int, ...] = (1, 1)
    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)

    @classmethod
    def of(cls, graph: Graph, node: onnx.NodeProto) -> Geometry:
        """Returns that of a node with a constant weight."""
        kernel = tuple(graph.constants[node.input[1]].dims[2:])
        strides = tuple(attribute(node, "strides", (1, 1)))
        return cls(kernel, strides, tuple(attribute(node, "pads", (0, 0, 0, 0))))

    @property
    def operator(self) -> str:
        """The kernels' operator for it."""
        return sparse_blocks.POINTWISE if self == Geometry() else sparse_blocks.CONVOLUTION

    @property
    def attributes(self) -> dict[str, int]:
        """Those of the operator that say it."""
        if self == Geometry():
            return {}
        named = {"kernel": self.kernel, "stride": self.strides}
        found = {
            f"{name}_{axis}": value
            for name, values in named.items()
            for axis, value in zip(("height", "width"), values, strict=True)
        }
        edges = ("top", "left", "bottom", "right")
        return found | {f"pad_{edge}": n for edge, n in zip(edges, self.pads, strict=True)}


def rows_of_kernel(weight: NDArray[Any]) -> NDArray[Any]:
    """Returns a weight ``[out, in, height, width]`` as the kernels read it.

    That is ``[out, height * width * in]``: four neighbours are four channels of one pixel.
    """
    return weight.transpose(TO_LAST).reshape(len(weight), -1)


def kernel_of_rows(rows: NDArray[Any], kernel: tuple[int, ...]) -> NDArray[Any]:
    """Returns what ``rows_of_kernel`` was given."""
    return rows.reshape(len(rows), *kernel, -1).transpose(TO_FIRST)


def sparse_convolutions(graph: Graph, modules: Collection[str]) -> Iterator[onnx.NodeProto]:
    """Yields the convolutions of modules that the kernels can take."""
    final = {item.name for item in graph.model.graph.output}
    for node in graph.convolutions():
        if (
            module_of(node) in modules
            and result_of(graph, node) not in final
            and _is_taken(graph, node)
            and _has_constant_limits(graph, node)
        ):
            yield node


def limits(graph: Graph, node: onnx.NodeProto, scale: InputScale) -> tuple[int, int]:
    """Returns the smallest and largest byte that the rectifier behind a convolution lets through.

    Args:
        graph: Of the node.
        node: One of ``sparse_convolutions``.
        scale: Of what it hands on.
    """
    rectifier = graph.producers[result_of(graph, node)]
    low, high = -float("inf"), float("inf")
    if rectifier.op_type == "Relu":
        low = 0.0
    elif rectifier.op_type == "Clip":
        bounds = [float(graph.array(name)) if name else None for name in rectifier.input[1:]]
        bounds += [None, None]
        low = low if bounds[0] is None else bounds[0]
        high = high if bounds[1] is None else bounds[1]
    low, high = max(low, scale.low), min(high, scale.high)
    lowest, highest = (round(bound / scale.scale) + scale.zero_point for bound in (low, high))
    lowest = min(max(lowest, 0), ACTIVATION_LEVELS)
    return lowest, min(max(highest, lowest), ACTIVATION_LEVELS)


def _is_taken(graph: Graph, node: onnx.NodeProto) -> bool:
    sizes = list(graph.constants[node.input[1]].dims)
    if len(sizes) != 4 or any(size % sparse_blocks.BLOCK for size in sizes[:2]):
        return False
    geometry = Geometry.of(graph, node)
    pads = zip(geometry.pads, 2 * geometry.kernel, strict=True)
    return (
        attribute(node, "group", 1) == 1
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and all(0 <= pad < size for pad, size in pads)
        and sizes[1] * sizes[2] * sizes[3] <= sparse_blocks.MOST_INPUTS
        and (len(node.input) < 3 or node.input[2] in graph.constants)
    )


def _has_constant_limits(graph: Graph, node: onnx.NodeProto) -> bool:
    rectifier = graph.producers[result_of(graph, node)]
    bounds = rectifier.input[1:] if rectifier.op_type == "Clip" else []
    return all(not name or name in graph.constants for name in bounds)
