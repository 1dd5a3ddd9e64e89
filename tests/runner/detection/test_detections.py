"""The way from a picture into a detector's square and back, and the choice of boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from torchvision.ops import batched_nms

from sparse_transfer_runner.detection.detections import Letterbox, select
from sparse_transfer_runner.detection.nms_graph import CONFIDENCE, MOST, OVERLAP, write_with_nms

CLASSES = 3


def letterbox(side: int = 64) -> Letterbox:
    return Letterbox({"side": side, "padding": 114})


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([64, 320, 640]), st.integers(0, 99)
)
def test_boxes_come_back_from_the_square(width: int, height: int, side: int, seed: int) -> None:
    place = letterbox(side).placement(width, height)
    low, high = np.sort(np.random.default_rng(seed).uniform(0, 1, (2, 5, 2)), axis=0)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    corners = place.into_square(boxes)
    assert corners.min() >= -1e-6
    assert corners.max() <= side + 1e-6
    wanted = np.concatenate([low, high], axis=1) * ((width, height) * 2)
    np.testing.assert_allclose(place.out_of_square(corners), wanted, atol=1e-6 * max(width, height))


@pytest.mark.parametrize("size", [(64, 64), (200, 50), (50, 200), (3, 900), (7, 7)])
def test_a_picture_fills_one_side_and_grey_the_rest(size: tuple[int, int]) -> None:
    values = letterbox()(Image.new("RGB", size, "white"))
    assert values.shape == (3, 64, 64)
    assert values.dtype == np.float32
    white = (values == 1).all(axis=0)
    assert max(white.any(axis=0).sum(), white.any(axis=1).sum()) == 64
    assert np.allclose(values[:, ~white], 114 / 255)


def places(seed: int, count: int = 300) -> np.ndarray:
    random = np.random.default_rng(seed)
    boxes = random.uniform(5, 60, (count, 4))
    scores = random.uniform(0, 1, (count, CLASSES)) ** 4
    return np.concatenate([boxes, scores], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_that_of_torchvision(seed: int) -> None:
    raw = places(seed)
    found = select(raw, classes=CLASSES, confidence=0.1, overlap=0.5, most=1000)
    row, label = np.nonzero(raw[:, 4:] >= 0.1)
    centre, half = raw[row, :2], raw[row, 2:4] / 2
    corners = torch.tensor(np.concatenate([centre - half, centre + half], axis=1))
    scores = torch.tensor(raw[row, 4 + label])
    kept = batched_nms(corners, scores, torch.tensor(label), 0.5).numpy()
    np.testing.assert_allclose(found[:, :4], corners[kept], rtol=1e-5)
    np.testing.assert_array_equal(found[:, 5], label[kept])


def test_no_more_boxes_are_kept_than_asked_for() -> None:
    found = select(places(0), classes=CLASSES, confidence=0.0, overlap=1.0, most=7)
    assert len(found) == 7
    assert list(found[:, 4]) == sorted(found[:, 4], reverse=True)


def test_where_nothing_is_sure_nothing_is_found() -> None:
    found = select(places(0), classes=CLASSES, confidence=1.1, overlap=0.5, most=7)
    assert found.shape == (0, 6)


def test_the_graph_chooses_what_the_program_chooses(tmp_path: Path) -> None:
    batch = np.stack([places(1), places(2)])
    shape = ["batch", 300, 4 + CLASSES]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pictures"], ["logits"])],
        "detector",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    write_with_nms(tmp_path / "model.onnx", tmp_path / "nms.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "nms.onnx"))
    session = onnxruntime.InferenceSession(
        tmp_path / "nms.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"pictures": batch})
    for number, raw in enumerate(batch):
        wanted = select(raw, classes=CLASSES, confidence=CONFIDENCE, overlap=OVERLAP, most=MOST)
        mine = found[found[:, 0] == number][:, 1:]
        mine = mine[np.argsort(-mine[:, 4], kind="stable")]
        np.testing.assert_allclose(mine, wanted, rtol=1e-4)
