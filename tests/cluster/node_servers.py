"""How the servers of a node are called and set: kubelet, kube-proxy and a name server."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import yaml
from tests.cluster.access import Document
from tests.cluster.authority import KUBELET_CLIENT
from tests.cluster.control_plane import ControlPlane
from tests.cluster.network import NodeNetwork

NODE = "node"
DOMAIN = "cluster.local"


def kubelet(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    """Returns the kubelet's arguments, after writing its configuration."""
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


def proxy(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    """Returns the arguments of kube-proxy, which leads Services to pods."""
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


def dns(plane: ControlPlane, network: NodeNetwork) -> list[str]:
    """Returns the name server's arguments, after writing its configuration."""
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


def rights() -> list[Document]:
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


def names_are_known(network: NodeNetwork) -> Callable[[], bool]:
    """Returns whether the name server knows the cluster, as a question to be asked."""
    client = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def known() -> bool:
        try:
            with client.open(f"http://{network.node_address}:8181/ready", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    return known
