"""A search with the real stages, on tiny models of a small catalogue of its own."""

from __future__ import annotations

import json
import os
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
  training: {batchSize: 8, epochs: 1}
  export: {targets: [onnxruntime]}
  benchmark: {batchSizes: [1], threads: 1}
  search: {levels: [0.9, 1], objective: Smallest}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, its data, and a catalogue of two sizes of one dense parent."""
    from tests.runner.tiny_models import write_tiny_encoder
    from tests.runner.tiny_sources import write_reviews, write_sentences

    root = tmp_path_factory.mktemp("search")
    write_reviews(root / "data")
    write_sentences(root / "sentences.txt")
    write_tiny_encoder(root / "dense")
    for name, sparsity, size in (("large", "0.5", "largest"), ("small", "0.8", "smallest")):
        arguments = [
            "--model", str(root / "dense"), "--data", str(root / "sentences.txt"),
            "--output", str(root / name), "--sparsity", sparsity, "--calibration-rows", "16",
            "--recovery-steps", "0", "--catalog", str(root / "catalog.yaml"), "--size", size,
        ]  # fmt: skip
        assert invoke(["upstream", *arguments, "--progress", "bar"]) == 0
    (root / "experiment.yaml").write_text(_EXPERIMENT)
    return root


def run(place: Path) -> tuple[int, list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "sparse_transfer_cli", "run", "-f", "experiment.yaml"]
    done = subprocess.run(
        [*command, "--catalog", "catalog.yaml", "--progress", "json"],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(place / ".cache")},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def made(lines: list[dict[str, Any]]) -> list[str]:
    """Returns the stages that really ran."""
    return [line["stage"] for line in lines if line["type"] == "result" and not line["recorded"]]


@pytest.mark.slow
def test_levels_share_what_they_can_and_the_best_is_kept(place: Path) -> None:
    code, lines, errors = run(place)
    assert code == ExitCode.DONE, errors
    (search,) = (line for line in lines if line["type"] == "search")
    levels = {each["level"]: each for each in search["levels"]}
    # Both come to the smallest model.
    assert [each["outcome"] for each in levels.values()] == ["Succeeded", "Skipped"]
    assert made(lines) == ["prepare", "prepare", "train", "package"]
    assert search["selected"] == 0.9
    runs = place / "runs" / "default" / "tiny"

    (place / "experiment.yaml").write_text(_EXPERIMENT.replace("[0.9, 1]", "[0.9, 0]"))
    code, lines, errors = run(place)
    assert code == ExitCode.DONE, errors
    # At level 0 the baseline is the product. Of the largest model it is the one that is there.
    assert made(lines) == ["prepare", "train", "package"]
    assert len(list(runs.glob("teacher-*"))) == 1
    assert len(list(runs.glob("checks/data-*"))) == 1
    (search,) = (line for line in lines if line["type"] == "search")
    small, dense = (each["results"] for each in search["levels"])
    assert (dense["recovery"], dense["headline"]["speedup"]) == (1, 1)
    assert small["sizeBytes"] < dense["sizeBytes"]
    assert search["selected"] == 0.9
    page = (runs / "search" / "report.html").read_text("utf-8")
    for level in search["levels"]:
        assert level["latencyMs"] > 0
        folder = level["stages"][-1]["manifestUri"].split("/")[-2]
        assert f'href="../{folder}/report.html"' in page
        assert (runs / folder / "report.html").is_file()

    assert invoke(["results", "verify", str(runs)]) == ExitCode.DONE
