"""What a step of training sees: a function of seed, epoch and place, from the data as it lies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.runner.object_folders import CLASSES, write_objects

from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.detection.layout import find_layout
from sparse_transfer_runner.use_cases.object_inputs import EncodedObjects, ObjectPreprocessor
from sparse_transfer_runner.use_cases.segment_inputs import EncodedSegments
from sparse_transfer_runner.yolo.dataset import Batches, ObjectDataset


@pytest.fixture
def rows(tmp_path: Path) -> EncodedObjects:
    data = write_objects(tmp_path, {"train": 7, "val": 1})
    (data / "labels" / "train" / "0.txt").unlink()
    items = find_layout(data, Findings()).splits["train"].items
    return EncodedObjects(data, items, CLASSES, ObjectPreprocessor({"side": 64, "padding": 114}))


def batches(rows: EncodedObjects, task: str = "detect", **more: Any) -> Batches:
    from ultralytics.utils import DEFAULT_CFG

    hyperparameters = SimpleNamespace(**{**vars(DEFAULT_CFG), **more})
    return Batches(ObjectDataset(rows, hyperparameters, task), batch_size=3, seed=5)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in ("img", "cls", "bboxes"))


def test_every_row_is_seen_once_an_epoch(rows: EncodedObjects) -> None:
    made = batches(rows)
    seen = sorted(file for batch in made for file in batch["im_file"])
    assert seen == sorted(str(rows.root / item.picture) for item in rows.items)
    assert len(made) == 3


def test_a_resumed_epoch_goes_on_where_it_was_left(rows: EncodedObjects) -> None:
    whole = batches(rows)
    first, second = list(whole), list(whole)
    assert not same(first[0], second[0])
    later = batches(rows)
    later.epoch, later.skip = 1, 2
    assert same(next(iter(later)), second[2])
    assert same(next(iter(later)), next(islice(iter(whole), 1)))


def test_nothing_is_written_beside_the_data(rows: EncodedObjects) -> None:
    before = sorted(rows.root.rglob("*"))
    list(batches(rows))
    assert sorted(rows.root.rglob("*")) == before


def test_without_augmentation_pictures_and_boxes_are_as_they_lie(rows: EncodedObjects) -> None:
    from sparse_transfer_runner.yolo.trainer import NO_AUGMENTATION

    (batch, *_) = batches(rows, **NO_AUGMENTATION)
    place = [str(rows.root / item.picture) for item in rows.items].index(batch["im_file"][0])
    wanted = rows.objects[place]
    mine = batch["batch_idx"] == 0
    assert batch["bboxes"][mine].numpy() == pytest.approx(wanted.boxes, abs=1e-3)
    assert batch["cls"][mine].flatten().tolist() == wanted.classes.tolist()
    pixels = rows.collate([place])["pixel_values"][0] * 255
    assert batch["img"][0].numpy() == pytest.approx(pixels, abs=1)


def test_masks_are_those_of_the_polygons_as_they_are_scored(tmp_path: Path) -> None:
    from sparse_transfer_runner.yolo.trainer import NO_AUGMENTATION

    data = write_objects(tmp_path, {"train": 4, "val": 1}, labels="annotations", polygons=True)
    items = find_layout(data, Findings(), polygons=True).splits["train"].items
    config = {"side": 64, "padding": 114, "prototypes": 1, "mask_side": 16}
    rows = EncodedSegments(data, items, CLASSES, ObjectPreprocessor(config))
    made = batches(rows, task="segment", **NO_AUGMENTATION)
    seen = 0
    for batch in made:
        for number, file in enumerate(batch["im_file"]):
            row = [str(rows.root / item.picture) for item in rows.items].index(file)
            wanted, found = rows.truth(row).any(axis=0), batch["masks"][number].numpy() > 0
            # At edges the two round in their own ways.
            assert (wanted & found).sum() >= 0.8 * (wanted | found).sum()
            seen += 1
    assert seen == 4
