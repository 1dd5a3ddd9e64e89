"""A real node: what the tests of images and of whole runs take for granted of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import machine_settings
from tests.cluster.access import existing_cluster
from tests.cluster.busybox import BUSYBOX
from tests.cluster.leftovers import processes_of
from tests.cluster.machine_settings import keep_settings, restore_settings
from tests.cluster.network import NodeNetwork, free_number
from tests.cluster.node import NodeCluster, remove_leftovers
from tests.cluster.node_servers import DOMAIN, NODE
from tests.cluster.objects import (
    Object,
    ended_container,
    evict,
    job,
    pod,
    wait_for_condition,
)
from tests.servers.go_programs import cache_folder
from tests.servers.processes import wait_until

pytestmark = pytest.mark.cluster
REPOSITORY = Path(__file__).resolve().parents[2]
UP_SECONDS = 180


def _shell(script: str, **spec: object) -> Object:
    return pod("shell", BUSYBOX, ["sh", "-c", script], **spec)


def _run(cluster: NodeCluster, namespace: str, template: Object) -> Object:
    cluster.apply(job("stage", template), namespace=namespace)
    return ended_container(cluster, namespace, "job-name=stage")


def test_a_job_succeeds_with_its_termination_message(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    script = "echo said; printf done > /dev/termination-log"
    ended = _run(kubelet_cluster, node_namespace, _shell(script))
    wait_for_condition(kubelet_cluster, node_namespace, "job/stage", "Complete")
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "done")
    logs = kubelet_cluster.kubectl("logs", "job/stage", f"--namespace={node_namespace}")
    assert logs.stdout == "said\n"


def test_an_exit_code_arrives(kubelet_cluster: NodeCluster, node_namespace: str) -> None:
    ended = _run(kubelet_cluster, node_namespace, _shell("exit 12"))
    assert (ended["exitCode"], ended["reason"]) == (12, "Error")


def test_a_container_beyond_its_memory_is_killed(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    greedy = _shell(
        "tail -c 200m /dev/zero > /dev/null",
        container={"resources": {"limits": {"memory": "24Mi"}}},
    )
    ended = _run(kubelet_cluster, node_namespace, greedy)
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_projected_token_proves_which_pod_asks(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    token = {"path": "token", "audience": "progress", "expirationSeconds": 600}
    asking = _shell(
        "cat /var/run/progress/token > /dev/termination-log",
        container={"volumeMounts": [{"name": "token", "mountPath": "/var/run/progress"}]},
        volumes=[{"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}],
    )
    message = _run(kubelet_cluster, node_namespace, asking)["message"]
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": message, "audiences": ["progress"]},
    }
    done = kubelet_cluster.kubectl("create", "-ojson", "-f", "-", stdin=json.dumps(review))
    status = json.loads(done.stdout)["status"]
    assert status["authenticated"]
    found = kubelet_cluster.get(
        "pods", "--selector=job-name=stage", f"--namespace={node_namespace}"
    )
    uid = found["items"][0]["metadata"]["uid"]
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]


def test_a_service_is_reached_by_its_name(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    serving = _shell("echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
    serving["metadata"]["labels"] = {"app": "web"}
    ports = [{"port": 80, "targetPort": 8080}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }
    kubelet_cluster.apply(serving, service, namespace=node_namespace)
    wait_for_condition(kubelet_cluster, node_namespace, "pod/shell", "Ready")
    name = f"web.{node_namespace}.svc.{DOMAIN}"
    asking = f"until wget -q -O /dev/termination-log http://{name}/; do sleep 0.1; done"
    assert _run(kubelet_cluster, node_namespace, _shell(asking))["message"] == "hello\n"
    # From this machine as well, at the Service's address.
    found = kubelet_cluster.get("service", "web", f"--namespace={node_namespace}")
    with socket.create_connection((found["spec"]["clusterIP"], 80), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().endswith(b"hello\n")


def test_pods_reach_servers_of_this_machine(
    kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    with socket.create_server((kubelet_cluster.host_ip, 0)) as server:
        server.settimeout(60)

        def answer() -> None:
            with contextlib.closing(server.accept()[0]) as connection:
                connection.sendall(b"from outside")

        thread = threading.Thread(target=answer)
        thread.start()
        address, port = server.getsockname()
        asking = _shell(f"nc {address} {port} < /dev/null > /dev/termination-log")
        assert _run(kubelet_cluster, node_namespace, asking)["message"] == "from outside"
        thread.join()


def _running_forever(cluster: NodeCluster, namespace: str) -> str:
    """Starts a pod that writes a message when it is told to stop; returns its name."""
    script = (
        "trap 'printf stopped > /dev/termination-log; exit 143' TERM; echo ready > /tmp/ready; "
        "while :; do sleep 0.1; done"
    )
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    template = _shell(script, container={"readinessProbe": probe})
    template["spec"]["terminationGracePeriodSeconds"] = 30
    cluster.apply(job("stage", template), namespace=namespace)
    chosen = ("pod", "--selector=job-name=stage", f"--namespace={namespace}")
    wait_until(lambda: bool(cluster.get(*chosen)["items"]), "the Job's pod")
    cluster.kubectl("wait", *chosen, "--for=condition=Ready", "--timeout=60s")
    name = str(cluster.get(*chosen)["items"][0]["metadata"]["name"])
    held = '{"metadata":{"finalizers":["tests/held"]}}'
    own = ("pod", name, f"--namespace={namespace}")
    cluster.kubectl("patch", *own, "--type=merge", f"--patch={held}")
    return name


@pytest.fixture
def held_pod(kubelet_cluster: NodeCluster, node_namespace: str) -> Iterator[str]:
    """A running pod that stays to be looked at when it has been deleted."""
    name = _running_forever(kubelet_cluster, node_namespace)
    yield name
    freed = '--patch={"metadata":{"finalizers":[]}}'
    own = ("pod", name, f"--namespace={node_namespace}")
    kubelet_cluster.kubectl("patch", *own, "--type=merge", freed)


@pytest.mark.parametrize("way", ["delete", "evict", "drain"])
def test_a_pod_that_has_to_go_may_still_say_something(
    way: str, held_pod: str, kubelet_cluster: NodeCluster, node_namespace: str
) -> None:
    if way == "evict":
        evict(kubelet_cluster, node_namespace, held_pod)
    elif way == "delete":
        own = (held_pod, f"--namespace={node_namespace}", "--wait=false")
        kubelet_cluster.kubectl("delete", "pod", *own)
    else:
        selector = "--pod-selector=job-name=stage"
        drained = ("drain", NODE, selector, "--ignore-daemonsets", "--timeout=1s")
        kubelet_cluster.kubectl(*drained, check=False)  # the pod is held, and does not go
        kubelet_cluster.kubectl("uncordon", NODE)
    ended = ended_container(kubelet_cluster, node_namespace, "job-name=stage")
    assert (ended["exitCode"], ended["message"]) == (143, "stopped")


@contextlib.contextmanager
def _up(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path, NodeNetwork]]:
    """Runs another cluster as people do; gives its process, kubeconfig and network."""
    command = [sys.executable, "-m", "tests.cluster.up", "--size=large"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=environment
    ) as up:
        assert up.stdout is not None
        kubeconfig = Path(up.stdout.readline().strip())
        server = kubeconfig.read_text()
        (network,) = [
            each for each in map(NodeNetwork, range(8)) if f"//{each.host_address}:" in server
        ]
        try:
            yield up, kubeconfig, network
        finally:
            up.terminate()
            up.wait(UP_SECONDS)


def _left_of(network: NodeNetwork) -> list[str]:
    """Returns what a node has left on this machine."""
    places = [
        network.folder,
        Path("/run/netns") / network.name,
        *Path("/sys/class/net").glob(f"{network.name}*"),
        *Path("/sys/fs/cgroup").rglob(network.name),
    ]
    mounts = Path("/proc/mounts").read_text().splitlines()
    return [
        *processes_of(network.folder),
        *(str(place) for place in places if place.exists()),
        *(mount for mount in mounts if str(network.folder) in mount),
    ]


def test_settings_of_the_machine_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "vm" / "overcommit_memory"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine_settings, "_setting", lambda name: tmp_path / name)
    monkeypatch.setattr(machine_settings, "_KUBELET_OWN", tmp_path / "kubelet")
    for name in machine_settings._SETTINGS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("0\n")
    node = cache_folder() / "node-1"
    keep_settings()
    node.mkdir()
    setting.write_text("1\n")
    (tmp_path / "kubelet").mkdir()
    keep_settings()  # of a second node
    restore_settings()
    assert setting.read_text() == "1\n", "while a node is up"
    node.rmdir()
    restore_settings()
    assert setting.read_text() == "0\n"
    assert not (tmp_path / "kubelet").exists()


def test_nothing_is_left_once_it_is_stopped(tmp_path: Path) -> None:
    with _up(tmp_path) as (up, kubeconfig, network):
        cluster = existing_cluster(kubeconfig, tmp_path)
        assert cluster.get("node", NODE) is not None
        up.send_signal(signal.SIGTERM)
        assert up.wait(UP_SECONDS) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("sparse-transfer-cluster-*"))
    assert processes_of(tmp_path) == []
    assert _left_of(network) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with _up(tmp_path) as (up, kubeconfig, network):
        cluster = existing_cluster(kubeconfig, tmp_path)
        cluster.apply(_shell("while :; do sleep 1; done"))
        wait_for_condition(cluster, "default", "pod/shell", "Ready")
        up.kill()
    wait_until(lambda: processes_of(tmp_path) == [], "the control plane's end")
    assert _left_of(network) != []
    with free_number() as number:
        assert number == network.number
        remove_leftovers(network)
        assert _left_of(network) == []
