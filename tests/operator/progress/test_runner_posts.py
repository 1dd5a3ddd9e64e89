"""The runner's side and the endpoint's together, over TLS; the runner as a process in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.operator.progress.api_server import ApiServer
from tests.operator.progress.endpoints import EXPERIMENT, KEY, POD, Endpoint
from tests.servers.processes import free_port, wait_until

from sparse_transfer_api.contract import (
    ENV_EXPERIMENT,
    ENV_PROGRESS_CA,
    ENV_PROGRESS_TOKEN,
    ENV_PROGRESS_URL,
    ENV_TERMINATION_LOG,
    Stage,
)
from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_api.spec.experiment import Metadata
from sparse_transfer_operator.progress import PodOwner
from sparse_transfer_runner.progress_post import Pace, posting

QUICK = Pace(interval=0.1, shortest=0.1, longest=0.3, silence=3, closing=3)
METADATA = Metadata(name=EXPERIMENT.name, namespace=EXPERIMENT.namespace)
REPORT = Progress(stage=Stage.TRAIN, activity="transfer", step=3, total_steps=10, percentage=30)


def environment(endpoint: Endpoint, token: Path) -> dict[str, str]:
    return {
        ENV_PROGRESS_URL: endpoint.url,
        ENV_PROGRESS_CA: endpoint.ca_pem,
        ENV_PROGRESS_TOKEN: str(token),
    }


def steps(endpoint: Endpoint) -> list[int | None]:
    return [progress.step for _, progress in endpoint.taken if progress is not None]


def test_a_report_arrives(endpoint: Endpoint, api: ApiServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(api.pod_token("good", endpoint.url, POD) + "\n")
    with posting(environment(endpoint, token), METADATA, QUICK) as post:
        post(REPORT)
    assert steps(endpoint) == [3]


def test_a_token_that_was_renewed_is_read_again(
    endpoint: Endpoint, api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text("expired")
    api.pod_token("renewed", endpoint.url, POD)
    with posting(environment(endpoint, token), METADATA, QUICK) as post:
        post(REPORT)
        wait_until(lambda: "401" in caplog.text, "a refusal")
        token.write_text("renewed")
        wait_until(lambda: steps(endpoint) == [3], "the report")


def test_a_standby_is_passed_by(
    endpoint: Endpoint, api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(api.pod_token("good", endpoint.url, POD))
    endpoint.leads = False
    with posting(environment(endpoint, token), METADATA, QUICK) as post:
        post(REPORT)
        wait_until(lambda: "does not lead" in caplog.text, "a refusal")
        endpoint.leads = True
        wait_until(lambda: steps(endpoint) == [3], "the report")


def run_prepare(folder: Path, sources: Path, **variables: str) -> StageResult:
    """Runs a stage as a Job's container does, and returns its result."""
    document: dict[str, Any] = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": EXPERIMENT.name, "namespace": EXPERIMENT.namespace},
        "spec": {
            "useCase": "sentiment",
            "data": {"uri": (sources / "data").as_uri()},
            "model": {"uri": (sources / "foundation").as_uri()},
            "output": {"uri": (folder / "runs").as_uri()},
            "training": {"batchSize": 8, "seed": 1, "precision": "Fp32"},
        },
    }
    log = folder / "termination-log"
    done = subprocess.run(
        [sys.executable, "-m", "sparse_transfer_runner", "prepare"],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            ENV_EXPERIMENT: json.dumps(document),
            ENV_TERMINATION_LOG: str(log),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    return StageResult.model_validate_json(log.read_bytes())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense encoder, a foundation made from it, and reviews."""
    pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")
    from tests.runner.tiny_sources import write_sources

    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.slow
def test_a_stage_shows_its_progress_to_the_end(
    endpoint: Endpoint, api: ApiServer, tmp_path: Path, sources: Path
) -> None:
    endpoint.owners[POD] = PodOwner(EXPERIMENT, Stage.PREPARE, KEY)
    token = tmp_path / "token"
    token.write_text(api.pod_token("good", endpoint.url, POD))
    result = run_prepare(tmp_path, sources, **environment(endpoint, token))
    assert result.outcome == "Succeeded"
    reported = [progress for _, progress in endpoint.taken if progress is not None]
    assert {each.stage for each in reported} == {Stage.PREPARE}
    assert reported[-1].percentage == 100


@pytest.mark.slow
def test_a_stage_without_an_answer_succeeds_all_the_same(
    endpoint: Endpoint, tmp_path: Path, sources: Path
) -> None:
    variables = environment(endpoint, tmp_path / "no-token")
    nobody = {**variables, ENV_PROGRESS_URL: f"https://localhost:{free_port()}"}
    assert run_prepare(tmp_path, sources, **nobody).outcome == "Succeeded"
    assert (tmp_path / "stderr").read_text().count("progress could not be posted") == 1
