"""Connections break, watches are too old to go on, the API server goes: nothing is missed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.access import Cluster
from tests.cluster.control_plane import running_control_plane
from tests.cluster.simulation import simulated
from tests.operator.cutting_proxy import CuttingProxy, cutting_proxy
from tests.operator.experiments import Experiment, teach_experiments
from tests.operator.operators import operator_settings, running_operator, start_operator
from tests.operator.restartable import ApiServer, kubeconfig_through
from tests.servers.go_programs import NoProgram
from tests.servers.processes import wait_until

RESOURCE = "sparsetransferexperiments.sparsetransfer.dev"
HANGS = {"sim/hang": "yes"}
LASTING = {"durationSeconds": 120, "renewDeadlineSeconds": 110, "retrySeconds": 1}
SHORT = {"durationSeconds": 6, "renewDeadlineSeconds": 4, "retrySeconds": 0.5}


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The API server of a cluster of its own with simulated nodes."""
    folder = tmp_path_factory.mktemp("breakable")
    try:
        with (
            running_control_plane(folder) as plane,
            simulated(plane.cluster, tmp_path_factory.mktemp("breakable-nodes")),
        ):
            teach_experiments(plane.cluster)
            server = ApiServer(plane.cluster)
            yield server
            server.stop()
    except NoProgram as error:
        pytest.skip(str(error))


@pytest.fixture
def breakable(api_server: ApiServer) -> Iterator[Experiment]:
    """An experiment of that cluster, not applied yet."""
    namespace = api_server.cluster.namespace()
    yield Experiment(api_server.cluster, namespace)
    api_server.cluster.remove_namespace(namespace)


@pytest.fixture
def proxy(experiments_known: Cluster) -> Iterator[CuttingProxy]:
    """Between an operator and the API server."""
    with cutting_proxy(int(experiments_known.server.rpartition(":")[2])) as running:
        yield running


def test_connections_that_are_cut_again_and_again_lose_nothing(
    proxy: CuttingProxy, experiments_known: Cluster, experiment: Experiment
) -> None:
    kubeconfig = kubeconfig_through(experiments_known, proxy.port)
    settings = operator_settings(experiment.namespace, lease=LASTING)
    with running_operator(experiments_known, settings, kubeconfig):
        experiment.apply({"sim/duration": "1s"})
        cuts = 0

        def done() -> bool:
            nonlocal cuts
            cuts += proxy.cut()
            return experiment.status().get("phase") == "Succeeded"

        experiment.wait_until(done, "the end")
        assert cuts > 3


def test_what_happens_while_the_network_is_away_is_seen_after(
    proxy: CuttingProxy, experiments_known: Cluster, experiment: Experiment
) -> None:
    kubeconfig = kubeconfig_through(experiments_known, proxy.port)
    settings = operator_settings(experiment.namespace, lease=LASTING)
    with running_operator(experiments_known, settings, kubeconfig) as operator:
        experiment.apply(stages={"train": HANGS})
        experiment.wait_until_running("train")
        proxy.refusing = True
        proxy.cut()
        experiment.end_pod("train")
        experiment.wait_until(lambda: experiment.running_pods("train") == [], "the pod's end")
        proxy.refusing = False
        experiment.wait_for("Complete")
        assert operator.leads


def test_an_api_server_that_forgot_its_watches_is_listed_anew(
    api_server: ApiServer, breakable: Experiment
) -> None:
    other = Experiment(breakable.cluster, breakable.namespace, "deleted-meanwhile")
    settings = operator_settings(breakable.namespace, lease=LASTING)
    with cutting_proxy(api_server.port) as proxy:
        kubeconfig = kubeconfig_through(breakable.cluster, proxy.port)
        with running_operator(breakable.cluster, settings, kubeconfig) as operator:
            breakable.apply(stages={"train": HANGS})
            other.apply(stages={"prepare": HANGS})
            breakable.wait_until_running("train")
            other.wait_until_running("prepare")
            proxy.refusing = True
            proxy.cut()
            with api_server.away():
                pass
            other.kubectl("delete", "ste", other.name)
            other.wait_until(lambda: not other.children("pods"), "its pods to be gone")
            listings = operator.total(
                "rest_client_requests_total", method="GET", resource="sparsetransferexperiments"
            )
            with api_server.away():
                pass  # what it remembers now begins after the deletion: older watches get 410
            proxy.refusing = False
            wait_until(
                lambda: operator.total("sparse_transfer_experiments") == 1,
                "the deleted experiment to be forgotten",
                90,
            )
            assert listings < operator.total(
                "rest_client_requests_total", method="GET", resource="sparsetransferexperiments"
            )
            breakable.end_pod("train")
            breakable.wait_for("Complete")


def test_an_operator_outlives_an_api_server_that_comes_back(
    api_server: ApiServer, breakable: Experiment
) -> None:
    settings = operator_settings(breakable.namespace, lease=LASTING)
    with running_operator(breakable.cluster, settings) as operator:
        breakable.apply(stages={"train": HANGS})
        breakable.wait_until_running("train")
        with api_server.away():
            assert operator.get("/metrics")[0] == 200
        breakable.end_pod("train")
        breakable.wait_for("Complete")
        assert operator.process.poll() is None


def test_an_operator_that_cannot_renew_its_lease_ends(
    api_server: ApiServer, breakable: Experiment
) -> None:
    settings = operator_settings(breakable.namespace, lease=SHORT)
    with running_operator(breakable.cluster, settings) as operator, api_server.away():
        assert operator.process.wait(60) == 1


def test_a_definition_that_goes_and_comes_back_is_watched_again(
    api_server: ApiServer, breakable: Experiment
) -> None:
    settings = operator_settings(breakable.namespace, lease=LASTING)
    with running_operator(breakable.cluster, settings) as operator:
        breakable.apply()
        breakable.wait_for("Complete")
        breakable.cluster.kubectl("delete", "crd", RESOURCE)
        wait_until(lambda: not operator.samples("sparse_transfer_experiments"), "none", 60)
        wait_until(
            lambda: operator.total("sparse_transfer_reconcile_errors_total") > 0, "a failure", 90
        )
        teach_experiments(breakable.cluster)
        breakable.apply()
        breakable.wait_for("Complete")
        assert operator.get("/healthz")[0] == 200


def test_an_operator_that_comes_before_the_definition_waits_for_it(
    api_server: ApiServer, breakable: Experiment
) -> None:
    breakable.cluster.kubectl("delete", "crd", RESOURCE, "--ignore-not-found")
    settings = operator_settings(breakable.namespace, lease=LASTING)
    operator = start_operator(breakable.cluster.kubeconfig, settings, breakable.cluster.folder)
    try:
        wait_until(lambda: operator.get("/healthz")[0] == 200, "an operator that lives", 60)
        wait_until(lambda: bool(operator.vitals().get("leading")), "an operator that leads", 60)
        assert operator.get("/readyz")[0] == 503
        teach_experiments(breakable.cluster)
        breakable.apply()
        breakable.wait_for("Complete")
        assert operator.get("/readyz")[0] == 200
    finally:
        operator.stop()
