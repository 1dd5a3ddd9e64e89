"""Packaged cell nuclei as segmentation data: the same everywhere, and without a mistake."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sparse_transfer_cli.example_nuclei import NUCLEI, SIDE
from sparse_transfer_cli.verbs.examples import extract
from sparse_transfer_runner.detection.check import check_objects

if find_spec("stardist") is None:
    pytest.skip("pip install --no-deps stardist==0.9.2", allow_module_level=True)


def test_nuclei_become_yolo_folders_that_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        extract("nuclei", tmp_path / folder, file_format=None, rows=2, seed=0)
    files, again = (
        {
            path.relative_to(tmp_path / folder).as_posix(): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        for folder in ("first", "second")
    )
    assert files == again
    assert len(files) == 13
    assert not check_objects(tmp_path / "first", polygons=True).warnings


def test_no_tile_is_in_two_splits() -> None:
    splits = NUCLEI.splits(seed=0)
    tiles = [tile for chosen in splits.values() for tile in chosen]
    assert len(tiles) == len({tile.rank(0) for tile in tiles}) == 16
    assert {name: len(chosen) for name, chosen in splits.items()} == {
        "train": 11,
        "val": 2,
        "test": 3,
    }


def test_what_is_outlined_is_brighter_than_the_rest() -> None:
    within, without = [], []
    for tile in NUCLEI.tiles():
        drawn = Image.new("1", (SIDE, SIDE))
        for outline in tile.objects:
            ImageDraw.Draw(drawn).polygon(outline, fill=1)
        mask, values = np.asarray(drawn), np.asarray(tile.picture)[..., 0]
        within.append(values[mask])
        without.append(values[~mask])
    assert np.median(np.concatenate(within)) > 2 * np.median(np.concatenate(without))
