"""Fixtures of the operator's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment

CRD = Path(__file__).resolve().parents[2] / "crds" / "sparsetransferexperiments.yaml"


@pytest.fixture(scope="session")
def experiments_known(simulated_nodes: Cluster) -> Cluster:
    """The cluster with simulated nodes, which knows experiments."""
    simulated_nodes.kubectl("apply", "--server-side", "-f", str(CRD))
    established = ("crd/sparsetransferexperiments.sparsetransfer.dev", "--timeout=60s")
    simulated_nodes.kubectl("wait", "--for=condition=Established", *established)
    return simulated_nodes


@pytest.fixture
def experiment(experiments_known: Cluster, namespace: str) -> Experiment:
    """An experiment in a namespace of its own, not applied yet."""
    return Experiment(experiments_known, namespace)
