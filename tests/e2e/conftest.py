"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.images import ImageStore
from tests.cluster.node import NodeCluster
from tests.e2e.platform import Platform, running_platform


@pytest.fixture(scope="session")
def platform(
    kubelet_cluster: NodeCluster, images: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """The whole product on a cluster with a real node."""
    with running_platform(kubelet_cluster, images, tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="session")
def team(platform: Platform) -> Iterator[str]:
    """A team's namespace, which may reach the bucket, and runs restricted pods only."""
    name = platform.cluster.namespace()
    platform.cluster.kubectl(
        "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"
    )
    platform.give_access(name)
    yield name
    platform.cluster.remove_namespace(name)
