"""A detector's ONNX file with the choice of boxes in the graph, by ONNX's own operator.

For users whose program wants objects rather than places; measured and scored are the files without.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUTPUT = "detections"
CONFIDENCE = 0.25
OVERLAP = 0.7
MOST = 300
"""Of a class in a picture."""
_PREFIX = "nms/"


def write_with_nms(source: Path, target: Path) -> None:
    """Writes a detector that puts out objects.

    Its only output is ``detections``, float32 ``[objects, 7]``: the picture's number in the batch,
    left, top, right, bottom in pixels of the input, score, class.

    Args:
        source: The detector's file, whose output is ``[batch, places, 4 + classes]``.
        target: The file to write.
    """
    model = onnx.load(source)
    graph = model.graph
    places = graph.output[0].name
    constants = {
        "box_end": np.array([4], np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "axis": np.array([2], np.int64),
        "most": np.array([MOST], np.int64),
        "overlap": np.array([OVERLAP], np.float32),
        "confidence": np.array([CONFIDENCE], np.float32),
        "batch_and_place": np.array([0, 2], np.int64),
        "picture": np.array([0], np.int64),
        "label": np.array([1], np.int64),
        "columns": np.array([1], np.int64),
        "half": np.array(0.5, np.float32),
        "two": np.array([2, 2], np.int64),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{_PREFIX}{name}"))

    def add(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        named = [f"{_PREFIX}{name}" if name in made else name for name in inputs]
        made.add(output)
        result = OUTPUT if output == OUTPUT else f"{_PREFIX}{output}"
        node = helper.make_node(
            operator, named, [result], name=f"{_PREFIX}{output}/node", **attributes
        )
        graph.node.append(node)
        return output

    made = set(constants)
    add("Slice", [places, "start", "box_end", "axis"], "boxes")
    add("Slice", [places, "box_end", "end", "axis"], "scores_by_place")
    add("Transpose", ["scores_by_place"], "scores", perm=[0, 2, 1])
    add(
        "NonMaxSuppression",
        ["boxes", "scores", "most", "overlap", "confidence"],
        "chosen",
        center_point_box=1,
    )
    add("Gather", ["chosen", "batch_and_place"], "where", axis=1)
    add("GatherND", ["boxes", "where"], "box")
    add("GatherND", ["scores", "chosen"], "flat_score")
    add("Unsqueeze", ["flat_score", "columns"], "score")
    graph.node.append(
        helper.make_node(
            "Split",
            [f"{_PREFIX}box", f"{_PREFIX}two"],
            [f"{_PREFIX}centre", f"{_PREFIX}size"],
            name=f"{_PREFIX}split/node",
            axis=1,
        )
    )
    made |= {"centre", "size"}
    add("Mul", ["size", "half"], "reach")
    add("Sub", ["centre", "reach"], "low")
    add("Add", ["centre", "reach"], "high")
    for column in ("picture", "label"):
        add("Gather", ["chosen", column], f"{column}_number", axis=1)
        add("Cast", [f"{column}_number"], f"{column}_float", to=TensorProto.FLOAT)
    add("Concat", ["picture_float", "low", "high", "score", "label_float"], OUTPUT, axis=1)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["objects", 7]))
    onnx.save(model, target)
