"""Simulated nodes: pods of Jobs end as their annotations say."""

from __future__ import annotations

import pytest
from tests.cluster.access import Cluster
from tests.cluster.objects import (
    Object,
    ended_container,
    evict,
    job,
    pod,
    wait_for_condition,
)

from sparse_transfer_api.contract import ENV_STAGE_KEY, GROUP, ExitCode
from sparse_transfer_api.records import StageResult

KEY = "0123abcd"
RUNNER = pod("runner", container={"env": [{"name": ENV_STAGE_KEY, "value": KEY}]})
LABELS = {f"{GROUP}/stage": "train"}


def _run(cluster: Cluster, namespace: str, annotations: dict[str, str]) -> Object:
    cluster.apply(job("stage", RUNNER, annotations, LABELS), namespace=namespace)
    return ended_container(cluster, namespace, "job-name=stage")


def test_a_job_succeeds_with_a_stage_result(simulated_nodes: Cluster, namespace: str) -> None:
    ended = _run(simulated_nodes, namespace, {})
    wait_for_condition(simulated_nodes, namespace, "job/stage", "Complete")
    result = StageResult.model_validate_json(ended["message"])
    assert (result.stage, result.key, result.outcome) == ("train", KEY, "Succeeded")
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")


@pytest.mark.parametrize("code", [ExitCode.INPUT, ExitCode.TRANSIENT, ExitCode.STOPPED])
def test_a_job_fails_with_an_exit_code(
    code: ExitCode, simulated_nodes: Cluster, namespace: str
) -> None:
    ended = _run(simulated_nodes, namespace, {"sim/exit-code": str(int(code))})
    wait_for_condition(simulated_nodes, namespace, "job/stage", "Failed")
    result = StageResult.model_validate_json(ended["message"])
    outcome = "Stopped" if code is ExitCode.STOPPED else "Failed"
    assert (result.exit_code, result.outcome) == (code, outcome)
    assert (ended["exitCode"], ended["reason"]) == (code, "Error")


def test_a_pod_out_of_memory_leaves_no_message(simulated_nodes: Cluster, namespace: str) -> None:
    annotations = {"sim/exit-code": "137", "sim/reason": "OOMKilled"}
    ended = _run(simulated_nodes, namespace, annotations)
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert not ended.get("message")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", None),
        ('plain text: "quoted" {{ . }} é', 'plain text: "quoted" {{ . }} é'),
        ('{"stage":"{stage}","key":"{key}"}', '{"stage":"train","key":"0123abcd"}'),
    ],
)
def test_a_message_is_what_its_annotation_says(
    message: str, said: str | None, simulated_nodes: Cluster, namespace: str
) -> None:
    assert _run(simulated_nodes, namespace, {"sim/message": message}).get("message") == said


def test_a_pod_hangs_until_a_test_lets_it_end(simulated_nodes: Cluster, namespace: str) -> None:
    annotations = {"sim/hang": "yes", "sim/duration": "0s"}
    simulated_nodes.apply(job("stage", RUNNER, annotations, LABELS), namespace=namespace)
    chosen = ("pod", "--selector=job-name=stage", f"--namespace={namespace}")
    simulated_nodes.kubectl("wait", *chosen, "--for=condition=Ready", "--timeout=60s")
    simulated_nodes.kubectl("annotate", *chosen, "sim/hang-", "sim/exit-code=12")
    assert ended_container(simulated_nodes, namespace, "job-name=stage")["exitCode"] == 12


def test_a_pod_that_waits_says_why(simulated_nodes: Cluster, namespace: str) -> None:
    annotations = {"sim/waiting": "ImagePullBackOff"}
    simulated_nodes.apply(job("stage", RUNNER, annotations, LABELS), namespace=namespace)
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff"
    chosen = ("pod", "--selector=job-name=stage", f"--namespace={namespace}")
    simulated_nodes.kubectl("wait", *chosen, f"--for={waiting}", "--timeout=60s")


def test_an_evicted_pod_ends_with_143_and_counts_as_a_disruption(
    simulated_nodes: Cluster, namespace: str
) -> None:
    hung = job("stage", RUNNER, {"sim/hang": "yes", "sim/term-duration": "1s"}, LABELS)
    simulated_nodes.apply(hung, namespace=namespace)
    chosen = ("pod", "--selector=job-name=stage", f"--namespace={namespace}")
    simulated_nodes.kubectl("wait", *chosen, "--for=condition=Ready", "--timeout=60s")
    (running,) = simulated_nodes.get(*chosen)["items"]
    own = ("pod", running["metadata"]["name"], f"--namespace={namespace}")
    held = '{"metadata":{"finalizers":["tests/held"]}}'
    simulated_nodes.kubectl("patch", *own, "--type=merge", f"--patch={held}")
    evict(simulated_nodes, namespace, running["metadata"]["name"])
    wait_for_condition(simulated_nodes, namespace, own[0] + "/" + own[1], "DisruptionTarget")
    assert ended_container(simulated_nodes, namespace, "job-name=stage")["exitCode"] == 143
    simulated_nodes.kubectl("patch", *own, "--type=merge", '--patch={"metadata":{"finalizers":[]}}')
