"""containerd for a node, and the images in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.network import NodeNetwork

SANDBOX_IMAGE = "localhost/pause:1"
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
_PLUGINS = Path("/usr/lib/cni")  # where Debian puts them
_COMMAND_SECONDS = 900
_SKIPPED = ("aufs", "btrfs", "devmapper", "zfs")

_CONFIGURATION = """
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [{disabled}]
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
stream_server_address = "127.0.0.1"
disable_apparmor = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"""


@dataclass(frozen=True)
class Containerd:
    """The files of one containerd.

    Args:
        folder: For all of them.
    """

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def configuration(self) -> Path:
        return self.folder / "containerd.toml"

    def configure(self, network: NodeNetwork) -> None:
        """Writes its configuration, and that of the pods' network."""
        networks = self.folder / "networks"
        networks.mkdir()
        (networks / "10-bridge.conflist").write_text(json.dumps(self._bridge(network)))
        disabled = [f'"io.containerd.snapshotter.v1.{name}"' for name in _SKIPPED]
        text = _CONFIGURATION.format(
            root=self.folder / "root",
            state=self.folder / "state",
            disabled=", ".join(disabled),
            socket=self.socket,
            sandbox=SANDBOX_IMAGE,
            runc=shutil.which("runc"),
            plugins=_PLUGINS,
            networks=networks,
        )
        self.configuration.write_text(text)

    def _bridge(self, network: NodeNetwork) -> dict[str, object]:
        addresses = {
            "type": "host-local",
            "dataDir": str(self.folder / "addresses"),
            "ranges": [[{"subnet": network.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": addresses,
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": network.name, "plugins": [bridge, ports]}

    def answers(self) -> bool:
        """Returns whether it is up."""
        if not self.socket.exists():
            return False
        return self._run(["version"], check=False).returncode == 0

    def ctr(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Runs ctr among the images and containers of Kubernetes; returns what it prints.

        Raises:
            AssertionError: It failed.
        """
        return self._run(["--namespace=k8s.io", *arguments], stdin).stdout.decode()

    def _run(
        self, arguments: Iterable[str], stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["ctr", f"--address={self.socket}", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        assert not check or done.returncode == 0, f"ctr {arguments}: {done.stderr.decode()}"
        return done


def what_is_missing() -> list[str]:
    """Returns why this machine cannot run a node; nothing where it can."""
    missing = [f"{name} is missing" for name in PROGRAMS if shutil.which(name) is None]
    if not (_PLUGINS / "bridge").exists():
        missing.append(f"{_PLUGINS}/bridge is missing")
    if not Path("/bin/busybox").exists():
        missing.append("/bin/busybox is missing")
    if os.geteuid() != 0:
        missing.append("this user is not root")
    return missing
