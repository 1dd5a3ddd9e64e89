"""The runner as a process: exit codes, records, idempotence, stopping and resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.runner.tiny_sources import write_sources

from sparse_transfer_api.contract import (
    ENV_EXPERIMENT,
    ENV_STAGE_KEY,
    ENV_TERMINATION_LOG,
    ExitCode,
)
from sparse_transfer_api.records import Manifest, StageResult

RUNNER = [sys.executable, "-m", "sparse_transfer_runner"]


@dataclass
class Place:
    """An experiment on disk, and a way to run its stages."""

    root: Path
    spec: dict[str, Any] = field(default_factory=dict)

    def environment(self, **extra: str) -> dict[str, str]:
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "tiny"},
            "spec": self.spec,
        }
        return {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            ENV_EXPERIMENT: json.dumps(document),
            ENV_TERMINATION_LOG: str(self.root / "termination-log"),
            **extra,
        }

    def run(self, stage: str, *options: str, **extra: str) -> tuple[int, StageResult]:
        done = subprocess.run(
            [*RUNNER, stage, *options],
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        assert [line["type"] for line in lines[:-1]] == ["progress"] * (len(lines) - 1)
        assert lines[-1]["type"] == "result"
        result = StageResult.model_validate(lines[-1])
        logged = (self.root / "termination-log").read_bytes()
        assert StageResult.from_termination_message(logged) == result
        assert done.returncode == result.exit_code
        return done.returncode, result

    def folder(self, stage: str) -> Path:
        (folder,) = (self.root / "runs" / "default" / "tiny").glob(f"{stage}-*")
        return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense encoder, a foundation made from it, and reviews."""
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def place(tmp_path: Path, sources: Path) -> Place:
    return Place(
        tmp_path,
        {
            "useCase": "sentiment",
            "data": {"uri": (sources / "data").as_uri()},
            "model": {"uri": (sources / "foundation").as_uri()},
            "output": {"uri": (tmp_path / "runs").as_uri()},
            "training": {"batchSize": 8, "seed": 1, "precision": "Fp32"},
        },
    )


@contextmanager
def started(place: Place, stage: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*RUNNER, stage],
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process


def wait_for(process: subprocess.Popen[str], happened: Callable[[dict[str, Any]], bool]) -> None:
    """Reads the process's records until one of them tells of what is waited for."""
    assert process.stdout is not None
    assert any(happened(json.loads(line)) for line in process.stdout), "ended too early"


def test_prepare_and_train_succeed_and_are_not_run_again(place: Place) -> None:
    code, prepared = place.run("prepare")
    assert (code, prepared.outcome) == (0, "Succeeded")
    assert prepared.resolved is not None
    assert prepared.resolved.recipe == "the default recipe"
    code, trained = place.run("train")
    assert (code, trained.outcome) == (0, "Succeeded")
    assert trained.headline["accuracy"] is not None
    train = place.folder("train")
    files = {
        entry.path
        for entry in Manifest.model_validate_json((train / "manifest.json").read_bytes()).files
    }
    assert {"masks.safetensors", "quantization.json", "model/model.safetensors"} <= files
    assert not list(train.glob("checkpoints/*"))
    before = {path: path.stat().st_mtime_ns for path in train.rglob("*")}
    code, again = place.run("train", "--recorded-only")
    assert again == trained.model_copy(update={"recorded": True})
    assert {path: path.stat().st_mtime_ns for path in train.rglob("*")} == before

    shutil.rmtree(place.folder("teacher"))
    code, _ = place.run("train", "--recorded-only")
    assert code == ExitCode.VANISHED
    code, again = place.run("train")
    assert (code, again.recorded) == (0, True)
    assert (place.folder("teacher") / "manifest.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in train.rglob("*")} == before


def test_train_stopped_by_a_signal_goes_on_where_it_stopped(place: Place) -> None:
    place.spec["training"]["epochs"] = 40  # long enough for a signal to arrive in the middle
    place.run("prepare")
    with started(place, "train") as process:
        wait_for(process, lambda line: line.get("activity") == "transfer" and line["step"] > 5)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout]
    assert process.returncode == ExitCode.STOPPED
    assert lines[-1]["outcome"] == "Stopped"
    assert list((place.folder("train") / "checkpoints").glob("step-*.pt"))
    code, result = place.run("train")
    assert (code, result.outcome) == (0, "Succeeded")
    history = json.loads((place.folder("train") / "history.json").read_text())
    steps = [point["step"] for point in history]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40 * 120 // 8


def test_train_killed_at_once_loses_nothing_that_was_finished(place: Place) -> None:
    place.run("prepare")
    with started(place, "train") as process:
        wait_for(process, lambda line: line.get("activity") == "transfer")
        process.kill()
    teacher = place.folder("teacher")
    finished = (teacher / "manifest.json").stat().st_mtime_ns
    code, _ = place.run("train")
    assert code == 0
    assert (teacher / "manifest.json").stat().st_mtime_ns == finished


def test_an_earlier_stage_that_has_vanished_is_told_apart(place: Place) -> None:
    code, result = place.run("train")
    assert (code, result.reason) == (ExitCode.VANISHED, "OutputVanished")
    code, result = place.run("prepare", "--recorded-only")
    assert code == ExitCode.VANISHED


def test_a_recorded_result_that_does_not_verify_is_not_touched(place: Place) -> None:
    place.run("prepare")
    plan = place.folder("prepare") / "plan.json"
    plan.write_text(plan.read_text().replace("positive", "glorious"))
    code, result = place.run("prepare")
    assert code == ExitCode.INPUT
    assert "move the folder away" in result.message
    assert "glorious" in plan.read_text()


def test_a_key_that_differs_from_the_operators_is_refused(place: Place) -> None:
    code, result = place.run("prepare", **{ENV_STAGE_KEY: "aaaaaaaaaa"})
    assert code == ExitCode.VANISHED
    assert "aaaaaaaaaa" in result.message


def test_a_dense_override_is_refused_before_training(place: Place, sources: Path) -> None:
    place.spec["model"]["uri"] = (sources / "dense").as_uri()
    code, result = place.run("prepare")
    assert code == ExitCode.INPUT
    assert "upstream" in result.message
    assert not list(place.root.rglob("plan.json"))


def test_an_output_place_that_cannot_be_written_to_is_an_access_error(place: Place) -> None:
    (place.root / "file").write_text("in the way")
    place.spec["output"]["uri"] = (place.root / "file" / "runs").as_uri()
    code, result = place.run("prepare")
    assert code == ExitCode.ACCESS
    assert "output.uri" in result.message


@pytest.mark.parametrize(
    ("stage", "experiment", "code"),
    [("prepare", "{", ExitCode.INPUT), ("prepare", '{"kind": "Pod"}', ExitCode.INPUT)],
)
def test_an_unreadable_experiment_is_an_input_error(
    place: Place, stage: str, experiment: str, code: int
) -> None:
    got, result = place.run(stage, **{ENV_EXPERIMENT: experiment})
    assert got == code
    assert ENV_EXPERIMENT in result.message


def test_an_unknown_stage_is_wrong_usage() -> None:
    done = subprocess.run([*RUNNER, "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert "prepare" in done.stderr
