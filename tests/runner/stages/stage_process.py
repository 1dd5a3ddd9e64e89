"""Runs a stage as the command line and pods do: as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import ENV_EXPERIMENT
from sparse_transfer_api.records import StageResult


def environment(
    name: str, use_case: str, sources: Path, output: Path, **spec: Any
) -> dict[str, str]:
    """Returns the environment of an experiment's stages.

    Args:
        name: The experiment's.
        use_case: Of the experiment.
        sources: A folder with ``data`` and ``foundation``.
        output: Where results go.
        spec: The rest of the spec; what is said here goes before.
    """
    document = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": name},
        "spec": {
            "useCase": use_case,
            "data": {"uri": (sources / "data").as_uri()},
            "model": {"uri": (sources / "foundation").as_uri()},
            "output": {"uri": output.as_uri()},
            "benchmark": {"batchSizes": [1]},
            **spec,
        },
    }
    return {**os.environ, "OMP_NUM_THREADS": "1", ENV_EXPERIMENT: json.dumps(document)}


def stage(name: str, where: dict[str, str]) -> tuple[int, StageResult]:
    """Runs a stage to its end; returns its exit code and what it said last."""
    done = subprocess.run(
        [sys.executable, "-m", "sparse_transfer_runner", name],
        env=where,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return done.returncode, StageResult.model_validate(json.loads(lines[-1]))
