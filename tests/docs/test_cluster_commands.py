"""The commands of the pages for clusters are typed, on a real API server with simulated nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.control_plane import running_control_plane
from tests.cluster.programs import helm, kubectl
from tests.cluster.simulation import simulated
from tests.docs.pages import ON_CLUSTER, ROOT, commands, name_of
from tests.docs.test_commands import World
from tests.servers.go_programs import NoProgram


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A folder with what a checkout has, and a cluster that knows no experiments."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("charts", "crds", "manifests"):
        shutil.copytree(ROOT / name, root / name)
    tools = tmp_path_factory.mktemp("tools")
    try:
        for program in (helm(), kubectl()):
            (tools / program.name).symlink_to(program)
        with (
            running_control_plane(tmp_path_factory.mktemp("cluster")) as plane,
            simulated(plane.cluster, tmp_path_factory.mktemp("simulation")),
        ):
            environment = {
                "KUBECONFIG": str(plane.cluster.kubeconfig),
                "HOME": str(root),
                "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            }
            yield World(root, environment)
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("page", ON_CLUSTER, ids=name_of)
def test_the_commands_of_a_page_for_clusters_do_what_it_says(page: Path, world: World) -> None:
    assert commands(page)
    world.follow(page)
