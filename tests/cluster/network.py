"""A network namespace for a node, and ways between it, its pods and this machine.

Addresses on both sides: this machine is ``host_address`` to the node and its pods; from here the
node, its pods and the cluster's Services are reached at their own addresses. Pods do not reach
anything beyond this machine.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.go_programs import cache_folder

_SLOTS = 8
_COMMAND_SECONDS = 30
_NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class NodeNetwork:
    """The addresses of one node; several may be up at once, by number.

    Args:
        number: From 0 on.
    """

    number: int

    @property
    def name(self) -> str:
        """Of the network namespace, and the beginning of everything else that has to differ."""
        return f"ste-{self.number}"

    @property
    def host_address(self) -> str:
        return f"10.201.{self.number}.1"

    @property
    def node_address(self) -> str:
        return f"10.201.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"10.96.{self.number}.0/24"

    @property
    def api_service(self) -> str:
        """The first address of the Services, which is the API server's."""
        return f"10.96.{self.number}.1"

    @property
    def entry(self) -> tuple[str, ...]:
        """The command that enters it; ``ip netns exec`` would hide the control groups."""
        return ("nsenter", f"--net={_NAMESPACES / self.name}", "--")

    @property
    def folder(self) -> Path:
        """Where the node of that number keeps its files, beside the images of the tests."""
        return cache_folder() / f"node-{self.number}"


@contextmanager
def free_number() -> Iterator[int]:
    """Holds a number that no other node has, until the block ends.

    Raises:
        AssertionError: There are too many nodes.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    for number in range(_SLOTS):
        with (cache_folder() / f"node-{number}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise AssertionError(f"{_SLOTS} nodes are up already")


def set_up(network: NodeNetwork) -> None:
    """Makes the namespace and the routes."""
    outer, inner = f"{network.name}h", f"{network.name}n"
    _run("ip", "netns", "add", network.name)
    _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", network.name)
    _run("ip", "addr", "add", f"{network.host_address}/30", "dev", outer)
    _run("ip", "link", "set", outer, "up")
    for target in (network.pods, network.services):
        _run("ip", "route", "add", target, "via", network.node_address)
    _run(*network.entry, "ip", "link", "set", "lo", "up")
    _run(*network.entry, "ip", "addr", "add", f"{network.node_address}/30", "dev", inner)
    _run(*network.entry, "ip", "link", "set", inner, "up")
    _run(*network.entry, "ip", "route", "add", "default", "via", network.host_address)
    for setting in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        # By the file: sysctl is not everywhere.
        _run(*network.entry, "sh", "-c", f"echo 1 > /proc/sys/{setting}")


def take_down(network: NodeNetwork) -> None:
    """Removes the namespace and all that is in it; that it is gone already is fine."""
    _run("ip", "link", "delete", f"{network.name}h", check=False)
    _run("ip", "netns", "delete", network.name, check=False)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
