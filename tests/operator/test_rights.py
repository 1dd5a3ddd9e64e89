"""The chart's roles are enough for the operator, in all namespaces and in chosen ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.helm_chart import RELEASE, of_kind, rendered, the
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment
from tests.operator.operators import OperatorProcess, operator_settings, running_operator
from tests.servers.go_programs import NoProgram
from tests.servers.processes import free_port, wait_until

RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
CHOSEN = "chosen"


@pytest.fixture(params=["all namespaces", CHOSEN])
def installed(
    request: pytest.FixtureRequest, experiments_known: Cluster, namespace: str
) -> Iterator[OperatorProcess]:
    """An operator with the rights and the settings that the chart gives it."""
    values = {"namespaces": [namespace]} if request.param == CHOSEN else {}
    with (
        _as_charted(experiments_known, values, namespace) as (settings, kubeconfig),
        running_operator(experiments_known, settings, kubeconfig) as operator,
    ):
        yield operator


@contextmanager
def _as_charted(
    cluster: Cluster, values: dict[str, Any], namespace: str
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Gives an operator's settings and login with the chart's rights, until the block ends."""
    try:
        objects = rendered(values, namespace=namespace)
    except NoProgram as error:
        pytest.skip(str(error))
    for each in of_kind(objects, *RIGHTS):
        cluster.apply(each, namespace=each["metadata"].get("namespace", namespace))
    try:
        account = the(objects, "ServiceAccount")["metadata"]["name"]
        settings = _settings(the(objects, "ConfigMap"), namespace)
        yield settings, cluster.kubeconfig_for(account, namespace)
    finally:
        for each in of_kind(objects, "ClusterRole", "ClusterRoleBinding"):
            cluster.kubectl("delete", each["kind"], each["metadata"]["name"])


def _settings(chart: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Returns the chart's settings with ports that are free, and small requests."""
    settings = yaml.safe_load(chart["data"]["settings.yaml"])
    own = operator_settings(namespace)
    settings["progress"]["port"] = free_port()
    return {**settings, **{name: own[name] for name in ("httpPort", "stages", "output")}}


def _refusals(operator: OperatorProcess) -> float:
    return sum(
        operator.total("rest_client_requests_total", code=code) for code in ("401", "403", "422")
    )


def test_a_whole_life_needs_no_more_than_the_charts_rights(
    installed: OperatorProcess, experiment: Experiment
) -> None:
    experiment.apply(
        stages={"train": {"sim/hang": "yes"}},
        runPolicy={"ttlSecondsAfterFinished": {"succeeded": 0}, "deleteAfterSeconds": 3},
    )
    experiment.wait_until_running("train")
    experiment.patch({"spec": {"runPolicy": {"suspend": True}}})
    experiment.wait_for_phase("Suspended")
    experiment.patch({"spec": {"runPolicy": {"suspend": False}}})
    experiment.wait_until(lambda: experiment.running_pods("train") != [], "another pod")
    experiment.end_pod("train")
    experiment.wait_until(lambda: not experiment.body(), "the experiment to be deleted")
    experiment.wait_until(lambda: not experiment.jobs(), "its Jobs to be deleted")
    experiment.wait_until(
        lambda: "Completed" in {each["reason"] for each in experiment.events()}, "events"
    )
    secret = experiment.get("secret", f"{RELEASE}-progress")
    assert secret is not None, "the progress endpoint keeps its certificates there"
    assert _refusals(installed) == 0
    assert installed.total("sparse_transfer_reconcile_errors_total") == 0


def test_nothing_is_refused_while_nothing_happens(installed: OperatorProcess) -> None:
    installed.wait_until_idle()
    wait_until(
        lambda: installed.total("rest_client_requests_total", resource="secrets") > 0,
        "the progress endpoint",
        60,
    )
    assert _refusals(installed) == 0


def test_a_namespace_that_goes_with_its_rights_stops_no_other(
    experiments_known: Cluster, namespace: str, experiment: Experiment
) -> None:
    other = experiments_known.namespace()
    values = {"namespaces": [namespace, other]}
    with _as_charted(experiments_known, values, namespace) as (settings, kubeconfig):
        assert settings["namespaces"] == [namespace, other]
        with running_operator(experiments_known, settings, kubeconfig) as operator:
            Experiment(experiments_known, other).apply(stages={"prepare": {"sim/hang": "yes"}})
            wait_until(lambda: operator.total("sparse_transfer_experiments") == 1, "it", 60)
            experiments_known.kubectl("delete", "namespace", other)
            # Watches are asked for anew each minute, and only then are they refused.
            wait_until(
                lambda: (
                    operator.total("rest_client_requests_total", method="WATCH", code="403") > 2
                ),
                "refused watches",
                120,
            )
            wait_until(lambda: not operator.total("sparse_transfer_experiments"), "none", 60)
            experiment.apply()
            experiment.wait_for("Complete")
            assert operator.get("/healthz")[0] == operator.get("/readyz")[0] == 200
            assert (
                operator.total("sparse_transfer_reconcile_errors_total", reason="WatchFailed") == 0
            )
        with running_operator(experiments_known, settings, kubeconfig):
            again = Experiment(experiments_known, namespace, "again")
            again.apply()
            again.wait_for("Complete")
