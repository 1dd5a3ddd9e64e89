"""A cluster of its own for what installs the operator.

The definition of experiments is of the whole cluster, and other tests have theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.access import Cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.simulation import simulated
from tests.servers.go_programs import NoProgram


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with simulated nodes that knows no experiments yet."""
    folder = tmp_path_factory.mktemp("bare-cluster")
    try:
        with (
            running_control_plane(folder) as plane,
            simulated(plane.cluster, tmp_path_factory.mktemp("bare-simulation")),
        ):
            yield plane.cluster
    except NoProgram as error:
        pytest.skip(str(error))
