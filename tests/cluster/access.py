"""A cluster as its tests see it: kubectl, fresh namespaces, and kubeconfigs with fewer rights."""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.programs import kubectl
from tests.servers.processes import wait_until

_CALL_SECONDS = 120
_NAMESPACE_SECONDS = 120
"""Controllers that lost the API server may wait for half a minute before they ask again."""
_TOKEN_LIFE = "24h"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Cluster:
    """A running cluster, seen with the administrator's rights.

    Args:
        kubeconfig: Of the administrator.
        server: The API server's address.
        ca: PEM file of the authority that signed its certificate.
        folder: For the kubeconfigs of others.
    """

    kubeconfig: Path
    server: str
    ca: Path
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl.

        Raises:
            AssertionError: It failed, and that is checked for.
        """
        # Its cache of what the API offers would outlive the cluster, and serve the next one.
        options = (f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder / 'kubectl'}")
        done = subprocess.run(
            [str(kubectl()), *options, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=_CALL_SECONDS,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )
        said = f"kubectl {' '.join(arguments)}: {done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def get(self, *arguments: str) -> Any:
        """Returns what ``kubectl get`` finds, read; None where the object does not exist."""
        done = self.kubectl("get", "--output=json", "--ignore-not-found", *arguments)
        return json.loads(done.stdout) if done.stdout else None

    def apply(self, *documents: Document, namespace: str = "default") -> None:
        """Applies documents in one call."""
        stdin = yaml.safe_dump_all(documents)
        self.kubectl("apply", "--server-side", f"--namespace={namespace}", "-f", "-", stdin=stdin)

    def namespace(self) -> str:
        """Makes a fresh namespace, ready for pods."""
        name = f"test-{next(self._numbers)}-{secrets.token_hex(3)}"
        self.kubectl("create", "namespace", name)
        wait_until(
            lambda: self.get("serviceaccount", "default", f"--namespace={name}") is not None,
            f"the default service account of {name}",
            _NAMESPACE_SECONDS,
        )
        return name

    def remove_namespace(self, name: str) -> None:
        """Deletes a namespace with all it holds, without waiting for that."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Returns a kubeconfig with the rights of a service account that exists, for a day."""
        arguments = (service_account, f"--namespace={namespace}", f"--duration={_TOKEN_LIFE}")
        token = self.kubectl("create", "token", *arguments).stdout.strip()
        path = self.folder / f"{namespace}-{service_account}.kubeconfig"
        write_kubeconfig(path, self.server, self.ca, token, namespace)
        return path


def write_kubeconfig(
    path: Path, server: str, ca: Path, token: str, namespace: str = "default"
) -> None:
    """Writes a kubeconfig of one cluster and one user with a token, its owner's to read only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
        ],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))


def existing_cluster(kubeconfig: Path, folder: Path) -> Cluster:
    """Returns the cluster that a kubeconfig's current context leads to.

    Args:
        kubeconfig: Of somebody who may do everything.
        folder: An empty folder for files of the tests.
    """
    document = yaml.safe_load(kubeconfig.read_text())
    context = _named(document["contexts"], document["current-context"])["context"]
    cluster = _named(document["clusters"], context["cluster"])["cluster"]
    ca = folder / "ca.crt"
    if data := cluster.get("certificate-authority-data"):
        ca.write_bytes(base64.b64decode(data))
    elif named := cluster.get("certificate-authority"):
        ca = kubeconfig.parent / named
    return Cluster(kubeconfig, cluster["server"], ca, folder)


def _named(entries: Sequence[Document], name: str) -> Document:
    (found,) = [entry for entry in entries if entry["name"] == name]
    return found
