"""What a segmenter's outputs are worth on the user's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.runner.object_folders import CLASSES, write_objects
from tests.runner.tiny_detectors import SEGMENTING, tiny_detector

from sparse_transfer_api.records import Plan
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.detection.layout import find_layout
from sparse_transfer_runner.detection.masks import Masks
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.object_inputs import ObjectPreprocessor
from sparse_transfer_runner.use_cases.outputs import Outputs
from sparse_transfer_runner.use_cases.segment_inputs import (
    MOST,
    EncodedSegments,
    drawn_mask,
    mask_overlaps,
    packed,
    unpacked,
    words_of,
)
from sparse_transfer_runner.use_cases.segment_scores import scored

SIDE, CELLS, PROTOTYPES = 96, 48, 2
CONFIG = {"side": SIDE, "padding": 114, "prototypes": PROTOTYPES, "mask_side": CELLS}


@pytest.fixture
def rows(tmp_path: Path) -> EncodedSegments:
    """Five pictures, one of them a background."""
    data = write_objects(tmp_path, {"train": 5, "val": 1}, labels="annotations", polygons=True)
    (data / "annotations" / "train" / "0.txt").unlink()
    items = find_layout(data, Findings(), polygons=True).splits["train"].items
    return EncodedSegments(data, items, CLASSES, ObjectPreprocessor(CONFIG))


def perfect(rows: EncodedSegments) -> list[NDArray[np.float32]]:
    """Returns what a perfect segmenter would put out: each object is a prototype of its own."""
    found = []
    for row, objects in enumerate(rows.objects):
        count = len(objects.classes)
        places = np.zeros((8, 4 + len(CLASSES) + PROTOTYPES), np.float32)
        corners = rows.placements[row].into_square(objects.boxes)
        places[:count, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        # A cell that the outline covers half of begins before it.
        places[:count, 2:4] = corners[:, 2:] - corners[:, :2] + 4
        places[np.arange(count), 4 + objects.classes] = 0.9
        places[:count, 4 + len(CLASSES) :] = np.eye(PROTOTYPES)[:count]
        prototypes = -np.ones((PROTOTYPES, CELLS, CELLS), np.float32)
        prototypes[:count][rows.truth(row)] = 1
        found.append(np.concatenate([places.ravel(), prototypes.ravel()]))
    return found


def kept(rows: EncodedSegments, outputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    gathered = Outputs(rows)
    for row, each in enumerate(outputs):
        gathered.put([row], each[None])
    return gathered.all


@pytest.mark.parametrize(
    ("side", "classes", "rows_at_once"),
    [(640, 1, 14), (640, 80, 9), (640, 10_000, 1), (64, 2, 1473)],
)
def test_masks_count_in_how_many_pictures_are_looked_at_at_once(
    rows: EncodedSegments, side: int, classes: int, rows_at_once: int
) -> None:
    labels = [str(number) for number in range(classes)]
    config = {"side": side, "padding": 114, "prototypes": 32, "mask_side": side // 4}
    found = EncodedSegments(rows.root, rows.items, labels, ObjectPreprocessor(config))
    assert found.rows_at_once() == rows_at_once


def test_outputs_are_reduced_to_a_bounded_number_of_objects_with_their_masks(
    rows: EncodedSegments,
) -> None:
    found = kept(rows, perfect(rows))
    assert found.shape == (len(rows), MOST, 6 + words_of(CELLS))
    assert found[..., 6:].min() >= 0
    assert found[..., 6:].max() <= 1


def test_perfect_masks_score_as_high_as_the_metric_goes(rows: EncodedSegments) -> None:
    found = scored(kept(rows, perfect(rows)), rows)
    assert list(found.metrics) == ["mask_map50_95", "mask_map50", "box_map50_95", "box_map50"]
    assert found.metrics["mask_map50_95"] == pytest.approx(0.995, abs=1e-3)
    assert found.metrics["box_map50"] == pytest.approx(0.995, abs=1e-3)
    assert found.metrics["box_map50_95"] < 0.995
    counts = np.array([[1] * len(rows), [0, 2, 1, 1, 1]])
    assert found.resampling("mask_map50").values(counts) == pytest.approx(0.995, abs=1e-3)


def test_right_boxes_with_wrong_masks_are_worth_something_as_boxes_alone(
    rows: EncodedSegments,
) -> None:
    outputs = perfect(rows)
    for each in outputs:
        each[-PROTOTYPES * CELLS**2 :] = -1
    metrics = scored(kept(rows, outputs), rows).metrics
    assert metrics["mask_map50"] == 0
    assert metrics["box_map50"] == pytest.approx(0.995, abs=1e-3)


def test_two_segmenters_agree_where_their_masks_do(rows: EncodedSegments) -> None:
    use, plan = use_case("segmentation"), Plan.model_construct()
    right = perfect(rows)
    empty = [each.copy() for each in right]
    for each in empty:
        each[-PROTOTYPES * CELLS**2 :] = -1
    one, other = kept(rows, right), kept(rows, empty)
    assert use.same_answers(one, one, rows, plan) == 1
    assert use.same_answers(one, other, rows, plan) == 0


@given(st.integers(0, 4), st.sampled_from([1, 5, 8, 16, 23]), st.integers(0, 2**31))
def test_masks_come_back_from_their_numbers(count: int, side: int, seed: int) -> None:
    cells = np.random.default_rng(seed).uniform(size=(count, side, side)) < 0.5
    np.testing.assert_array_equal(unpacked(packed(cells), side).reshape(count, side, side), cells)


MASKS = Masks(prototypes=1, side=16, square=64)


@pytest.mark.parametrize(
    ("points", "cells"),
    [
        ([(8, 8), (40, 8), (40, 24), (8, 24)], (slice(2, 6), slice(2, 10))),
        ([(0, 0), (64, 0), (64, 64), (0, 64)], (slice(0, 16), slice(0, 16))),
        ([(9, 9), (11, 9), (11, 11), (9, 11)], (slice(2, 3), slice(2, 3))),
        ([(62, 62), (64, 62), (64, 64)], (slice(15, 16), slice(15, 16))),
    ],
)
def test_a_polygon_is_drawn_where_it_lies(
    points: list[tuple[float, float]], cells: tuple[slice, slice]
) -> None:
    wanted = np.zeros((16, 16), bool)
    wanted[cells] = True
    np.testing.assert_array_equal(drawn_mask(np.array(points, float), MASKS), wanted)


def test_a_round_polygon_has_a_circles_area() -> None:
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = 320 + 200 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = drawn_mask(circle, Masks(prototypes=1, side=160, square=640))
    assert mask.sum() == pytest.approx(np.pi * 50**2, rel=0.01)


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    other = np.array([[0, 1, 1, 0]], bool)
    np.testing.assert_allclose(mask_overlaps(one, other), [[1 / 3], [0]])


def test_a_segmenter_puts_out_ultralytics_places_and_prototypes_in_a_row() -> None:
    model = tiny_detector(CLASSES, SEGMENTING)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (wanted, prototypes), _ = model.network(pictures)
        flat = model(pixel_values=pictures).logits.numpy()
    places, found = Masks(prototypes=8, side=32, square=64).apart(flat[1], len(CLASSES))
    np.testing.assert_array_equal(places, wanted[1].T)
    np.testing.assert_array_equal(found, prototypes[1].flatten(1))
