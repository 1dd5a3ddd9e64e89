"""A real node: containerd, kubelet, kube-proxy and a name server, in a network namespace.

Needs root and Debian's packages of containerd, runc and the pods' network. What a killed run left
behind is removed by the next one with the same number.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.cluster.access import Cluster, Document
from tests.cluster.authority import KUBELET_CLIENT
from tests.cluster.busybox import BUSYBOX, write_busybox_image
from tests.cluster.containerd import SANDBOX_IMAGE, Containerd, what_is_missing
from tests.cluster.control_groups import make_group, remove_group
from tests.cluster.control_plane import ControlPlane, Place, ServerGroup, running_control_plane
from tests.cluster.network import NodeNetwork, free_number, set_up, take_down
from tests.cluster.programs import built_servers, coredns
from tests.servers.go_programs import NoProgram
from tests.servers.processes import wait_until

NODE = "node"
PACKAGES = "containerd runc containernetworking-plugins iproute2 iptables busybox-static"
"""Of Debian, which a node needs."""

DOMAIN = "cluster.local"
_UMOUNT_SECONDS = 60
_KUBELET_OWN = Path("/var/lib/kubelet")
# The kubelet sets them for the whole machine.
_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


@dataclass(frozen=True, kw_only=True)
class NodeCluster(Cluster):
    """A cluster of one real node.

    Args:
        network: Its addresses.
        containerd: What runs its containers.
    """

    network: NodeNetwork
    containerd: Containerd

    @property
    def host_ip(self) -> str:
        """This machine's address, as pods see it: servers for them listen there."""
        return self.network.host_address

    def import_image(self, archive: Path) -> None:
        """Brings an image to the node, as ``docker save`` or ``buildah push`` wrote it."""
        self.containerd.ctr("images", "import", str(archive))


@contextmanager
def running_node_cluster(folder: Path) -> Iterator[NodeCluster]:
    """Runs a control plane and a node until the block ends.

    Args:
        folder: An empty folder of its own.

    Raises:
        NoProgram: Programs are missing.
    """
    if missing := what_is_missing():
        raise NoProgram(f"no node here: {', '.join(missing)}; apt-get install {PACKAGES}, as root")
    built_servers(), coredns()
    with ExitStack() as stack:
        network = NodeNetwork(stack.enter_context(free_number()))
        _remove_leftovers(network)
        stack.enter_context(_settings_kept())
        stack.callback(_remove_leftovers, network)
        set_up(network)
        make_group(network.name)
        network.folder.mkdir(mode=0o700)
        place = Place(
            network.host_address,
            services=network.services,
            names=(network.api_service, network.node_address),
        )
        plane = stack.enter_context(running_control_plane(folder, place))
        node = ServerGroup(folder, Place(network.node_address, network.entry))
        stack.callback(node.stop)
        yield _started(plane, node, network)


def _started(plane: ControlPlane, node: ServerGroup, network: NodeNetwork) -> NodeCluster:
    containerd = Containerd(network.folder)
    cluster = NodeCluster(
        **{name: getattr(plane.cluster, name) for name in ("kubeconfig", "server", "ca", "folder")},
        network=network,
        containerd=containerd,
    )
    containerd.configure(network)
    command = ["containerd", "--config", str(containerd.configuration)]
    node.start("containerd", command, containerd.answers)
    for image, runs in ((SANDBOX_IMAGE, ["/bin/sleep", "2147483647"]), (BUSYBOX, ["/bin/sh"])):
        archive = network.folder / "image.tar"
        write_busybox_image(archive, image, runs)
        cluster.import_image(archive)
    cluster.apply(*_rights())
    servers = built_servers()
    proxy = [*servers.command("kube-proxy"), *_proxy(plane, network)]
    kubelet = [*servers.command("kubelet"), *_kubelet(plane, network)]
    node.start("kube-proxy", proxy, lambda: True)
    node.start("coredns", [str(coredns()), *_dns(plane, network)], _names_are_known(network))
    node.start("kubelet", kubelet, lambda: _is_ready(cluster))
    return cluster


def _kubelet(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    files, folder = plane.authority, network.folder
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node_address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": files["ca.crt"]},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": files["kubelet.crt"],
        "tlsPrivateKeyFile": files["kubelet.key"],
        "containerRuntimeEndpoint": f"unix://{folder / 'containerd.sock'}",
        "volumePluginDir": str(folder / "volume-plugins"),
        "podLogsDir": str(folder / "pod-logs"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{network.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "clusterDNS": [network.node_address],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        # This machine's disk is not the tests' to judge.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        "serializeImagePulls": False,
    }
    path = folder / "kubelet.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return [
        f"--config={path}",
        f"--kubeconfig={plane.kubeconfigs['node']}",
        f"--root-dir={folder / 'kubelet'}",
        f"--cert-dir={folder / 'kubelet-certificates'}",
        f"--hostname-override={NODE}",
        f"--node-ip={network.node_address}",
    ]


def _proxy(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    return [
        f"--kubeconfig={plane.kubeconfigs['proxy']}",
        f"--hostname-override={NODE}",
        f"--bind-address={network.node_address}",
        f"--cluster-cidr={network.pods}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
    ]


def _dns(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    path = network.folder / "Corefile"
    path.write_text(
        f"""
        .:53 {{
            bind {network.node_address}
            errors
            ready {network.node_address}:8181
            kubernetes {DOMAIN} in-addr.arpa {{
                kubeconfig {plane.kubeconfigs["dns"]}
                pods insecure
                ttl 1
            }}
        }}
        """
    )
    return ["-conf", str(path)]


def _rights() -> list[Document]:
    """Returns what the servers may do beyond what Kubernetes itself gives to their names."""
    group = "rbac.authorization.k8s.io"
    reads = [
        {
            "apiGroups": ["", "discovery.k8s.io"],
            "resources": ["endpoints", "services", "pods", "namespaces", "endpointslices"],
            "verbs": ["list", "watch"],
        }
    ]
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": reads,
    }
    bindings: list[Document] = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        for user, name in (
            ("system:coredns", "system:coredns"),
            (KUBELET_CLIENT, "system:kubelet-api-admin"),
        )
    ]
    return [role, *bindings]


def _names_are_known(network: NodeNetwork) -> Callable[[], bool]:
    client = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def known() -> bool:
        try:
            with client.open(f"http://{network.node_address}:8181/ready", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    return known


def _is_ready(cluster: Cluster) -> bool:
    node = cluster.get("node", NODE)
    if node is None or node["spec"].get("taints"):
        return False
    conditions = node["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Gives this machine back what the kubelet sets, and the folder that it makes."""
    paths = [Path("/proc/sys") / name for name in _SETTINGS]
    before = {path: path.read_text() for path in paths}
    was_there = _KUBELET_OWN.exists()
    try:
        yield
    finally:
        for path, value in before.items():
            path.write_text(value)
        if not was_there:
            shutil.rmtree(_KUBELET_OWN, ignore_errors=True)


def _remove_leftovers(network: NodeNetwork) -> None:
    """Removes what a node of that number has left on this machine, whose servers have stopped."""
    remove_group(network.name)
    for process in _shims(network):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_until(lambda: not _shims(network), "the end of what kept containers")
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if mount.startswith(f"{network.folder}/"):
            subprocess.run(["umount", "--lazy", mount], check=True, timeout=_UMOUNT_SECONDS)
    take_down(network)
    if network.folder.exists():
        shutil.rmtree(network.folder)


def _shims(network: NodeNetwork) -> list[int]:
    """Returns the processes that keep the containers of a node."""
    socket = str(Containerd(network.folder).socket).encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if socket in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found
