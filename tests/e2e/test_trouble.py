"""What goes wrong on clusters, played on a real node, and what the status says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.node import NODE
from tests.cluster.objects import evict
from tests.e2e.platform import NAMESPACE, RELEASE, Platform

pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.slow]


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found = [each for each in status.get("conditions", ()) if each["type"] == kind]
    return dict(found[0]) if found else {}


def everything_said(status: dict[str, Any]) -> str:
    return json.dumps(status.get("conditions", ()))


def waiting_says(platform: Platform, name: str, team: str, word: str) -> dict[str, Any]:
    """Waits until a pending experiment says a word; it is never said to run."""
    seen: dict[str, Any] = {}

    def said() -> bool:
        seen.clear()
        seen.update(platform.status(name, team))
        assert seen.get("phase") in (None, "Pending"), seen.get("phase")
        return word in everything_said(seen)

    platform.wait_until(said, f"{name} to say {word}", 120)
    return seen


def remove(platform: Platform, name: str, team: str) -> None:
    platform.cluster.kubectl("delete", "ste", name, f"--namespace={team}", "--timeout=60s")
    platform.wait_until(
        lambda: platform.pods(name, team) == [], f"the pods of {name} to be gone", 180
    )


def test_a_pod_without_enough_memory_fails_as_out_of_memory(platform: Platform, team: str) -> None:
    small = {"limits": {"memory": "48Mi"}, "requests": {"cpu": "100m", "memory": "48Mi"}}
    document = platform.experiment(
        "too-small",
        team,
        stages={"prepare": {"resources": small}},
        runPolicy={"backoffLimit": 0},
    )
    platform.cluster.apply(document, namespace=team)
    status = platform.wait_for_phase("too-small", team, "Failed")
    assert condition(status, "Failed")["reason"] == "OutOfMemory"
    assert "memory" in condition(status, "Failed")["message"]
    assert condition(status, "Stalled")["status"] == "True"
    remove(platform, "too-small", team)


def test_a_wrong_image_is_pending_until_it_is_corrected(platform: Platform, team: str) -> None:
    document = platform.experiment("no-image", team, image="localhost/no-such-image:1")
    platform.cluster.apply(document, namespace=team)
    status = waiting_says(platform, "no-image", team, "localhost/no-such-image:1")
    assert condition(status, "Ready").get("reason") != "Running"
    remove(platform, "no-image", team)


def test_a_missing_secret_is_pending_and_named(platform: Platform, team: str) -> None:
    document = platform.experiment(
        "no-secret", team, credentials={"secretRef": {"name": "no-such-secret"}}
    )
    platform.cluster.apply(document, namespace=team)
    waiting_says(platform, "no-secret", team, "no-such-secret")
    # Nothing has to be edited: the pod starts once the Secret is there.
    platform.give_access(team, "no-such-secret")
    platform.wait_for_phase("no-secret", team, "Preparing", "Training")
    remove(platform, "no-secret", team)


def test_a_wrong_key_fails_at_once_and_says_so(platform: Platform, team: str) -> None:
    platform.give_access(team, "wrong-key", AWS_SECRET_ACCESS_KEY="not-the-key")
    document = platform.experiment(
        "wrong-key", team, credentials={"secretRef": {"name": "wrong-key"}}
    )
    platform.cluster.apply(document, namespace=team)
    status = platform.wait_for_phase("wrong-key", team, "Failed")
    assert condition(status, "Failed")["reason"] == "AccessDenied"
    assert "credentials" in condition(status, "Failed")["message"]
    (prepare,) = [stage for stage in status["stages"] if stage["name"] == "prepare"]
    assert prepare["attempt"] == 1
    remove(platform, "wrong-key", team)


def test_evicted_deleted_and_drained_it_ends_as_if_nothing_had_happened(
    platform: Platform, team: str
) -> None:
    """The train stage loses its pod in three ways; checkpoints carry it to the same result."""
    name = "disturbed"
    # Another folder: the same key would be the same result, and nothing would be run.
    document = platform.experiment(
        name, team, training={"epochs": 2.0, "maxSequenceLength": 48, "seed": 0}
    )
    platform.cluster.apply(document, namespace=team)
    platform.wait_for_phase(name, team, "Training")

    evict(platform.cluster, team, _running(platform, name, team, 0))
    second = _running(platform, name, team, 1)
    platform.wait_until(
        lambda: _train(platform, name, team).get("disruptions", 0) >= 1, "the disruption", 120
    )
    platform.cluster.kubectl("delete", "pod", second, f"--namespace={team}", "--wait=false")
    _running(platform, name, team, 2)
    try:
        platform.cluster.kubectl(
            *("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force"),
            *("--timeout=100s", f"--pod-selector=app.kubernetes.io/instance!={RELEASE}"),
        )
        platform.wait_until(
            lambda: (
                platform.status(name, team)["phase"] == "Pending"
                and "Unschedulable" in everything_said(platform.status(name, team))
            ),
            "the drained node to be said",
        )
    finally:
        platform.cluster.kubectl("uncordon", NODE)
    status = platform.wait_for_phase(name, team, "Succeeded")

    train = _stage(status, "train")
    assert train["disruptions"] >= 2
    assert status["results"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    remove(platform, name, team)


def test_a_restarted_operator_goes_on(platform: Platform, team: str) -> None:
    name = "restarted"
    document = platform.experiment(name, team)
    document["spec"]["training"]["seed"] = 1
    platform.cluster.apply(document, namespace=team)
    platform.wait_for_phase(name, team, "Preparing", "Training")
    platform.cluster.kubectl(
        *("delete", "pod", f"--namespace={NAMESPACE}", "--wait=false"),
        f"--selector=app.kubernetes.io/instance={RELEASE}",
    )
    status = platform.wait_for_phase(name, team, "Succeeded")
    assert [stage["outcome"] for stage in status["stages"]] == ["Succeeded"] * 3
    jobs = platform.cluster.get(
        "jobs", f"--namespace={team}", f"--selector=sparsetransfer.dev/experiment={name}"
    )
    assert len(jobs["items"]) == 3
    remove(platform, name, team)


def _stage(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next((dict(each) for each in status.get("stages", ()) if each["name"] == name), {})


def _train(platform: Platform, name: str, team: str) -> dict[str, Any]:
    return _stage(platform.status(name, team), "train")


def _running(platform: Platform, name: str, team: str, earlier: int) -> str:
    """Waits for a train pod after so many others that has worked for a while; returns its name."""
    found: list[str] = []

    def works() -> bool:
        pods = platform.pods(name, team, "train")
        live = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        live = [pod for pod in live if "deletionTimestamp" not in pod["metadata"]]
        if not live:
            return False
        pod = live[-1]["metadata"]["name"]
        said = platform.cluster.kubectl("logs", pod, f"--namespace={team}", check=False).stdout
        found[:] = [pod]
        return '"step"' in said

    platform.wait_until(works, f"train pod {earlier + 1} of {name} to work", 300)
    return found[0]
