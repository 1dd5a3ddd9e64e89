"""Killed at any moment of any stage, an experiment ends with the right, complete result."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.kills.forked_runner import Records, StageRun, run_stage, steps_told
from tests.runner.tiny_sources import write_sources
from tests.servers.s3_server import Bucket

from sparse_transfer_api.contract import ENV_CACHE, Stage
from sparse_transfer_api.records import Manifest, StageResult

pytestmark = pytest.mark.slow

KILLS = 50
KILLS_BY_STAGE = {Stage.PREPARE: 1, Stage.TRAIN: 3, Stage.PACKAGE: 2}
MOST_EXPERIMENTS = 20
MOST_KILLS_OF_TRAINING = 5
CHECKPOINT_STEPS = 5
NOT_KILLED = 600.0
THREADS = {"OMP_NUM_THREADS": "1"}


@dataclass
class Experiment:
    """One experiment with a place of its own, and what its stages took when nobody killed them."""

    root: Path
    sources: Path
    output: str
    environment: dict[str, str] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> str:
        spec: dict[str, Any] = {
            "useCase": "sentiment",
            "data": {"uri": (self.sources / "data").as_uri()},
            "model": {"uri": (self.sources / "foundation").as_uri()},
            "output": {"uri": self.output},
            "training": {"batchSize": 8, "seed": 1, "precision": "Fp32"},
            "storage": self.storage,
            "export": {"targets": ["onnxruntime"]},
            "benchmark": {"batchSizes": [1], "threads": 1},
            "runPolicy": {"checkpointIntervalSteps": CHECKPOINT_STEPS},
        }
        return json.dumps(
            {
                "apiVersion": "sparsetransfer.dev/v1alpha1",
                "kind": "SparseTransferExperiment",
                "metadata": {"name": "tiny"},
                "spec": spec,
            }
        )

    def run(
        self,
        stage: Stage,
        kill_after: float = NOT_KILLED,
        kill_once: Callable[[Records], bool] | None = None,
    ) -> StageRun:
        environment = {**THREADS, **self.environment}
        return run_stage(stage, self.document, self.root, environment, kill_after, kill_once)

    def finish(self, stage: Stage) -> StageResult:
        """Runs a stage to its end."""
        end = self.run(stage)
        assert end.result is not None, (self.root / f"{stage}.jsonl.log").read_text()
        assert end.result.outcome == "Succeeded", end.result.message
        return end.result


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews, and a two-layer random encoder with a foundation made from it."""
    return write_sources(tmp_path_factory.mktemp("sources"))


@dataclass(frozen=True)
class Outcome:
    """What must not depend on kills: digests, files, learning curves, the baseline's score.

    Of several INT8 forms of like accuracy the fastest is shipped, so that the shipped file's digest
    may differ between runs that nobody killed.
    """

    digests: dict[str, dict[str, str]]
    files: dict[str, list[str]]
    curve: str
    baseline: float | None
    sparsity: float


def outcome(folder: Path) -> Outcome:
    """Reads what a finished experiment left, and checks every recorded file."""
    manifests = {}
    for path in folder.glob("*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        manifests[manifest.stage] = manifest
        recorded = {entry.path for entry in manifest.files}
        there = {
            file.relative_to(path.parent).as_posix()
            for file in path.parent.rglob("*")
            if file.is_file() and "attempts" not in file.parts
        }
        assert there == recorded | {"manifest.json"}, path
    assert set(manifests) == {"prepare", "teacher", "train", "package"}
    (train,) = folder.glob("train-*")
    results = manifests["package"].results
    assert results is not None
    return Outcome(
        digests={
            stage: dict(manifest.result.digests)
            for stage, manifest in manifests.items()
            if manifest.result is not None and stage != Stage.PACKAGE
        },
        files={
            stage: sorted(entry.path for entry in manifest.files)
            for stage, manifest in manifests.items()
        },
        curve=(train / "history.json").read_text(),
        baseline=results.metric.baseline,
        sparsity=results.sparsity,
    )


@pytest.fixture(scope="module")
def undisturbed(
    sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, dict[Stage, float]]:
    """The outcome when nobody kills anything, and the seconds of each stage."""
    root = tmp_path_factory.mktemp("undisturbed")
    experiment = on_disk(root, sources)
    experiment.run(Stage.PREPARE, 0.0)  # starts the server that the others are forked from
    seconds = {}
    for stage in Stage:
        started = time.monotonic()
        experiment.finish(stage)
        seconds[stage] = time.monotonic() - started
    return outcome(root / "runs" / "default" / "tiny"), seconds


def test_experiments_killed_at_random_end_like_an_undisturbed_one(
    undisturbed: tuple[Outcome, dict[Stage, float]],
    sources: Path,
    tmp_path: Path,
    bucket: Bucket,
) -> None:
    expected, seconds = undisturbed
    killed = 0
    for seed in range(MOST_EXPERIMENTS):
        if killed >= KILLS:
            return
        chance = random.Random(seed)
        root = tmp_path / str(seed)
        root.mkdir()
        # Every other one keeps its outputs far away.
        place = at_store(root, sources, bucket, seed) if seed % 2 else on_disk(root, sources)
        for stage in Stage:
            for _ in range(KILLS_BY_STAGE[stage]):
                end = place.run(stage, chance.uniform(0, seconds[stage]))
                killed += end.exit_code == -signal.SIGKILL
            place.finish(stage)
        if seed % 2:
            bring(bucket, f"runs-{seed}/", root / "runs")
        assert outcome(root / "runs" / "default" / "tiny") == expected, f"seed {seed}"
    raise AssertionError(f"only {killed} of {KILLS} kills came before the stage had ended")


def on_disk(root: Path, sources: Path) -> Experiment:
    return Experiment(root, sources, (root / "runs").as_uri())


def at_store(root: Path, sources: Path, bucket: Bucket, seed: int) -> Experiment:
    server = bucket.server
    return Experiment(
        root,
        sources,
        f"{bucket.uri}/runs-{seed}",
        {**server.environment(), ENV_CACHE: str(root / "cache")},
        {"s3": {"endpoint": server.endpoint, "pathStyle": True}},
    )


def bring(bucket: Bucket, prefix: str, target: Path) -> None:
    """Copies what lies in a bucket into a folder, and checks that no upload was left open."""
    assert bucket.unfinished_uploads() == []
    for key in bucket.keys(prefix):
        file = target / key.removeprefix(prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bucket.get(key))


def test_a_killed_training_loses_at_most_what_came_after_the_last_checkpoint(
    sources: Path, tmp_path: Path, undisturbed: tuple[Outcome, dict[Stage, float]]
) -> None:
    expected, _ = undisturbed
    experiment = on_disk(tmp_path, sources)
    experiment.finish(Stage.PREPARE)
    reached = 0

    def is_further(records: Records) -> bool:
        return any(step > reached + CHECKPOINT_STEPS for step in steps_told(records, "transfer"))

    for _ in range(MOST_KILLS_OF_TRAINING):
        end = experiment.run(Stage.TRAIN, kill_once=is_further)
        if end.exit_code != -signal.SIGKILL:
            break
        steps = end.steps("transfer")
        # One interval, and the one whose checkpoint was still being written.
        assert steps[0] >= reached - 2 * CHECKPOINT_STEPS
        reached = steps[-1]
    assert reached > 2 * CHECKPOINT_STEPS
    experiment.finish(Stage.TRAIN)
    experiment.finish(Stage.PACKAGE)
    assert outcome(tmp_path / "runs" / "default" / "tiny") == expected
