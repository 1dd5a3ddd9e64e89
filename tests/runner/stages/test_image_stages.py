"""An experiment on pictures through its three stages: a tiny network, two colours, real engines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.runner.image_folders import COLOURS, picture
from tests.runner.stages import stage_process
from tests.runner.stages.stage_process import stage
from tests.runner.tiny_pictures import write_picture_sources

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.records import Manifest, Plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense classifier, a foundation made from it, and pictures."""
    return write_picture_sources(tmp_path_factory.mktemp("sources"))


def environment(sources: Path, output: Path, **more: Any) -> dict[str, str]:
    spec = {
        "training": {"imageSize": 32, "epochs": 6, "batchSize": 16, "learningRate": 0.003},
        "runPolicy": {"checkpointIntervalSteps": 2},
        **more,
    }
    return stage_process.environment("colours", "cv-classification", sources, output, **spec)


def killed_at(where: dict[str, str], output: Path, activity: str, step: int) -> str:
    """Trains up to a step of which a checkpoint tells, kills the process, and returns its log."""
    folder = "teacher" if activity == "baseline" else "train"
    log = output / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "sparse_transfer_runner", "train"],
            env=where,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            reached = record.get("activity") == activity and (record.get("step") or 0) >= step
            if reached and list(output.glob(f"*/*/{folder}-*/checkpoints/step-*.json")):
                process.kill()
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL, log.read_text()
    return log.read_text()


def manifest_of(output: Path, folder: str) -> tuple[Path, Manifest]:
    (path,) = output.glob(f"*/*/{folder}-*/manifest.json")
    return path.parent, Manifest.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    where = environment(sources, output)
    for name in ("prepare", "train", "package"):
        code, result = stage(name, where)
        assert code == 0, result.message
    return output


def test_pictures_become_a_sparse_int8_classifier(finished: Path) -> None:
    package, manifest = manifest_of(finished, "package")
    results = manifest.results
    assert results is not None
    assert results.metric.name == "accuracy"
    assert results.metric.samples == 48
    assert results.metric.value > 0.9
    assert results.sparsity == pytest.approx(0.5, abs=0.01)
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert {engine.sequence for engine in results.engines} == {None}
    assert "32 &times; 32 pixels" in (package / "report.html").read_text()


def test_the_transforms_are_in_the_plan_and_beside_every_model(finished: Path) -> None:
    prepare, _ = manifest_of(finished, "prepare")
    plan = Plan.model_validate_json((prepare / "plan.json").read_bytes())
    assert plan.preprocessing is not None
    for folder, inner in (("teacher", "model"), ("train", "model"), ("package", "deployment")):
        place, _ = manifest_of(finished, folder)
        saved = json.loads((place / inner / "preprocessor_config.json").read_text())
        assert saved == plan.preprocessing


@pytest.mark.parametrize("program", ["predict.py", "predict_openvino.py"])
def test_the_deployed_folder_classifies_pictures_of_any_kind(
    program: str, finished: Path, tmp_path: Path
) -> None:
    package, _ = manifest_of(finished, "package")
    deployment = shutil.copytree(package / "deployment", tmp_path / "deployment")
    wanted = []
    for number, (label, suffix) in enumerate(
        [("red", "png"), ("blue", "jpg"), ("red", "webp"), ("blue", "tiff"), ("red", "bmp")]
    ):
        drawn = picture(label, 9000 + number, size=(90 + number, 50))
        drawn.convert("CMYK" if suffix == "tiff" else "RGB").save(tmp_path / f"{number}.{suffix}")
        wanted.append((label, tmp_path / f"{number}.{suffix}"))
    done = subprocess.run(
        [sys.executable, program, *(str(path) for _, path in wanted)],
        cwd=deployment,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(each)) for each in scores] == [label for label, _ in wanted]
    for each in scores:
        assert sum(each.values()) == pytest.approx(1, abs=1e-3)


def test_a_file_that_is_no_picture_is_named_by_the_program(finished: Path, tmp_path: Path) -> None:
    package, _ = manifest_of(finished, "package")
    (tmp_path / "notes.txt").write_text("no pixels")
    done = subprocess.run(
        [sys.executable, "predict.py", str(tmp_path / "notes.txt")],
        cwd=package / "deployment",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "notes.txt: no picture that Pillow can read" in done.stderr


def test_killed_in_training_it_ends_with_the_same_weights(
    sources: Path, finished: Path, tmp_path: Path
) -> None:
    where = environment(sources, tmp_path)
    assert stage("prepare", where)[0] == 0
    killed_at(where, tmp_path, "baseline", 5)
    assert "baseline goes on at step" in killed_at(where, tmp_path, "transfer", 5)
    # Of 36 steps the last quarter quantizes.
    assert "transfer goes on at step" in killed_at(where, tmp_path, "transfer", 28)
    assert stage("train", where)[0] == 0
    for folder in ("teacher", "train"):
        (_, undisturbed), (_, resumed) = (
            manifest_of(output, folder) for output in (finished, tmp_path)
        )
        assert {file.path: file.sha256 for file in undisturbed.files} == {
            file.path: file.sha256 for file in resumed.files
        }


def test_wrong_pictures_end_prepare_with_exit_code_10(sources: Path, tmp_path: Path) -> None:
    data = shutil.copytree(sources / "data", tmp_path / "data")
    Image.new("RGB", (1, 1)).save(data / "val" / "red" / "dot.png")
    where = environment(sources, tmp_path / "runs", data={"uri": data.as_uri()})
    code, result = stage("prepare", where)
    assert code == ExitCode.INPUT
    assert "dot.png: 1 x 1 pixels; expected at least 2" in result.message


def test_a_dense_classifier_is_refused_before_training(sources: Path, tmp_path: Path) -> None:
    where = environment(sources, tmp_path, model={"uri": (sources / "dense").as_uri()})
    code, result = stage("prepare", where)
    assert code == ExitCode.INPUT
    assert "is not sparse" in result.message


def test_data_that_changed_after_prepare_is_noticed(sources: Path, tmp_path: Path) -> None:
    data = shutil.copytree(sources / "data", tmp_path / "data")
    where = environment(sources, tmp_path / "runs", data={"uri": data.as_uri()})
    assert stage("prepare", where)[0] == 0
    picture("red", 77).save(data / "train" / "red" / "0.png")
    code, result = stage("train", where)
    assert code == ExitCode.INPUT
    assert "the train split has other content" in result.message


def test_a_picture_that_cannot_be_decoded_ends_training_with_its_path(
    sources: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for split, count in (("train", 1100), ("val", 8)):
        for label in COLOURS:
            folder = data / split / label
            folder.mkdir(parents=True)
            picture(label, len(split), (8, 8)).save(folder / "0000.png")
            for number in range(1, count):
                (folder / f"{number:04}.png").hardlink_to(folder / "0000.png")
    # The check decodes every third of them.
    damaged = data / "train" / "blue" / "0001.png"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[: len(content) // 2])
    where = environment(
        sources,
        tmp_path / "runs",
        data={"uri": data.as_uri()},
        training={"imageSize": 32, "epochs": 1, "batchSize": 256},
    )
    assert stage("prepare", where)[0] == ExitCode.DONE
    code, result = stage("train", where)
    assert code == ExitCode.INPUT
    assert result.message.startswith(f"{damaged}: damaged or cut short")
    assert "replace or remove it" in result.message
