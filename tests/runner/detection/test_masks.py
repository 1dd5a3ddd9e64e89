"""Which pixels are an object's: by numpy, by Ultralytics, by the graph, and as COCO writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sparse_transfer_runner.detection.detections import Letterbox, select
from sparse_transfer_runner.detection.masks import Masks, run_lengths
from sparse_transfer_runner.detection.nms_graph import (
    CONFIDENCE,
    MOST,
    OVERLAP,
    write_masks_with_nms,
)
from sparse_transfer_runner.yolo.library import require_ultralytics

CLASSES = 3
MASKS = Masks(prototypes=5, side=16, square=64)
PLACES = 200


def output(seed: int, surest: float = 1.0) -> NDArray[np.float32]:
    """Returns what a segmenter might put out for one picture."""
    random = np.random.default_rng(seed)
    boxes = random.uniform(8, 56, (PLACES, 4))
    scores = surest * random.uniform(0, 1, (PLACES, CLASSES)) ** 4
    coefficients = random.normal(0, 1, (PLACES, MASKS.prototypes))
    places = np.concatenate([boxes, scores, coefficients], axis=1)
    prototypes = random.normal(0, 1, (MASKS.prototypes, MASKS.side, MASKS.side))
    return np.concatenate([places.ravel(), prototypes.ravel()]).astype(np.float32)


def chosen(raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    places, prototypes = MASKS.apart(raw, CLASSES)
    best = select(places, classes=CLASSES, confidence=CONFIDENCE, overlap=OVERLAP, most=MOST)
    return best, prototypes


@pytest.mark.parametrize("seed", range(3))
def test_cells_are_those_of_ultralytics(seed: int) -> None:
    require_ultralytics()
    from ultralytics.utils.ops import process_mask

    best, prototypes = chosen(output(seed))
    wanted = process_mask(
        torch.tensor(prototypes.reshape(-1, MASKS.side, MASKS.side)),
        torch.tensor(best[:, 6:]),
        torch.tensor(best[:, :4]),
        (MASKS.square, MASKS.square),
    )
    assert len(best) > 10
    np.testing.assert_array_equal(MASKS.cells(best, prototypes), wanted.numpy() > 0)


def test_the_graph_outlines_what_the_program_outlines(tmp_path: Path) -> None:
    batch = np.stack([output(1), output(2, surest=0.1), output(3)])
    shape = ["batch", batch.shape[1]]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pictures"], ["logits"])],
        "segmenter",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    write_masks_with_nms(tmp_path / "model.onnx", tmp_path / "nms.onnx", MASKS, classes=CLASSES)
    onnx.checker.check_model(onnx.load(tmp_path / "nms.onnx"))
    session = onnxruntime.InferenceSession(
        tmp_path / "nms.onnx", providers=["CPUExecutionProvider"]
    )
    found, masks = session.run(None, {"pictures": batch})
    for number, raw in enumerate(batch):
        best, prototypes = chosen(raw)
        mine = np.flatnonzero(found[:, 0] == number)
        mine = mine[np.argsort(-found[mine, 5], kind="stable")]
        np.testing.assert_allclose(found[mine, 1:], best[:, :6], rtol=1e-4)
        # Sums in another order may fall on the other side of 0.
        assert (masks[mine] != MASKS.cells(best, prototypes)).sum() <= 1e-3 * masks[mine].size
    none, empty = session.run(None, {"pictures": batch[1:2]})
    assert none.shape == (0, 7)
    assert empty.shape == (0, MASKS.side, MASKS.side)


@pytest.mark.parametrize("size", [(64, 64), (640, 200), (30, 90), (1, 500)])
def test_pixels_are_in_the_box_and_follow_the_cells(size: tuple[int, int]) -> None:
    place = Letterbox({"side": MASKS.square, "padding": 114}).placement(*size)
    best, prototypes = chosen(output(0))
    prototypes = np.abs(prototypes)
    best[:, 6:] = 1
    boxes = place.out_of_square(best[:, :4])
    found = list(MASKS.pixels(best, prototypes, boxes, place))
    assert len(found) == len(best)
    for mask, (left, top, right, bottom) in zip(found, boxes, strict=True):
        assert mask.shape == (size[1], size[0])
        wanted = np.zeros_like(mask)
        wanted[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
        if right > left and bottom > top:
            np.testing.assert_array_equal(mask, wanted)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_run_lengths_say_all_of_a_mask(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).uniform(size=(height, width)) < 0.4
    told = run_lengths(mask)
    values = np.arange(len(told["counts"])) % 2 == 1
    again = np.repeat(values, told["counts"]).reshape(told["size"], order="F")
    np.testing.assert_array_equal(again, mask)
