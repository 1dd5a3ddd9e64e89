"""A control plane whose API server a test may take away and bring back."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tests.cluster.access import Cluster
from tests.servers.processes import wait_until

_SECONDS = 60


@dataclass
class ApiServer:
    """The API server of a control plane that this process runs.

    Args:
        cluster: That it serves.
    """

    cluster: Cluster
    _own: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.cluster.server.rpartition(":")[2])

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kills it, and starts it again when the block ends: what was in memory only is lost."""
        pid, command = self._running()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self._answers(), "the API server to be gone", _SECONDS)
        try:
            yield
        finally:
            log = (self.cluster.folder / "api-server-again.log").open("ab")
            with log:
                again = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._own.append(again)
            wait_until(self._answers, "the API server", _SECONDS)

    def stop(self) -> None:
        """Stops what was started again."""
        for process in self._own:
            process.kill()  # it would wait for all watches to end
            process.wait(_SECONDS)

    def _running(self) -> tuple[int, list[str]]:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
            except OSError:
                continue
            if f"--secure-port={self.port}" in command and "setpriv" not in command[0]:
                return int(entry.name), command
        raise AssertionError(f"nothing listens on {self.port}")

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.cluster.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        user = yaml.safe_load(self.cluster.kubeconfig.read_text())["users"][0]["user"]
        headers = {"Authorization": f"Bearer {user['token']}"}
        request = urllib.request.Request(f"{self.cluster.server}/readyz", headers=headers)
        try:
            with opener.open(request, timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


def kubeconfig_through(cluster: Cluster, port: int) -> Path:
    """Returns the administrator's kubeconfig with another port of this machine in it."""
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = cluster.folder / f"through-{port}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path
