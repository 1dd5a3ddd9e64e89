"""Fixtures of the clusters, for every part of the suite; loaded by the top conftest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.access import Cluster, existing_cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.images import ImageStore, image_store
from tests.cluster.node import NodeCluster, running_node_cluster
from tests.cluster.simulation import simulated
from tests.servers.go_programs import NoProgram

ENV_KUBECONFIG = "SPARSE_TRANSFER_TEST_KUBECONFIG"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Kubernetes without nodes: the one that ``ENV_KUBECONFIG`` leads to, or one of its own.

    On a cluster of somebody else's the namespaces of tests are deleted at the end.
    """
    folder = tmp_path_factory.mktemp("control-plane")
    if given := os.environ.get(ENV_KUBECONFIG):
        yield existing_cluster(Path(given), folder)
        return
    try:
        with running_control_plane(folder) as plane:
            yield plane.cluster
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def simulated_nodes(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The same cluster with nodes that run nothing; ``stages.py`` says how their pods end."""
    try:
        with simulated(control_plane, tmp_path_factory.mktemp("simulation")):
            yield control_plane
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace of the cluster without nodes, or with simulated ones."""
    name = control_plane.namespace()
    yield name
    control_plane.remove_namespace(name)


@pytest.fixture(scope="session")
def kubelet_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """A Kubernetes with a node that really runs containers; for tests marked ``cluster``."""
    try:
        with running_node_cluster(tmp_path_factory.mktemp("node-cluster")) as cluster:
            yield cluster
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.fixture
def node_namespace(kubelet_cluster: NodeCluster) -> Iterator[str]:
    """A fresh namespace of the cluster with a real node."""
    name = kubelet_cluster.namespace()
    yield name
    kubelet_cluster.remove_namespace(name)


@pytest.fixture(scope="session")
def images() -> ImageStore:
    """Where images are built; it is kept between runs."""
    try:
        return image_store()
    except NoProgram as error:
        pytest.skip(str(error))
