"""A real API server that serves experiments, and the command line with a kubeconfig for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.cluster.command import Command
from tests.cli.cluster.experiments import Document
from tests.cluster.access import Cluster
from tests.cluster.objects import define

from sparse_transfer_api.contract import GROUP

CRDS = Path(__file__).parents[3] / "crds"


@dataclass(frozen=True)
class Served:
    """A namespace of a cluster that knows experiments.

    Args:
        cluster: With the administrator's rights.
        namespace: Fresh.
    """

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Runs kubectl in the namespace, and returns what it prints."""
        done = self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, **options)
        return str(done.stdout)

    def create(
        self,
        name: str = "film-reviews",
        status: Document | None = None,
        spec: Document | None = None,
    ) -> None:
        """Makes an experiment, with a status if there is one, and with more of a spec."""
        experiment = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": name},
            "spec": {
                "useCase": "sentiment",
                "data": {"uri": "s3://team-data/reviews/"},
                **(spec or {}),
            },
        }
        self.cluster.apply(experiment, namespace=self.namespace)
        if status is not None:
            self.say(status, name)

    def say(self, status: Document, name: str = "film-reviews") -> None:
        """Writes a status, as the operator does: what it leaves out is gone."""
        patch = json.dumps([{"op": "add", "path": "/status", "value": status}])
        self.kubectl("patch", "ste", name, "--subresource=status", "--type=json", f"-p={patch}")

    def get(self, name: str = "film-reviews") -> Any:
        """Returns an experiment as the API server has it; None without."""
        return self.cluster.get("ste", name, f"--namespace={self.namespace}")


@pytest.fixture(scope="session")
def knowing_cluster(control_plane: Cluster) -> Cluster:
    """The cluster without nodes, or with simulated ones, that knows experiments."""
    define(control_plane, CRDS)
    return control_plane


@pytest.fixture
def served(
    knowing_cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Served:
    """A fresh namespace, which the kubeconfig of this process chooses."""
    document = yaml.safe_load(knowing_cluster.kubeconfig.read_text())
    for context in document["contexts"]:
        context["context"]["namespace"] = namespace
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return Served(knowing_cluster, namespace)


@pytest.fixture
def start() -> Callable[..., Command]:
    """Starts a command of its own, which ends with the test."""
    return Command
