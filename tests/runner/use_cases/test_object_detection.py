"""What a detector's outputs are worth on the user's pictures."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runner.object_folders import CLASSES, write_objects

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.detection.layout import find_layout
from sparse_transfer_runner.use_cases.object_inputs import (
    MOST,
    EncodedObjects,
    ObjectPreprocessor,
)
from sparse_transfer_runner.use_cases.object_scores import same_answers, scored
from sparse_transfer_runner.use_cases.outputs import Outputs

SIDE = 96


@pytest.fixture
def rows(tmp_path: Path) -> EncodedObjects:
    """Five pictures, one of them a background, one turned by its camera."""
    data = write_objects(tmp_path, {"train": 5, "val": 1})
    (data / "labels" / "train" / "0.txt").unlink()
    turned = data / "images" / "train" / "1.png"
    picture = Image.open(turned).resize((80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(turned, exif=exif)
    items = find_layout(data, Findings()).splits["train"].items
    return EncodedObjects(data, items, CLASSES, ObjectPreprocessor({"side": SIDE, "padding": 114}))


def perfect(rows: EncodedObjects) -> NDArray[np.float32]:
    """Returns what a perfect detector would put out: ``[rows, places, 4 + classes]``."""
    found = np.zeros((len(rows), 8, 4 + len(CLASSES)), np.float32)
    for row, objects in enumerate(rows.objects):
        corners = rows.placements[row].into_square(objects.boxes)
        found[row, : len(corners), :2] = (corners[:, :2] + corners[:, 2:]) / 2
        found[row, : len(corners), 2:4] = corners[:, 2:] - corners[:, :2]
        found[row, np.arange(len(corners)), 4 + objects.classes] = 0.9
    return found


def kept(rows: EncodedObjects, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    gathered = Outputs(rows)
    for row, each in enumerate(outputs):
        gathered.put([row], each[None])
    return gathered.all


def test_sizes_are_those_of_the_pictures_as_they_are_read(rows: EncodedObjects) -> None:
    sizes = [rows.picture(row).size for row in range(len(rows))]
    assert sizes[1] == (40, 80)
    assert [(place.width, place.height) for place in rows.placements] == sizes
    assert rows.collate([0, 1])["pixel_values"].shape == (2, 3, SIDE, SIDE)


def test_a_picture_that_was_damaged_since_is_told_with_its_path(rows: EncodedObjects) -> None:
    path = rows.root / rows.items[2].picture
    path.write_bytes(path.read_bytes()[:-200])
    assert len(rows.placements) == len(rows)
    with pytest.raises(InputError, match=f"{path}: damaged or cut short"):
        rows.collate([1, 2])
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{path}: no picture"):
        EncodedObjects(rows.root, rows.items, CLASSES, rows.preprocessor).placements  # noqa: B018


def test_outputs_are_reduced_to_a_bounded_number_of_boxes(rows: EncodedObjects) -> None:
    assert kept(rows, perfect(rows)).shape == (len(rows), MOST, 6)


@pytest.mark.parametrize(
    ("side", "classes", "rows_at_once"),
    [(640, 1, 16), (640, 80, 16), (640, 1_000, 1), (640, 10_000, 1), (1280, 80, 4), (64, 2, 1600)],
)
def test_the_more_a_picture_and_its_outputs_take_the_fewer_are_looked_at_at_once(
    rows: EncodedObjects, side: int, classes: int, rows_at_once: int
) -> None:
    labels = [str(number) for number in range(classes)]
    preprocessor = ObjectPreprocessor({"side": side, "padding": 114})
    found = EncodedObjects(rows.root, rows.items, labels, preprocessor)
    assert found.rows_at_once() == rows_at_once


def test_perfect_boxes_score_as_high_as_the_metric_goes(rows: EncodedObjects) -> None:
    found = scored(kept(rows, perfect(rows)), rows)
    assert found.metrics["map50_95"] == pytest.approx(0.995, abs=1e-3)
    assert found.metrics["map50"] == pytest.approx(0.995, abs=1e-3)
    assert found.samples == len(rows)
    counts = np.array([[1] * len(rows), [0, 2, 1, 1, 1]])
    assert found.resampling("map50").values(counts) == pytest.approx(0.995, abs=1e-3)


def test_no_boxes_score_nothing(rows: EncodedObjects) -> None:
    found = scored(kept(rows, np.zeros_like(perfect(rows))), rows)
    assert set(found.metrics.values()) == {0.0}


def test_boxes_of_the_wrong_class_score_nothing(rows: EncodedObjects) -> None:
    wrong = perfect(rows)
    wrong[..., 4:] = wrong[..., :3:-1]
    assert scored(kept(rows, wrong), rows).metrics["map50"] == 0


def test_two_detectors_agree_where_both_find_the_same(rows: EncodedObjects) -> None:
    right = kept(rows, perfect(rows))
    nothing = np.zeros_like(right)
    assert same_answers(right, right) == 1
    assert same_answers(nothing, nothing) == 1
    assert same_answers(right, nothing) == 0


def test_targets_hold_every_object(rows: EncodedObjects) -> None:
    targets = rows.targets
    assert (targets[..., 0] >= 0).sum() == sum(len(each.classes) for each in rows.objects)
    assert (targets[0, :, 0] == -1).all()


def test_threads_that_read_pictures_end_with_what_they_read_for(rows: EncodedObjects) -> None:
    before = set(threading.enumerate())
    again = replace(rows)
    again.collate(range(len(again)))
    (started, *more) = set(threading.enumerate()) - before
    del again
    for thread in (started, *more):
        thread.join(timeout=20)
        assert not thread.is_alive()
