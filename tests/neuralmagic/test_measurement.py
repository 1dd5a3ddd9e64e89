"""The program that measures DeepSparse, on a foundation of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("deepsparse", reason="make test-neuralmagic")

from benchmarks.deepsparse.run import main, speedups


def test_every_file_takes_part_on_every_engine(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--tokens 8 --seconds 0.1 --repeats 2 --threads 1"
    assert main(["--foundation", str(sources / "foundation"), *options.split()]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["settings"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    (point,) = written["results"].values()
    files = [f"{model} {form}" for model in ("sparse", "dense") for form in ("fp32", "INT8")]
    assert set(point["medianMs"]) == {
        f"{engine}: {file}" for engine in ("onnxruntime", "deepsparse") for file in files
    }
    assert "deepsparse: sparse INT8 against dense INT8" in point["speedups"]
    assert not point["failed"]


def test_a_speedup_divides_what_was_measured_together() -> None:
    medians = {
        ("onnxruntime", "dense INT8"): [4.0, 8.0],
        ("onnxruntime", "sparse INT8"): [2.0, 8.0],
        ("deepsparse", "sparse INT8"): [1.0, 2.0],
    }
    assert dict(speedups(medians)) == {
        "onnxruntime: sparse INT8 against dense INT8": {"median": 1.5, "least": 1.0, "most": 2.0},
        "deepsparse's sparse INT8 against the fastest file on onnxruntime": {
            "median": 3.0,
            "least": 2.0,
            "most": 4.0,
        },
    }
