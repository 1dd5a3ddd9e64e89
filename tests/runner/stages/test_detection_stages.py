"""An experiment on objects through its three stages: a tiny YOLO, rectangles, real engines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file
from tests.runner.object_folders import CLASSES, scene, write_objects
from tests.runner.stages import stage_process
from tests.runner.stages.stage_process import stage
from tests.runner.tiny_detectors import write_detectors

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


RECIPE = """
training_modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 1.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.001}
pruning_modifiers:
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
distillation_modifiers:
"""
FOLLOWING = f"""{RECIPE}
  - !DistillationModifier {{hardness: 0.5, temperature: 2.0, distill_output_keys: [logits]}}
"""
HIDDEN = f"""{RECIPE}
  - !PerLayerDistillationModifier {{gain: 1.0, student_layer_names: ['re:.*']}}
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense detector, a foundation made from it, and pictures with objects."""
    root = tmp_path_factory.mktemp("sources")
    write_detectors(root, CLASSES)
    write_objects(root / "data", {"train": 40, "val": 4, "test": 8})
    return root


def environment(sources: Path, output: Path, **more: Any) -> dict[str, str]:
    spec = {
        "training": {"imageSize": 64, "epochs": 24, "batchSize": 8, "learningRate": 0.003},
        "runPolicy": {"checkpointIntervalSteps": 2},
        **more,
    }
    return stage_process.environment("boxes", "yolo", sources, output, **spec)


def stopped_at(where: dict[str, str], activity: str, step: int) -> None:
    """Trains up to a step, then asks the process to end."""
    with subprocess.Popen(
        [sys.executable, "-m", "sparse_transfer_runner", "train"],
        env=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            if record.get("activity") == activity and (record.get("step") or 0) >= step:
                process.send_signal(signal.SIGTERM)
                break
        process.stdout.read()
    assert process.returncode == ExitCode.STOPPED


def folder_of(output: Path, name: str) -> Path:
    (path,) = output.glob(f"*/*/{name}-*/manifest.json")
    return path.parent


@pytest.fixture(scope="module")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    where = environment(sources, output)
    for name in ("prepare", "train", "package"):
        code, result = stage(name, where)
        assert code == 0, result.message
    return output


def test_objects_are_found_by_a_sparse_int8_detector(finished: Path) -> None:
    package = folder_of(finished, "package")
    manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
    results = manifest.results
    assert results is not None
    assert results.metric.name == "map50_95"
    assert results.metric.samples == 8
    assert results.metric.value > 0.2
    assert results.sparsity == pytest.approx(0.5, abs=0.01)
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert "AGPL-3.0" in manifest.licences.values()
    files = json.loads((package / "evaluation.json").read_bytes())["files"]
    assert {file.get("largestDifference") for file in files} == {None}
    assert "square of 64 &times; 64 pixels" in (package / "report.html").read_text()


def test_masked_weights_stay_zero_in_the_average_that_ships(finished: Path) -> None:
    train = folder_of(finished, "train")
    weights = load_file(train / "model" / "model.safetensors")
    for name, mask in load_file(train / "masks.safetensors").items():
        assert not np.any(weights[name][mask == 0])


def test_the_deployed_program_needs_neither_torch_nor_ultralytics(
    finished: Path, tmp_path: Path
) -> None:
    deployment = folder_of(finished, "package") / "deployment"
    picture, objects = scene(2003)
    picture = picture.resize((320, 320)).crop((0, 0, 320, 300))
    picture.save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, deployment / "predict.py", "--confidence", "0.05",
         tmp_path / "a.png"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["picture"].endswith("a.png")
    assert len(objects) and answer["objects"]
    best = answer["objects"][0]
    assert best["label"] in CLASSES
    left, top, right, bottom = best["box"]
    assert 0 <= left < right <= 320
    assert 0 <= top < bottom <= 300


def test_the_file_with_nms_takes_any_batch(finished: Path) -> None:
    file = folder_of(finished, "package") / "deployment" / "model-with-nms.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixel_values": np.zeros((3, 3, 64, 64), np.float32)})
    assert found.shape[1] == 7


@pytest.mark.parametrize("step", [3, 12])
def test_a_stopped_run_goes_on_to_the_same_weights(
    sources: Path, tmp_path: Path, step: int
) -> None:
    """Step 3 is within an epoch, before quantization; step 12 within the quantized part."""
    short = {"training": {"imageSize": 64, "epochs": 3, "batchSize": 8}}
    digests = []
    for name in ("whole", "stopped"):
        output = tmp_path / name
        output.mkdir()
        where = environment(sources, output, **short)
        assert stage("prepare", where)[0] == 0
        if name == "stopped":
            stopped_at(where, "transfer", step)
        code, result = stage("train", where)
        assert code == 0, result.message
        digests.append(result.digests)
    assert digests[0] == digests[1]


def test_a_dense_int8_level_and_the_dense_level_work(sources: Path, tmp_path: Path) -> None:
    short = {
        "training": {"imageSize": 64, "epochs": 1, "batchSize": 8},
        "model": {"uri": (sources / "dense").as_uri()},
        "export": {"targets": ["onnxruntime"]},
    }
    for level in (0.0, 0.1):
        where = environment(sources, tmp_path, optimLevel=level, **short)
        for name in ("prepare", "train", "package"):
            code, result = stage(name, where)
            assert code == 0, result.message


def test_the_dense_baseline_is_followed_where_the_recipe_says_so(
    sources: Path, tmp_path: Path
) -> None:
    learned = []
    for recipe in (RECIPE.replace("distillation_modifiers:", ""), FOLLOWING):
        training = {"imageSize": 64, "batchSize": 8}
        where = environment(sources, tmp_path, recipe={"inline": recipe}, training=training)
        for name in ("prepare", "train"):
            code, result = stage(name, where)
            assert code == 0, result.message
        learned.append(result.digests["weights"])
    assert learned[0] != learned[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"training": {"imageSize": 65}}, "multiple of 8"),
        (
            {"recipe": {"inline": HIDDEN}, "training": {"imageSize": 64}},
            "follows a teacher's answers alone",
        ),
        ({"evaluation": {"metric": "accuracy"}}, "expected map50_95, map50"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_prepare(
    sources: Path, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    code, result = stage("prepare", environment(sources, tmp_path, **more))
    assert code == ExitCode.INPUT
    assert message in result.message
