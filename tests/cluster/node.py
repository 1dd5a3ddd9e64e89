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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.access import Cluster
from tests.cluster.busybox import BUSYBOX, write_busybox_image
from tests.cluster.containerd import SANDBOX_IMAGE, Containerd, what_is_missing
from tests.cluster.control_groups import make_group, remove_group
from tests.cluster.control_plane import ControlPlane, Place, ServerGroup, running_control_plane
from tests.cluster.images import StoredImage
from tests.cluster.machine_settings import keep_settings, restore_settings
from tests.cluster.network import NodeNetwork, free_number, set_up, take_down
from tests.cluster.node_servers import NODE, dns, kubelet, names_are_known, proxy, rights
from tests.cluster.programs import built_servers, coredns
from tests.cluster.shared_layers import bring
from tests.servers.go_programs import NoProgram
from tests.servers.processes import wait_until

PACKAGES = "containerd runc containernetworking-plugins iproute2 iptables busybox-static"
"""Of Debian, which a node needs."""

_UMOUNT_SECONDS = 60


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

    def bring(self, image: StoredImage) -> None:
        """Brings an image from the store to the node, without copying it."""
        bring(image, self.containerd)

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
        remove_leftovers(network)
        stack.callback(remove_leftovers, network)
        network.folder.mkdir(mode=0o700)
        keep_settings()
        set_up(network)
        make_group(network.name)
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
    cluster.apply(*rights())
    for name, arguments, ready in (
        ("kube-proxy", proxy(plane, network), lambda: True),
        ("kubelet", kubelet(plane, network), lambda: _is_ready(cluster)),
    ):
        node.start(name, [*built_servers().command(name), *arguments], ready)
    node.start("coredns", [str(coredns()), *dns(plane, network)], names_are_known(network))
    return cluster


def _is_ready(cluster: Cluster) -> bool:
    node = cluster.get("node", NODE)
    if node is None or node["spec"].get("taints"):
        return False
    conditions = node["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def remove_leftovers(network: NodeNetwork) -> None:
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
    restore_settings()


def _shims(network: NodeNetwork) -> list[int]:
    """Returns the processes that keep the containers of a node."""
    socket = str(Containerd(network.folder).socket).encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if socket in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found
