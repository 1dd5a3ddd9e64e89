"""``logs`` of pods that really run: chosen, made readable, followed, and nothing lost or twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.cli.cluster.command import Command
from tests.cli.cluster.conftest import CRDS, Served
from tests.cli.cluster.experiments import stage, succeeded, training
from tests.cli.cluster.proxy import proxied
from tests.cli.cluster.test_logs import runner_pod
from tests.cluster.busybox import BUSYBOX
from tests.cluster.node import NodeCluster
from tests.cluster.objects import define

from sparse_transfer_cli.__main__ import invoke

pytestmark = pytest.mark.cluster

Start = Callable[..., Command]

PROGRESS = {
    "type": "progress", "stage": "train", "activity": "transfer", "step": 5, "totalSteps": 20,
    "percentage": 25,
}  # fmt: skip
RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [sparsetransfer.dev], resources: [sparsetransferexperiments], verbs: [get]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""


@pytest.fixture(scope="session")
def knowing_node_cluster(kubelet_cluster: NodeCluster) -> NodeCluster:
    define(kubelet_cluster, CRDS)
    return kubelet_cluster


@pytest.fixture
def served(
    knowing_node_cluster: NodeCluster,
    node_namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Served:
    """A fresh namespace of the cluster with a real node, which the kubeconfig chooses."""
    document = yaml.safe_load(knowing_node_cluster.kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = node_namespace
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return Served(knowing_node_cluster, node_namespace)


class Pods:
    """Pods of film-reviews that run a shell script each."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def run(self, name: str, script: str, stage: str = "train", key: str | None = None) -> None:
        """Starts a pod."""
        options = {"image": BUSYBOX, "command": ["sh", "-c", script]}
        self._served.cluster.apply(
            runner_pod(name, stage, key=key, **options), namespace=self._served.namespace
        )

    def wait(self, name: str, phase: str) -> None:
        """Waits for a pod's phase."""
        condition = f"--for=jsonpath={{.status.phase}}={phase}"
        self._served.kubectl("wait", f"pod/{name}", condition, "--timeout=60s")

    def complete(self, name: str, script: str, phase: str, *stage: str) -> None:
        """Runs a pod to its end."""
        self.run(name, script, *stage)
        self.wait(name, phase)


@pytest.fixture
def pods(served: Served) -> Pods:
    return Pods(served)


