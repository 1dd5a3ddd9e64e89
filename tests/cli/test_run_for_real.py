"""``run`` with the real stages on a tiny model: stopped, resumed, reused, measured, reported."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_cli.__main__ import invoke

pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")

_EXPERIMENT = """
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata: {name: tiny}
spec:
  useCase: sentiment
  data: {uri: file://./data}
  model: {uri: file://./foundation}
  training: {batchSize: 8, epochs: 2}
  export: {targets: [onnxruntime]}
  benchmark: {batchSizes: [1], threads: 1}
  acceptance: {minSpeedup: 0.01}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, its data and a foundation made by ``upstream``."""
    from tests.runner.tiny_models import WORDS, write_tiny_encoder

    root = tmp_path_factory.mktemp("real")
    dense = write_tiny_encoder(root / "dense")
    (root / "experiment.yaml").write_text(_EXPERIMENT)
    choice = random.Random(0)
    fillers = WORDS[5:]
    (root / "data").mkdir()
    for split, count in (("train", 400), ("val", 40), ("test", 40)):
        rows = [
            f"{' '.join(choice.choices(fillers, k=6))} {word},{word}"
            for word in choice.choices(("good", "bad"), k=count)
        ]
        (root / "data" / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (root / "texts.txt").write_text(
        "\n".join(" ".join(choice.choices(fillers, k=8)) for _ in range(400))
    )
    arguments = [
        "--model", str(dense), "--data", str(root / "texts.txt"),
        "--output", str(root / "foundation"), "--sparsity", "0.5", "--calibration-rows", "16",
        "--recovery-steps", "0",
    ]  # fmt: skip
    assert invoke(["upstream", *arguments, "--progress", "bar"]) == 0
    return root


def start(place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sparse_transfer_cli", "run", "-f"]
    return subprocess.Popen(
        [*command, str(place / "experiment.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, [json.loads(line) for line in output.splitlines()], errors


def recorded(lines: list[dict[str, Any]]) -> dict[str, bool]:
    return {line["stage"]: line["recorded"] for line in lines if line["type"] == "result"}


@pytest.mark.slow
def test_a_run_is_stopped_resumed_reused_measured_and_reported(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(place)
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line).get("activity") == "transfer":
            break
    running.send_signal(signal.SIGINT)
    code, lines, errors = ended(running)
    assert code == ExitCode.STOPPED, errors
    assert "to go on: sparse-transfer run -f" in errors
    assert "Traceback" not in errors

    code, lines, errors = ended(start(place))
    assert code == ExitCode.DONE, errors
    assert recorded(lines) == {"prepare": True, "train": False, "package": False}
    outcome = lines[-1]
    assert outcome["type"] == "results"
    for path in outcome["paths"].values():
        assert Path(path).exists()
        assert path in errors

    # What is there is reused; what went missing is made again, and nothing else.
    runs = place / "runs" / "default" / "tiny"
    shutil.rmtree(next(runs.glob("prepare-*")))
    code, lines, errors = ended(start(place))
    assert code == ExitCode.DONE, errors
    assert recorded(lines) == {"prepare": False, "train": True, "package": True}
    assert lines[-1] == outcome

    monkeypatch.chdir(place)
    capsys.readouterr()
    assert invoke(["report", "runs"]) == 0
    assert "Learning curves" in (place / "tiny-report.html").read_text("utf-8")
    assert invoke(["benchmark", "runs", "--threads", "1"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [engine["name"] for engine in measured["engines"]] == ["onnxruntime"]
    assert invoke(["benchmark", "runs", "--engine", "openvino"]) == ExitCode.INPUT
    assert "it has onnxruntime" in capsys.readouterr().err
