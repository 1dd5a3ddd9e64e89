"""What a segmenter's outputs are worth on the user's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.runner.object_folders import CLASSES, write_objects
from tests.runner.tiny_detectors import SEGMENTING, tiny_detector

from sparse_transfer_api.records import Plan
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.detection.average_precision import THRESHOLDS, Picture, Precision
from sparse_transfer_runner.detection.layout import Item, find_layout
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


def one_object(folder: Path, size: tuple[int, int], line: str) -> EncodedSegments:
    """Returns a picture of a size with one object."""
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "labels" / "train").mkdir(parents=True)
    Image.new("RGB", size).save(folder / "images" / "train" / "0.png")
    (folder / "labels" / "train" / "0.txt").write_text(line)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    item = Item("images/train/0.png", "labels/train/0.txt")
    return EncodedSegments(folder, [item], CLASSES, ObjectPreprocessor(CONFIG))


@pytest.mark.parametrize("size", [(96, 40), (40, 96), (300, 7), (96, 96), (33, 31)])
def test_what_is_outlined_beside_the_picture_is_left_out(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    rows = one_object(tmp_path, size, "0 0 0 1 0 1 1 0 1\n")
    (output,) = perfect(rows)
    places = output[: -PROTOTYPES * CELLS**2].reshape(8, -1)
    places[0, :4] = (SIDE / 2, SIDE / 2, SIDE, SIDE)
    output[-PROTOTYPES * CELLS**2 :] = 1
    metrics = scored(kept(rows, [output]), rows).metrics
    assert metrics["mask_map50"] == pytest.approx(0.995, abs=1e-3)
    place = rows.placements[0]
    share = place.width * place.height * place.scale**2 / SIDE**2
    assert rows.inside(0).mean() == pytest.approx(share, abs=0.05)


def naive_precision(
    truth: list[list[tuple[int, NDArray[Any]]]],
    found: list[list[tuple[float, int, NDArray[Any]]]],
    threshold: float,
) -> float:
    """Returns the average precision of masks as one would write it down from its definition."""
    areas = []
    for label in {label for objects in truth for label, _ in objects}:
        total = sum(each == label for objects in truth for each, _ in objects)
        guesses = sorted(
            (-score, row, mask)
            for row, masks in enumerate(found)
            for score, each, mask in [(s, c, m.tobytes()) for s, c, m in masks]
            if each == label
        )
        taken: set[tuple[int, int]] = set()
        right, precision, recall = 0, [], []
        for number, (_, row, content) in enumerate(guesses, start=1):
            mask = np.frombuffer(content, bool)
            overlap, place = max(
                (
                    ((mask & each).sum() / (mask | each).sum(), -place)
                    for place, (other, each) in enumerate(truth[row])
                    if other == label
                ),
                default=(0.0, 1),
            )
            if overlap >= threshold and (row, place) not in taken:
                taken.add((row, place))
                right += 1
            precision.append(right / number)
            recall.append(right / total)
        curve = []
        for wanted in np.linspace(0, 1, 101):
            points = [(0.0, 1.0), *zip(recall, precision, strict=True)]
            points += [(recall[-1] if recall else 0.0, 0.0), (1.0, 0.0)]
            envelope = [max(p for _, p in points[place:]) for place in range(len(points))]
            curve.append(np.interp(wanted, [r for r, _ in points], envelope))
        areas.append(np.trapezoid(curve, dx=0.01))
    return float(np.mean(areas))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_precision_of_masks_is_that_of_its_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    side = 6
    truth, found, pictures = [], [], []
    for _ in range(4):
        objects = [
            (int(random.integers(2)), random.uniform(size=side**2) < 0.4)
            for _ in range(random.integers(0, 4))
        ]
        guesses = [
            (float(random.uniform(0.01, 1)), label, mask ^ (random.uniform(size=side**2) < noise))
            for label, mask in objects
            for noise in random.uniform(0, 0.3, random.integers(0, 3))
        ]
        guesses.sort(key=lambda each: -each[0])
        truth.append([(label, mask | (np.arange(side**2) == 0)) for label, mask in objects])
        found.append([(s, c, mask | (np.arange(side**2) == 0)) for s, c, mask in guesses])
        one, other = (
            np.array([each[-1] for each in masks], bool).reshape(-1, side**2)
            for masks in (truth[-1], found[-1])
        )
        pictures.append(
            Picture(
                np.array([each[0] for each in found[-1]]),
                np.array([each[1] for each in found[-1]], int),
                np.array([each[0] for each in truth[-1]], int),
                mask_overlaps(one, unpacked(packed(other.reshape(-1, side, side)), side)),
            )
        )
    assume(any(truth))
    expected = [naive_precision(truth, found, float(threshold)) for threshold in THRESHOLDS]
    assert Precision(pictures).value() == pytest.approx(np.mean(expected), abs=1e-9)
    assert Precision(pictures, thresholds=1).value() == pytest.approx(expected[0], abs=1e-9)


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


def covered(points: NDArray[Any], side: int, ratio: int) -> NDArray[np.float64]:
    """Returns how much of each cell a polygon covers, by whether many places in it are inside."""
    fine = 8 * ratio
    steps = (np.arange(side * fine) + 0.5) / (fine / ratio)
    x, y = np.meshgrid(steps, steps)
    inside = np.zeros_like(x, bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1 if y2 != y1 else 1) + x1)
    return inside.reshape(side, fine, side, fine).mean(axis=(1, 3))


COORDINATES = st.integers(-8, 520).map(lambda eighths: min(64.0, max(0.0, eighths / 8)))


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=7, unique=True))
@settings(max_examples=60, deadline=None)
def test_the_cells_of_a_polygon_are_those_that_it_covers_half_of(
    points: list[tuple[float, float]],
) -> None:
    outline = np.array(points)
    share = covered(outline, MASKS.side, MASKS.square // MASKS.side)
    found = drawn_mask(outline, MASKS)
    assert found.any()
    assert found[share > 0.9].all()
    assert share.max() < 0.5 or not found[share == 0].any()


def test_parts_that_a_seam_joins_are_all_drawn_and_the_seam_is_not() -> None:
    """Converters from COCO join the parts of one object by a line there and back."""
    one = [(4, 4), (20, 4), (20, 20), (4, 20), (4, 4)]
    other = [(40, 40), (60, 40), (60, 60), (40, 60), (40, 40)]
    wanted = np.zeros((16, 16), bool)
    wanted[1:5, 1:5] = wanted[10:15, 10:15] = True
    found = drawn_mask(np.array([*one, *other], float), MASKS)
    np.testing.assert_array_equal(found, wanted)


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
