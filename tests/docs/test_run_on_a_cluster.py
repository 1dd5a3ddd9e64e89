"""The page on running on a cluster: typed against a real operator, on simulated nodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.control_plane import running_control_plane
from tests.cluster.programs import kubectl
from tests.cluster.simulation import simulated
from tests.docs.pages import ROOT, WITH_OPERATOR, commands, name_of
from tests.docs.test_commands import World
from tests.operator.experiments import RESULTS, stage_result
from tests.operator.operators import operator_settings, running_operator
from tests.servers.go_programs import NoProgram
from tests.servers.processes import wait_until

PACKAGE = "s3://team-runs/cluster-1/default/reviews/package-{key}"
PREPARED = stage_result(
    manifestUri="s3://team-runs/cluster-1/default/reviews/prepare-{key}/manifest.json"
)
TRAINED = stage_result(
    manifestUri="s3://team-runs/cluster-1/default/reviews/train-{key}/manifest.json"
)
PACKAGED = stage_result(
    manifestUri=f"{PACKAGE}/manifest.json",
    results={
        **RESULTS,
        "headline": {**RESULTS["headline"], "speedupVsDenseInt8": 1.01},
        "recommended": {**RESULTS["recommended"], "file": "deployment/model.onnx"},
    },
    artifacts=[{"name": "deployment", "uri": f"{PACKAGE}/deployment"}],
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster with an operator, whose stages end at once with results."""
    root, tools = tmp_path_factory.mktemp("user"), tmp_path_factory.mktemp("tools")
    stages = {
        stage: {
            "annotations": {"sim/message": message},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }
        for stage, message in (("prepare", PREPARED), ("train", TRAINED), ("package", PACKAGED))
    }
    try:
        (tools / "kubectl").symlink_to(kubectl())
        with (
            running_control_plane(tmp_path_factory.mktemp("cluster")) as plane,
            simulated(plane.cluster, tmp_path_factory.mktemp("simulation")),
            pytest.MonkeyPatch.context() as patch,
        ):
            cluster = plane.cluster
            cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
            known = ("get", "sparsetransferexperiments")
            wait_until(lambda: cluster.kubectl(*known, check=False).returncode == 0, "experiments")
            patch.setenv("KUBECONFIG", str(cluster.kubeconfig))
            patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
            with running_operator(cluster, operator_settings("default", stages=stages)):
                yield World(root)
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("page", WITH_OPERATOR, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, world: World) -> None:
    assert commands(page)
    world.follow(page)
