"""The control plane of a real Kubernetes: etcd, API server, controller-manager and scheduler.

Rights are those of Node and RBAC, as on a cluster that people use. What is given up for speed is
durability (etcd syncs nothing to disk) and leader election among the servers.
"""

from __future__ import annotations

import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.access import Cluster, write_kubeconfig
from tests.cluster.authority import FRONT_PROXY, KUBELET_CLIENT, USERS, Authority, new_authority
from tests.cluster.programs import KubernetesServers, control_plane_servers
from tests.servers.processes import free_port, running

LOOPBACK = "127.0.0.1"
_ISSUER = "https://kubernetes.default.svc"
_START_SECONDS = 120
_CONTROLLERS = "*,-node-ipam-controller,-node-route-controller,-service-lb-controller"


@dataclass(frozen=True)
class Place:
    """Where servers run.

    Args:
        address: At which others reach them.
        entry: The command that enters it, such as that of a network namespace.
        services: The range of the Services' addresses.
        names: Further addresses of the API server and of the kubelet.
    """

    address: str = LOOPBACK
    entry: tuple[str, ...] = ()
    services: str = "10.96.0.0/16"
    names: tuple[str, ...] = ("10.96.0.1",)


@dataclass
class ServerGroup:
    """Servers that stop together, the last one started first; nothing outlives the tests.

    Args:
        folder: For their files; a log ``NAME.log`` of each is in ``logs``.
        place: Where they run.
    """

    folder: Path
    place: Place
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)

    def start(self, name: str, command: Sequence[str], ready: Callable[[], bool]) -> int:
        """Starts a server, waits until it answers, and returns its process id."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        process = self._stack.enter_context(
            running(
                [*_leash(), *self.place.entry, *command],
                ready,
                logs / f"{name}.log",
                {"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                _START_SECONDS,
            )
        )
        return process.pid

    def stop(self) -> None:
        """Stops all of them."""
        self._stack.close()


def _leash() -> list[str]:
    """Returns what ends a server with the tests' process, and keeps Ctrl-C for the latter."""
    if shutil.which("setpriv") is None:  # of util-linux; without it, a killed test leaves servers
        return []
    return ["setpriv", "--pdeathsig", "KILL", "--", "setsid"]


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane.

    Args:
        cluster: For its users.
        authority: Its keys.
        kubeconfigs: By user, as in ``USERS``.
    """

    cluster: Cluster
    authority: Authority
    kubeconfigs: dict[str, Path]


@contextmanager
def running_control_plane(folder: Path, place: Place | None = None) -> Iterator[ControlPlane]:
    """Runs a control plane until the block ends, from its default service account on.

    Args:
        folder: An empty folder of its own.
        place: This machine's loopback by default.

    Raises:
        NoProgram: The programs are missing.
    """
    servers = control_plane_servers()
    group = ServerGroup(folder, place or Place())
    address = group.place.address
    authority = new_authority(folder / "pki", (LOOPBACK, address, *group.place.names))
    port = free_port(address)
    url = f"https://{address}:{port}"
    ca = Path(authority["ca.crt"])
    kubeconfigs = {user: folder / f"{user}.kubeconfig" for user in USERS}
    for user, path in kubeconfigs.items():
        write_kubeconfig(path, url, ca, authority.tokens[user])
    cluster = Cluster(kubeconfigs["admin"], url, ca, folder)
    plane = ControlPlane(cluster, authority, kubeconfigs)
    try:
        etcd = _start_etcd(group, servers)
        api_server = [
            *servers.command("kube-apiserver"),
            *_api_server(plane, etcd, port, group.place),
        ]
        group.start("kube-apiserver", api_server, lambda: _answers(plane, "/readyz"))
        _start_controllers(group, servers, plane)
        yield plane
    finally:
        group.stop()


def _start_etcd(group: ServerGroup, servers: KubernetesServers) -> str:
    client, peer = (f"http://{LOOPBACK}:{free_port()}" for _ in range(2))
    command = [
        *servers.command("etcd"),
        *("--data-dir", str(group.folder / "etcd"), "--unsafe-no-fsync", "--log-level", "warn"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
    ]
    # Nobody asks it before the API server, which waits for it.
    group.start("etcd", command, lambda: True)
    return client


def _api_server(plane: ControlPlane, etcd: str, port: int, place: Place) -> list[str]:
    files = plane.authority
    # A Service leads to it only where there are pods that could use that.
    endpoint = "none" if place.address == LOOPBACK else "lease"
    return [
        f"--etcd-servers={etcd}",
        f"--bind-address={place.address}",
        f"--advertise-address={place.address}",
        f"--endpoint-reconciler-type={endpoint}",
        f"--secure-port={port}",
        f"--tls-cert-file={files['api-server.crt']}",
        f"--tls-private-key-file={files['api-server.key']}",
        f"--client-ca-file={files['ca.crt']}",
        f"--token-auth-file={files['tokens.csv']}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        f"--service-cluster-ip-range={place.services}",
        f"--service-account-issuer={_ISSUER}",
        f"--api-audiences={_ISSUER}",
        f"--service-account-key-file={files['service-accounts.key']}",
        f"--service-account-signing-key-file={files['service-accounts.key']}",
        f"--kubelet-client-certificate={files[f'{KUBELET_CLIENT}.crt']}",
        f"--kubelet-client-key={files[f'{KUBELET_CLIENT}.key']}",
        f"--kubelet-certificate-authority={files['ca.crt']}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={files['ca.crt']}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={files[f'{FRONT_PROXY}.crt']}",
        f"--proxy-client-key-file={files[f'{FRONT_PROXY}.key']}",
    ]


def _start_controllers(group: ServerGroup, servers: KubernetesServers, plane: ControlPlane) -> None:
    files = plane.authority
    controllers = [
        *servers.command("kube-controller-manager"),
        *_controller(plane.kubeconfigs["controller-manager"]),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={files['service-accounts.key']}",
        f"--root-ca-file={files['ca.crt']}",
        f"--cluster-signing-cert-file={files['ca.crt']}",
        f"--cluster-signing-key-file={files['ca.key']}",
        f"--controllers={_CONTROLLERS}",
        f"--flex-volume-plugin-dir={group.folder / 'volume-plugins'}",
        "--concurrent-job-syncs=20",
    ]
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    scheduler = [*servers.command("kube-scheduler"), *_controller(plane.kubeconfigs["scheduler"])]
    group.start("kube-scheduler", scheduler, lambda: True)
    group.start("kube-controller-manager", controllers, lambda: _answers(plane, account))


def _controller(kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={free_port()}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _answers(plane: ControlPlane, path: str) -> bool:
    context = ssl.create_default_context(cafile=str(plane.cluster.ca))
    client = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    request = urllib.request.Request(
        plane.cluster.server + path,
        headers={"Authorization": f"Bearer {plane.authority.tokens['admin']}"},
    )
    try:
        with client.open(request, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
