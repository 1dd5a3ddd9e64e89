"""Every stage with the rights, places and variables that its Job gives it, and nothing more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.operator.jobs.container import Container, started
from tests.operator.jobs.manifests import experiment
from tests.runner.tiny_sources import write_sources

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import StageResult
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.jobs import build
from sparse_transfer_operator.settings import OperatorSettings

pytestmark = pytest.mark.slow

SOMEBODY = 1_000_650_000
"""A user as OpenShift chooses one: nobody knows it."""
_EARLIER = {Stage.PREPARE: None, Stage.TRAIN: Stage.PREPARE, Stage.PACKAGE: Stage.TRAIN}


@dataclass(frozen=True)
class Namespace:
    """Claims, and an experiment on them."""

    folder: Path
    claims: dict[str, Path]
    spec: dict[str, Any]

    @contextmanager
    def running(self, stage: Stage, earlier: StageResult | None = None) -> Iterator[Container]:
        """Starts the container of a stage that follows on another."""
        made = experiment(self.spec)
        key = stage_key(
            made.spec, stage, earlier and earlier.key, earlier.digests if earlier else {}
        )
        job = build(made, CreateJob(stage, key), OperatorSettings(), None)
        with started(job, self.folder, self.claims, SOMEBODY) as container:
            yield container

    def run(self, stage: Stage, earlier: StageResult | None = None) -> StageResult:
        """Runs a stage to its end, which has to be a good one; returns what the operator reads."""
        with self.running(stage, earlier) as container:
            code, logs = container.ended()
        assert code == 0, logs
        result = StageResult.from_termination_message(container.termination_log.read_bytes())
        assert (result.outcome, result.omitted) == ("Succeeded", [])
        return result


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def namespace(tmp_path: Path, sources: Path) -> Namespace:
    for path in (sources, *sources.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    spec = {
        "data": {"uri": "pvc://inputs/data"},
        "model": {"uri": "pvc://inputs/foundation"},
        # The foundation's record names its counterpart by the path that it was made at.
        "baseline": {"mode": "None"},
        "output": {"uri": "pvc://runs/x"},
        "training": {"batchSize": 8, "precision": "Fp32"},
        "benchmark": {"batchSizes": [1]},
        "template": {"podSecurityContext": {}},
    }
    return Namespace(tmp_path, {"inputs": sources, "runs": runs}, spec)


def test_all_stages_run_as_a_user_whom_nobody_knows_on_a_root_that_nobody_can_write_to(
    namespace: Namespace,
) -> None:
    prepared = namespace.run(Stage.PREPARE)
    assert prepared.resolved is not None
    packaged = namespace.run(Stage.PACKAGE, namespace.run(Stage.TRAIN, prepared))
    assert packaged.results is not None
    assert {artifact.name for artifact in packaged.artifacts} > {"deployment", "report"}
    made = list(namespace.claims["runs"].rglob("manifest.json"))
    assert {path.stat().st_uid for path in made} == {SOMEBODY}


def test_a_pod_that_is_asked_to_stop_leaves_a_checkpoint(namespace: Namespace) -> None:
    namespace.spec["training"]["epochs"] = 200
    prepared = namespace.run(Stage.PREPARE)
    with namespace.running(Stage.TRAIN, prepared) as container:
        assert container.process.stdout is not None
        records = (json.loads(line) for line in container.process.stdout)
        assert any(each.get("activity") == "transfer" and each["step"] > 5 for each in records)
        container.terminate()
        code, logs = container.ended()
    assert code == ExitCode.STOPPED, logs
    result = StageResult.from_termination_message(container.termination_log.read_bytes())
    assert (result.stage, result.outcome) == (Stage.TRAIN, "Stopped")
    assert list(namespace.claims["runs"].rglob("checkpoints/*"))


def test_a_pod_that_is_asked_to_stop_as_it_starts_does_so_at_once(namespace: Namespace) -> None:
    with namespace.running(Stage.PREPARE) as container:
        container.wait_until_it_hears()
        container.terminate()
        code, logs = container.ended()
    assert code == ExitCode.STOPPED, logs
    result = StageResult.from_termination_message(container.termination_log.read_bytes())
    assert result.outcome == "Stopped"
    assert not list(namespace.claims["runs"].rglob("*")), "nothing was begun"


def test_signals_are_heard_before_anything_large_is_imported() -> None:
    check = (
        "import sys, sparse_transfer_runner.__main__\n"
        "assert not {'pydantic', 'torch', 'logging'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
