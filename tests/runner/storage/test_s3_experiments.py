"""Whole experiments with data, model and output in a store: failing, refusing, or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.kills.forked_runner import run_stage
from tests.runner.storage.reaching import reaching
from tests.runner.tiny_sources import write_sources
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import PASSING, Rule
from tests.servers.http_messages import Request
from tests.servers.s3_server import READ, WRITE, Bucket, Keys, S3Server

from sparse_transfer_api.contract import CHECKS_FOLDER, ENV_CACHE, ExitCode, Stage
from sparse_transfer_api.records import Manifest, StageResult
from sparse_transfer_runner.output import StageFolder
from sparse_transfer_runner.storage import place_for

_SECONDS = 300

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Experiment:
    """An experiment whose sources are in a bucket, as its results are.

    Args:
        bucket: Holds ``data`` and ``foundation``.
        folder: Of this machine, for what the runner leaves there.
        keys: The credentials it runs with.
        endpoint: How it reaches the store.
        spec: Takes the place of what stands in the spec otherwise.
    """

    bucket: Bucket
    folder: Path
    keys: Keys
    endpoint: str
    spec: dict[str, Any] = field(default_factory=dict)

    def run(self, stage: Stage) -> StageResult:
        """Runs a stage to its end; returns what it says of itself."""
        uri = self.bucket.uri
        spec = {
            "useCase": "sentiment",
            "data": {"uri": f"{uri}/data/"},
            "model": {"uri": f"{uri}/foundation"},
            "output": {"uri": f"{uri}/runs/"},
            "training": {"batchSize": 8, "seed": 1, "precision": "Fp32"},
            "storage": {"s3": {"endpoint": self.endpoint, "pathStyle": True}},
            "export": {"targets": ["onnxruntime"]},
            "benchmark": {"batchSizes": [1], "threads": 1},
            "runPolicy": {"checkpointIntervalSteps": 5},
            **self.spec,
        }
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "tiny"},
            "spec": spec,
        }
        environment = {
            **self.bucket.server.environment(self.keys),
            "OMP_NUM_THREADS": "1",
            ENV_CACHE: str(self.folder / "cache"),
        }
        end = run_stage(stage, json.dumps(document), self.folder, environment, _SECONDS)
        assert end.result is not None, (self.folder / f"{stage}.jsonl.log").read_text()
        assert end.result.exit_code == end.exit_code
        return end.result

    def finish(self) -> dict[str, Manifest]:
        """Runs all stages; returns their manifests, after fetching and checking every file."""
        for stage in Stage:
            result = self.run(stage)
            assert result.outcome == "Succeeded", result.message
        manifests = {}
        server = self.bucket.server
        with reaching(server.endpoint, server.environment(), self.folder / "checked"):
            root = place_for(f"{self.bucket.uri}/runs/default/tiny")
            folders = {file.path.split("/")[0] for file in root.files()} - {CHECKS_FOLDER}
            for name in folders:
                stage, key = name.rsplit("-", 1)
                manifests[stage] = StageFolder(root.below(name), stage, key).required()
        return manifests


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews, and a foundation."""
    return write_sources(tmp_path_factory.mktemp("sources"))


def uploaded(sources: Path, bucket: Bucket) -> Bucket:
    for name in ("data", "foundation"):
        for path in (sources / name).rglob("*"):
            if path.is_file():
                bucket.put(path.relative_to(sources).as_posix(), path.read_bytes())
    return bucket