def test_the_running_stages_log_is_shown_and_its_records_are_readable(
    served: Served, pods: Pods, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=training())
    pods.complete("p", "echo prepared", "Succeeded", "prepare")
    pods.complete("t", f"echo 'INFO [epoch]'; echo '{json.dumps(PROGRESS)}'", "Succeeded")
    assert invoke(["logs", "film-reviews"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "INFO [epoch]\ntrain     25.0 %  transfer · 5/20\n"
    assert shown.err == "train: pod t\n"
    assert invoke(["logs", "film-reviews", "--raw"]) == 0
    assert capsys.readouterr().out == f"INFO [epoch]\n{json.dumps(PROGRESS)}\n"
    assert invoke(["logs", "film-reviews", "--stage", "prepare"]) == 0
    assert capsys.readouterr().out == "prepared\n"


def test_earlier_pods_are_there_as_long_as_they_are_kept(
    served: Served, pods: Pods, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=training())
    pods.complete("t1", "echo first; exit 75", "Failed")
    pods.complete("t2", "echo second", "Succeeded")
    shown = []
    for arguments in ([], ["--previous"], ["--attempt", "1"], ["--attempt", "2", "--follow"]):
        assert invoke(["logs", "film-reviews", *arguments]) == 0
        shown.append(capsys.readouterr().out.strip())
    assert shown == ["second", "first", "first", "second"]
    assert invoke(["logs", "film-reviews", "--attempt", "3"]) == 13
    assert "attempt 3: there is no pod of it; there is one of 1 or 2" in capsys.readouterr().err


def test_following_goes_from_pod_to_pod_and_from_stage_to_stage(
    served: Served, pods: Pods, start: Start
) -> None:
    served.create(status=training(stages=[stage("prepare", "Running")]))
    pods.complete("old", "echo of an earlier spec", "Succeeded", "prepare", "old-key")
    pods.run("p", "echo preparing; while [ ! -f /tmp/go ]; do sleep 0.1; done; echo prepared",
             "prepare")  # fmt: skip
    pods.wait("p", "Running")
    with start("logs", "film-reviews", "--follow") as command:
        command.wait_for(lambda line: line == "preparing")
        served.kubectl("exec", "p", "--", "touch", "/tmp/go")
        command.wait_for(lambda line: line == "prepared")
        served.say(training())
        command.wait_for_error("waiting for a pod (Training)")
        pods.run("t1", "echo trying; exit 75")
        command.wait_for(lambda line: line == "trying")
        pods.run("t2", "echo trying again")
        command.wait_for(lambda line: line == "trying again")
        pods.run("k", "echo packaging", "package")
        command.wait_for(lambda line: line == "packaging")
        pods.wait("k", "Succeeded")
        served.say(succeeded())
        code, errors = command.end()
    assert code == 0
    assert command.lines == ["preparing", "prepared", "trying", "trying again", "packaging"]
    assert [line for line in errors.splitlines() if ": pod " in line] == [
        "prepare: pod p",
        "train: pod t1",
        "train, attempt 2: pod t2",
        "package: pod k",
    ]


def test_following_a_stage_ends_with_it(served: Served, pods: Pods, start: Start) -> None:
    served.create(status=training())
    with start("logs", "film-reviews", "--stage", "train", "--follow") as command:
        command.wait_for_error("waiting for a pod")
        pods.run("t", "echo training")
        command.wait_for(lambda line: line == "training")
        pods.wait("t", "Succeeded")
        served.say(training(stages=[stage("train", "Succeeded"), stage("package", "Running")]))
        assert command.end()[0] == 0
    assert command.lines == ["training"]


def test_a_pod_that_is_deleted_is_no_reason_to_give_up(
    served: Served, pods: Pods, start: Start
) -> None:
    served.create(status=training())
    pods.run("t1", "echo one; while true; do sleep 0.1; done")
    with start("logs", "film-reviews", "--follow") as command:
        command.wait_for(lambda line: line == "one")
        served.kubectl("delete", "pod", "t1", "--grace-period=1")
        pods.run("t2", "echo two")
        command.wait_for(lambda line: line == "two")
        command.interrupt()
        assert command.end()[0] == 0


@pytest.fixture
def cut(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Cuts every connection to the API server that goes by the kubeconfig."""
    with proxied(served.cluster.server) as proxy:
        path = Path(os.environ["KUBECONFIG"])
        document = yaml.safe_load(path.read_text())
        # The certificate is for the address that the proxy takes the place of.
        document["clusters"][0]["cluster"]["tls-server-name"] = "localhost"
        document["clusters"][0]["cluster"]["server"] = proxy.address
        other = tmp_path / "proxied"
        other.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(other))
        yield proxy.cut


def test_a_cut_connection_loses_no_line_and_repeats_none(
    served: Served, pods: Pods, cut: Callable[[], None], start: Start
) -> None:
    served.create(status=training())
    pods.run("t", "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done")
    pods.wait("t", "Running")
    with start("logs", "film-reviews", "--stage", "train", "--follow") as command:
        for number in (50, 100, 150):
            command.wait_for(lambda line, wanted=f"line {number}": line == wanted)  # type: ignore[misc]
            cut()
        command.wait_for(lambda line: line == "line 299")
        served.say(training(stages=[stage("train", "Succeeded")]))
        code, errors = command.end()
    assert code == 0
    assert command.lines == [f"line {number}" for number in range(300)]
    assert "Traceback" not in errors


def test_a_missing_right_to_logs_is_named(
    served: Served, pods: Pods, capsys: pytest.CaptureFixture[str]
) -> None:
    served.create(status=training())
    pods.complete("t", "echo secret", "Succeeded")
    served.kubectl("apply", "-f", "-", stdin=RIGHTS)
    kubeconfig = served.cluster.kubeconfig_for("reader", served.namespace)
    assert invoke(["logs", "film-reviews", "--kubeconfig", str(kubeconfig)]) == 13
    shown = capsys.readouterr()
    assert "reader may not get pods/log in namespace" in shown.err
    assert "--resource=pods/log" in shown.err
    assert shown.out == ""
