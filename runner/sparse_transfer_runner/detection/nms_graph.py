"""A detector's ONNX file with the choice of boxes in the graph, by ONNX's own operator.

Of a segmenter's, with the masks of the chosen boxes too.

For users whose program wants objects rather than places; measured and scored are the files without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .masks import Masks

OUTPUT = "detections"
MASKS = "masks"
CONFIDENCE = 0.25
OVERLAP = 0.7
MOST = 300
"""Of a class in a picture."""
_PREFIX = "nms/"
_BOX = 4
_ALL = int(np.iinfo(np.int64).max)


def write_with_nms(source: Path, target: Path) -> None:
    """Writes a detector that puts out objects.

    Its only output is ``detections``, float32 ``[objects, 7]``: the picture's number in the batch,
    left, top, right, bottom in pixels of the input, score, class.

    Args:
        source: The detector's file, whose output is ``[batch, places, 4 + classes]``.
        target: The file to write.
    """
    model = onnx.load(source)
    nodes = _Nodes(model.graph)
    _choose(nodes, model.graph.output[0].name, _ALL)
    del model.graph.output[:]
    model.graph.output.append(_detections())
    onnx.save(model, target)


def write_masks_with_nms(source: Path, target: Path, masks: Masks, *, classes: int) -> None:
    """Writes a segmenter that puts out objects.

    Its outputs are ``detections``, as a detector's; and ``masks``, bool ``[objects, side, side]``:
    which cells of the square are each object's.

    Args:
        source: The segmenter's file, whose output is flat.
        target: The file to write.
        masks: What the segmenter puts out for masks.
        classes: Their number.
    """
    model = onnx.load(source)
    nodes = _Nodes(model.graph)
    flat = model.graph.output[0].name
    width, area = _BOX + classes + masks.prototypes, masks.side**2
    cut, first, last = (nodes.whole(n) for n in (-masks.prototypes * area, 0, _ALL))
    along = nodes.whole(1)
    rows = nodes.add("Slice", flat, first, cut, along)
    places = nodes.add("Reshape", rows, nodes.whole(0, -1, width))
    values = nodes.add("Slice", flat, cut, last, along)
    where, picture = _choose(nodes, places, _BOX + classes)
    columns = nodes.whole(2)
    every = nodes.add("Slice", places, nodes.whole(_BOX + classes), last, columns)
    coefficients = nodes.add("GatherND", every, where)
    # Each object's coefficients stand in its picture's place and zeros in the others', so that one
    # product serves all pictures.
    prototypes = nodes.add("Reshape", values, nodes.whole(-1, area))
    batch = nodes.add("Shape", flat, start=0, end=1)
    one_hot = nodes.add(
        "OneHot", nodes.add("Squeeze", picture, along), batch, nodes.constant([0, 1], np.float32)
    )
    spread = nodes.add(
        "Mul", nodes.add("Unsqueeze", one_hot, columns), nodes.add("Unsqueeze", coefficients, along)
    )
    wide = nodes.add("Concat", nodes.whole(-1), nodes.add("Shape", prototypes, end=1), axis=0)
    sums = nodes.add("MatMul", nodes.add("Reshape", spread, wide), prototypes)
    grid = nodes.add("Reshape", sums, nodes.whole(-1, masks.side, masks.side))
    own = nodes.add("Greater", grid, nodes.constant(0, np.float32))
    inside = _inside(nodes, masks)
    nodes.add("And", own, inside, output=MASKS)
    del model.graph.output[:]
    model.graph.output.append(_detections())
    shape = ["objects", masks.side, masks.side]
    model.graph.output.append(helper.make_tensor_value_info(MASKS, TensorProto.BOOL, shape))
    onnx.save(model, target)


@dataclass
class _Nodes:
    """Adds nodes to a graph, and names them.

    Args:
        graph: The graph; changed.
    """

    graph: onnx.GraphProto
    _count: int = 0

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        result = output or self._name(operator)
        node = helper.make_node(operator, inputs, [result], f"{_PREFIX}{result}/node", **attributes)
        self.graph.node.append(node)
        return result

    def halves(self, source: str) -> tuple[str, str]:
        """Returns the first two and the last two of four columns."""
        first, second = self._name("Split"), self._name("Split")
        inputs = [source, self.whole(2, 2)]
        name = f"{first}/node"
        self.graph.node.append(helper.make_node("Split", inputs, [first, second], name, axis=1))
        return first, second

    def whole(self, *values: int) -> str:
        """Adds a list of whole numbers and returns its name."""
        return self.constant(list(values), np.int64)

    def constant(self, value: Any, kind: type[np.generic]) -> str:
        """Adds a constant and returns its name."""
        name = self._name("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
        return name

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{_PREFIX}{what}_{self._count}"


def _choose(nodes: _Nodes, places: str, end: int) -> tuple[str, str]:
    """Adds what puts out ``detections``.

    Args:
        nodes: Of the graph.
        places: ``[batch, places, 4 + classes + more]``.
        end: Column behind the last class.

    Returns:
        Picture and place of each object, ``[objects, 2]``; and its picture, ``[objects, 1]``.
    """
    columns = nodes.whole(2)
    boxes = nodes.add("Slice", places, nodes.whole(0), nodes.whole(_BOX), columns)
    by_place = nodes.add("Slice", places, nodes.whole(_BOX), nodes.whole(end), columns)
    scores = nodes.add("Transpose", by_place, perm=[0, 2, 1])
    limits = (nodes.constant([value], np.float32) for value in (OVERLAP, CONFIDENCE))
    chosen = nodes.add(
        "NonMaxSuppression", boxes, scores, nodes.whole(MOST), *limits, center_point_box=1
    )
    where = nodes.add("Gather", chosen, nodes.whole(0, 2), axis=1)
    centre, size = nodes.halves(nodes.add("GatherND", boxes, where))
    score = nodes.add("Unsqueeze", nodes.add("GatherND", scores, chosen), nodes.whole(1))
    reach = nodes.add("Mul", size, nodes.constant(0.5, np.float32))
    picture, label = (nodes.add("Gather", chosen, nodes.whole(n), axis=1) for n in (0, 1))
    nodes.add(
        "Concat",
        nodes.add("Cast", picture, to=TensorProto.FLOAT),
        nodes.add("Sub", centre, reach),
        nodes.add("Add", centre, reach),
        score,
        nodes.add("Cast", label, to=TensorProto.FLOAT),
        axis=1,
        output=OUTPUT,
    )
    return where, picture


def _inside(nodes: _Nodes, masks: Masks) -> str:
    """Adds which cells are in each object's box, bool ``[objects, side, side]``."""
    scale = nodes.constant(masks.side / masks.square, np.float32)
    number = np.arange(masks.side)
    parts = []
    for axis, shape in ((0, (1, 1, masks.side)), (1, (1, masks.side, 1))):
        cells = nodes.constant(number.reshape(shape), np.float32)
        low, high = (
            nodes.add(
                "Unsqueeze",
                nodes.add("Mul", nodes.add("Gather", OUTPUT, nodes.whole(n), axis=1), scale),
                nodes.whole(2),
            )
            for n in (1 + axis, 3 + axis)
        )
        parts += [nodes.add("GreaterOrEqual", cells, low), nodes.add("Less", cells, high)]
    both = [nodes.add("And", *pair) for pair in (parts[:2], parts[2:])]
    return nodes.add("And", *both)


def _detections() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["objects", 7])
