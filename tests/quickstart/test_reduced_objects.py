"""The examples on objects in pictures, on a real network and real pictures, few and small."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from sparse_transfer_api.records import Manifest
from sparse_transfer_runner.yolo.library import is_installed

if not is_installed():
    # Not asked by importing it: that changes other libraries for all tests of the process.
    pytest.skip("pip install 'sparse-transfer[yolo]'", allow_module_level=True)
for package in ("ABD_model", "deepforest", "stardist"):
    if find_spec(package) is None:
        pytest.skip("pip install --no-deps -r requirements/assets.txt", allow_module_level=True)
pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]
SIDE = 64


class Finished(NamedTuple):
    name: str
    package: Path
    manifest: Manifest


def command(*arguments: object) -> None:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["trees", "nuclei"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp(request.param)
    experiment = yaml.safe_load((EXAMPLES / request.param / "experiment.yaml").read_text())
    experiment["spec"]["training"] |= {"epochs": 1, "imageSize": SIDE}
    experiment["spec"]["benchmark"] = {"batchSizes": [1]}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    command("examples", "extract", request.param, "--output", root / "data", "--rows", 8)
    command(
        *("upstream", "--model", "package://ABD_model/ABD.pt", "--trust-pickle"),
        *("--data", root / "data" / "images" / "train", "--output", root / "foundation"),
        *("--sparsity", 0.8, "--method", "magnitude", "--image-size", SIDE),
        *("--calibration-rows", 2, "--batch-size", 2, "--recovery-steps", 1),
    )
    command("run", "-f", root / "experiment.yaml")
    (package,) = (root / "runs").glob("*/*/package-*")
    manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
    return Finished(request.param, package, manifest)


def test_real_weights_and_pictures_become_a_sparse_int8_model(finished: Finished) -> None:
    results = finished.manifest.results
    assert results is not None
    metrics = {"trees": "map50_95", "nuclei": "mask_map50_95"}
    assert results.metric.name == metrics[finished.name]
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.size_bytes < results.dense_size_bytes
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert "AGPL-3.0" in finished.manifest.licences.values()
    assert (finished.package / "report.html").is_file()


def test_the_deployed_folder_finds_objects_in_a_picture(finished: Finished) -> None:
    pictures = finished.package.parents[3] / "data" / "images" / "test"
    done = subprocess.run(
        # So little training leaves nothing that the model is sure of.
        [sys.executable, "predict.py", "--confidence", "0.00001", min(pictures.glob("*.png"))],
        cwd=finished.package / "deployment",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    objects = json.loads(done.stdout)["objects"]
    labels = {"trees": {"tree"}, "nuclei": {"nucleus"}}
    assert {each["label"] for each in objects} <= labels[finished.name]
    assert all(("mask" in each) is (finished.name == "nuclei") for each in objects)
