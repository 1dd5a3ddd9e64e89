"""Packaged aerial pictures as detection data: the same everywhere, and without a mistake."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from sparse_transfer_cli.example_trees import TREES
from sparse_transfer_cli.verbs.examples import extract
from sparse_transfer_runner.detection.check import check_objects

if find_spec("deepforest") is None:
    pytest.skip("pip install --no-deps deepforest==2.1.0", allow_module_level=True)


def test_trees_become_yolo_folders_that_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        extract("trees", tmp_path / folder, file_format=None, rows=4, seed=0)
    files, again = (
        {
            path.relative_to(tmp_path / folder).as_posix(): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        for folder in ("first", "second")
    )
    assert files == again
    assert len(files) == 25
    assert not check_objects(tmp_path / "first").warnings


def test_no_tile_is_in_two_splits_and_no_tree_in_two_tiles() -> None:
    splits = TREES.splits(seed=0)
    tiles = [tile for chosen in splits.values() for tile in chosen]
    assert len(tiles) == len({tile.rank(0) for tile in tiles}) > 30
    assert 700 < sum(len(tile.objects) for tile in tiles) < 1000
