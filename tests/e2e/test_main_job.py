"""One YAML, applied with kubectl, becomes a measured sparse INT8 model in a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from tests.e2e.platform import Platform

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.records import Manifest

pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.slow]
NAME = "film-reviews"


@pytest.fixture(scope="module")
def succeeded(platform: Platform, team: str) -> dict[str, Any]:
    """The status of an experiment that ran to its end, waited for as users do."""
    document = platform.experiment(NAME, team)
    platform.cluster.kubectl(
        "apply", f"--namespace={team}", "-f", "-", stdin=yaml.safe_dump(document)
    )
    platform.wait_for_phase(NAME, team, "Succeeded")
    platform.cluster.kubectl(
        "wait", f"--namespace={team}", "--for=condition=Complete", f"ste/{NAME}", "--timeout=10s"
    )
    return platform.status(NAME, team)


def manifest_of(platform: Platform, status: dict[str, Any]) -> Manifest:
    (package,) = [stage for stage in status["stages"] if stage["name"] == "package"]
    key = package["manifestUri"].removeprefix(f"{platform.bucket.uri}/")
    assert key.endswith(MANIFEST)
    return Manifest.model_validate_json(platform.bucket.get(key))


def test_the_status_says_what_the_bucket_holds(
    platform: Platform, succeeded: dict[str, Any]
) -> None:
    manifest = manifest_of(platform, succeeded)
    assert manifest.results is not None
    assert succeeded["results"] == manifest.results.to_json_dict()
    assert succeeded["artifacts"] == [each.to_json_dict() for each in manifest.artifacts]
    assert succeeded["results"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert succeeded["resolved"]["useCase"] == "nlp-sentiment_analysis"
    assert succeeded["resolved"]["band"] == "MediumSparseInt8"


def test_every_artifact_is_in_the_bucket_with_its_size(
    platform: Platform, succeeded: dict[str, Any]
) -> None:
    for artifact in succeeded["artifacts"]:
        prefix = artifact["uri"].removeprefix(f"{platform.bucket.uri}/")
        sizes = [len(platform.bucket.get(key)) for key in platform.bucket.keys(prefix)]
        assert sizes, artifact["uri"]
        if "sizeBytes" in artifact:
            assert sum(sizes) == artifact["sizeBytes"], artifact["uri"]


def test_the_results_verify(platform: Platform, succeeded: dict[str, Any]) -> None:
    del succeeded
    server = platform.bucket.server
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sparse_transfer_cli",
            "results",
            "verify",
            f"{platform.bucket.uri}/runs/",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**server.environment(), "PATH": "/usr/bin:/bin", "AWS_ENDPOINT_URL": server.endpoint},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubectl_get_tells_the_story(
    platform: Platform, team: str, succeeded: dict[str, Any]
) -> None:
    said = platform.cluster.kubectl("get", "ste", NAME, f"--namespace={team}").stdout
    header, row = said.splitlines()[:2]
    columns = ["NAME", "USE CASE", "LEVEL", "PHASE", "PROGRESS", "SPARSITY", "RECOVERY", "SPEEDUP"]
    assert [name for name in columns if name not in header] == []
    assert "Succeeded" in row
    assert str(succeeded["results"]["sparsity"]) in row
    assert str(succeeded["results"]["headline"]["speedup"]) in row


def test_events_tell_each_transition(
    platform: Platform, team: str, succeeded: dict[str, Any]
) -> None:
    del succeeded
    selector = f"involvedObject.name={NAME}"
    events = platform.cluster.get("events", f"--namespace={team}", f"--field-selector={selector}")
    jobs = [each for each in events["items"] if "Job" in each["message"] or each["reason"]]
    assert {each["type"] for each in jobs} == {"Normal"}, [each["message"] for each in jobs]
    assert len(events["items"]) >= 4


def test_prometheus_has_the_same_figures(
    platform: Platform, team: str, succeeded: dict[str, Any]
) -> None:
    results = succeeded["results"]
    wanted = {
        "sparsity": results["sparsity"],
        "speedup": results["headline"]["speedup"],
        "accuracy_recovery": results.get("recovery"),
    }
    for name, value in wanted.items():
        series = f'sparse_transfer_experiment_{name}_ratio{{exported_namespace="{team}"}}'

        def figures(series: str = series) -> list[float]:
            either = f"{series} or {series.replace('exported_namespace', 'namespace')}"
            return [float(found["value"][1]) for found in platform.query(either)]

        if value is None:
            assert figures() == []
        else:
            platform.wait_until(lambda v=value: figures() == [v], series)  # type: ignore[misc]


def test_progress_was_posted_by_the_pods(platform: Platform, succeeded: dict[str, Any]) -> None:
    del succeeded
    posted = platform.query("sum(sparse_transfer_progress_posts_total)")
    assert posted
    assert float(posted[0]["value"][1]) > 0


def test_an_edit_runs_what_it_changes_and_nothing_else(
    platform: Platform, team: str, succeeded: dict[str, Any]
) -> None:
    before = {stage["name"]: stage for stage in succeeded["stages"]}
    patch = json.dumps({"spec": {"export": {"targets": ["onnxruntime"]}}})
    platform.cluster.kubectl(
        "patch", "ste", NAME, f"--namespace={team}", "--type=merge", f"--patch={patch}"
    )

    def again() -> bool:
        stages = {each["name"]: each for each in platform.status(NAME, team)["stages"]}
        return stages["package"]["key"] != before["package"]["key"]

    platform.wait_until(again, "package to run again")
    status = platform.wait_for_phase(NAME, team, "Succeeded")
    after = {stage["name"]: stage for stage in status["stages"]}
    for stage in ("prepare", "train"):
        assert after[stage] == before[stage]
    assert {engine["name"] for engine in status["results"]["engines"]} == {"onnxruntime"}
    assert len(status["history"]) == 1
