"""An experiment on outlined objects through its three stages: a tiny YOLO, real engines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.runner.object_folders import CLASSES, scene, write_objects
from tests.runner.stages import stage_process
from tests.runner.stages.stage_process import stage
from tests.runner.tiny_detectors import SEGMENTING, write_detectors

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.records import Manifest

pytestmark = pytest.mark.slow

NO_TORCH = """
import sys, runpy
class Refused:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "ultralytics", "cv2", "sparse_transfer_runner"):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
sys.path.insert(0, str(__import__("pathlib").Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment(sources: Path, output: Path) -> dict[str, str]:
    training = {"imageSize": 64, "epochs": 24, "batchSize": 8, "learningRate": 0.003}
    return stage_process.environment(
        "outlines", "instance segmentation", sources, output, training=training
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense segmenter, a foundation made from it, and pictures with outlined objects."""
    root = tmp_path_factory.mktemp("sources")
    write_detectors(root, CLASSES, architecture=SEGMENTING)
    counts = {"train": 40, "val": 4, "test": 8}
    write_objects(root / "data", counts, labels="annotations", polygons=True)
    return root


@pytest.fixture(scope="module")
def package(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    where = environment(sources, output)
    for name in ("prepare", "train", "package"):
        code, result = stage(name, where)
        assert code == 0, result.message
    (path,) = output.glob("*/*/package-*/manifest.json")
    return path.parent


def test_objects_are_outlined_by_a_sparse_int8_segmenter(package: Path) -> None:
    manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
    results = manifest.results
    assert results is not None
    assert results.metric.name == "mask_map50_95"
    assert results.metric.samples == 8
    assert results.metric.value > 0.2
    assert results.sparsity == pytest.approx(0.5, abs=0.01)
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert "AGPL-3.0" in manifest.licences.values()


def test_the_deployed_programs_need_neither_torch_nor_ultralytics(
    package: Path, tmp_path: Path
) -> None:
    picture, drawn = scene(2003)
    picture.resize((320, 320)).crop((0, 0, 320, 300)).save(tmp_path / "a.png")
    for program in ("predict.py", "predict_openvino.py"):
        done = subprocess.run(
            [sys.executable, "-c", NO_TORCH, package / "deployment" / program,
             "--confidence", "0.05", tmp_path / "a.png"],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        objects = json.loads(done.stdout)["objects"]
        for each in objects:
            left, top, right, bottom = each["box"]
            assert 0 <= left <= right <= 320
            assert 0 <= top <= bottom <= 300
        for label, box in drawn:
            wanted = rectangle(box, side=320)[:300]
            found = [mask_of(each) for each in objects if each["label"] == CLASSES[label]]
            assert max((wanted & mask).sum() / (wanted | mask).sum() for mask in found) > 0.5


def rectangle(box: list[float], side: int) -> NDArray[np.bool_]:
    """Returns the pixels of a box by its centre, 0 to 1."""
    x, y, width, height = (round(value * side) for value in box)
    mask = np.zeros((side, side), bool)
    mask[y - height // 2 : y + height // 2, x - width // 2 : x + width // 2] = True
    return mask


def mask_of(found: dict[str, Any]) -> NDArray[np.bool_]:
    """Returns the mask that a program's answer holds, as COCO's tools would read it."""
    counts, size = found["mask"]["counts"], found["mask"]["size"]
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def test_the_file_with_nms_takes_any_batch_and_puts_out_masks(package: Path) -> None:
    file = package / "deployment" / "model-with-nms.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found, masks = session.run(None, {"pixel_values": np.zeros((3, 3, 64, 64), np.float32)})
    assert found.shape[1] == 7
    assert masks.shape == (len(found), 32, 32)
    assert masks.dtype == bool


def damaged(sources: Path, target: Path, text: str) -> Path:
    write_objects(target / "data", {"train": 3, "val": 2}, polygons=True)
    (target / "data" / "labels" / "train" / "1.txt").write_text(text)
    (target / "foundation").symlink_to(sources / "foundation")
    return target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.1 0.1 0.4 0.4 0.1 0.4\n0 0.1 0.1 0.4 0.4\n", "a polygon of 2 points, or a box"),
        ("0 0.1 0.1 1.4 0.4 0.1 0.4\n", "1.4; expected shares"),
    ],
)
def test_wrong_polygons_are_refused_in_prepare(
    sources: Path, tmp_path: Path, text: str, message: str
) -> None:
    code, result = stage("prepare", environment(damaged(sources, tmp_path, text), tmp_path))
    assert code == ExitCode.INPUT
    assert message in result.message
