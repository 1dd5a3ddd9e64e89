"""Nodes that are simulated, so that Jobs end without anything being run; ``stages.py`` says how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tests.cluster.access import Cluster, Document
from tests.cluster.control_plane import Place, ServerGroup
from tests.cluster.programs import kwok
from tests.cluster.stages import configuration
from tests.servers.processes import wait_until

_MARK = "kwok.x-k8s.io/node"
_LABEL = "simulated=true"
_READY_SECONDS = 60
_POD_RANGE = "10.250.0.0/16"
_NODE_ADDRESS = "10.250.0.1"
_LEASE_SECONDS = 40

CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "250", "nvidia.com/gpu": "8"}
"""Of one node."""


@contextmanager
def simulated(cluster: Cluster, folder: Path, nodes: int = 4) -> Iterator[None]:
    """Adds simulated nodes to a cluster until the block ends.

    Args:
        cluster: To which the nodes come.
        folder: An empty folder of its own.
        nodes: How many, each of ``CAPACITY``.

    Raises:
        NoProgram: The program is missing.
    """
    stages = folder / "stages.yaml"
    stages.write_text(yaml.safe_dump_all(configuration()))
    command = [
        str(kwok()),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--config={stages}",
        f"--manage-nodes-with-annotation-selector={_MARK}=fake",
        f"--cidr={_POD_RANGE}",
        f"--node-ip={_NODE_ADDRESS}",
        f"--node-lease-duration-seconds={_LEASE_SECONDS}",
    ]
    group = ServerGroup(folder, Place())
    try:
        group.start("kwok", command, lambda: True)
        cluster.apply(*(_node(number) for number in range(nodes)))
        wait_until(lambda: _all_ready(cluster, nodes), "simulated nodes", _READY_SECONDS)
        yield
    finally:
        cluster.kubectl("delete", "node", f"--selector={_LABEL}", "--wait=false", check=False)
        group.stop()


def _node(number: int) -> Document:
    name = f"simulated-{number}"
    key, value = _LABEL.split("=")
    labels = {
        key: value,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {_MARK: "fake"}, "labels": labels},
        "status": {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "addresses": [{"type": "InternalIP", "address": _NODE_ADDRESS}],
        },
    }


def _all_ready(cluster: Cluster, nodes: int) -> bool:
    found = cluster.get("nodes", f"--selector={_LABEL}")["items"]
    ready = [
        condition
        for node in found
        for condition in node["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    return len(ready) == nodes and all(not node["spec"].get("taints") for node in found)
