"""Fixtures of the operator's tests."""

from __future__ import annotations

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment, teach_experiments


@pytest.fixture(scope="session")
def experiments_known(simulated_nodes: Cluster) -> Cluster:
    """The cluster with simulated nodes, which knows experiments."""
    teach_experiments(simulated_nodes)
    return simulated_nodes


@pytest.fixture
def experiment(experiments_known: Cluster, namespace: str) -> Experiment:
    """An experiment in a namespace of its own, not applied yet."""
    return Experiment(experiments_known, namespace)