@pytest.fixture
def experiment(
    sources: Path, s3: S3Server, bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> Iterator[Experiment]:
    """An experiment behind the proxy."""
    yield Experiment(uploaded(sources, bucket), tmp_path, s3.keys, proxy.endpoint)


@pytest.fixture(scope="module")
def undisturbed(
    sources: Path, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Manifest]:
    """The manifests of an experiment whose store never fails."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Experiment(uploaded(sources, s3.bucket()), folder, s3.keys, s3.endpoint).finish()


def test_an_experiment_finishes_behind_a_store_that_fails_a_fifth_of_all_calls(
    experiment: Experiment, proxy: FaultProxy, undisturbed: dict[str, Manifest]
) -> None:
    proxy.schedule.set(Rule(PASSING, share=0.2))

    manifests = experiment.finish()

    assert proxy.faulted() > 20
    assert manifests.keys() == undisturbed.keys()
    # Everything but what is measured is the same to the last bit.
    for stage in ("prepare", "train"):
        result, expected = manifests[stage].result, undisturbed[stage].result
        assert result is not None and expected is not None
        assert (result.digests, result.headline) == (expected.digests, expected.headline)
    for stage, manifest in manifests.items():
        names = {file.path for file in manifest.files}
        assert names == {file.path for file in undisturbed[stage].files}
    assert experiment.bucket.keys("runs/default/tiny/train-")
    assert not [key for key in experiment.bucket.keys("runs/") if "/checkpoints/" in key]


def test_a_finished_stage_is_recognized_through_a_failing_store(
    experiment: Experiment, proxy: FaultProxy
) -> None:
    first = experiment.run(Stage.PREPARE)
    proxy.schedule.set(Rule(PASSING, share=0.3))

    again = experiment.run(Stage.PREPARE)

    assert again == first.model_copy(update={"recorded": True})


@pytest.mark.parametrize(
    ("stage", "operation", "key", "kept", "right"),
    [
        (Stage.PREPARE, "GetObject", "foundation/", (*WRITE, "s3:ListBucket"), "s3:GetObject"),
        (Stage.PREPARE, "PutObject", "runs/", READ, "s3:PutObject"),
        (Stage.TRAIN, "PutObject", "/checkpoints/", READ, "s3:PutObject"),
        (Stage.PACKAGE, "PutObject", "/package-", READ, "s3:PutObject"),
        (Stage.PACKAGE, "ListObjectsV2", "", ("s3:GetObject", *WRITE), "s3:ListBucket"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rights_withdrawn_while_a_stage_runs_end_it_and_are_named_with_the_object(
    experiment: Experiment,
    s3: S3Server,
    proxy: FaultProxy,
    stage: Stage,
    operation: str,
    key: str,
    kept: tuple[str, ...],
    right: str,
) -> None:
    user = s3.user()
    bucket = experiment.bucket
    bucket.allow({user.access: (*READ, *WRITE)})
    experiment = replace(experiment, keys=user)
    for earlier in Stage:
        if earlier == stage:
            break
        assert experiment.run(earlier).outcome == "Succeeded"
    proxy.rewrite = before(operation, key, lambda: bucket.allow({user.access: kept}))

    result = experiment.run(stage)

    assert result.exit_code == ExitCode.ACCESS
    assert result.reason == "AccessDenied"
    assert f"the right {right} is missing" in result.message
    assert result.message.startswith(f"{bucket.uri}/")
    assert key.strip("/") in result.message
    # With the right given back, the stage is simply run again.
    proxy.rewrite = None
    bucket.allow({user.access: (*READ, *WRITE)})
    assert experiment.run(stage).outcome == "Succeeded"


def before(operation: str, key: str, act: Callable[[], None]) -> Callable[[Request], Request]:
    """Returns what does something once, right before the first such call reaches the server."""
    pending = [act]

    def rewrite(request: Request) -> Request:
        if pending and request.operation == operation and key in f"/{request.key}":
            pending.pop()()
        return request

    return rewrite


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"data": {"uri": "s3://no-such-bucket/data/"}}, "no such bucket"),
        ({"data": {"uri": "{bucket}/dota/"}}, "nothing is there ({bucket}/ holds data/"),
        ({"model": {"uri": "{bucket}/model"}}, "{bucket}/model: nothing is there"),
        ({"output": {"uri": "s3://no-such-bucket/runs"}}, "no such bucket"),
    ],
    ids=["bucket", "data", "model", "output"],
)
def test_what_is_not_in_the_store_ends_prepare_with_its_address(
    experiment: Experiment, spec: dict[str, Any], said: str
) -> None:
    text = json.dumps(spec).replace("{bucket}", experiment.bucket.uri)

    result = replace(experiment, spec=json.loads(text)).run(Stage.PREPARE)

    assert result.exit_code == ExitCode.ACCESS
    assert said.replace("{bucket}", experiment.bucket.uri) in result.message


def test_wrong_credentials_end_prepare(experiment: Experiment) -> None:
    result = replace(experiment, keys=Keys("nobody")).run(Stage.PREPARE)

    assert result.exit_code == ExitCode.ACCESS
    assert "does not know these credentials" in result.message
