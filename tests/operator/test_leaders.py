"""Two operators: one leads, the other waits, and takes over."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment
from tests.operator.operators import OperatorProcess, operator_settings, start_operator
from tests.servers.processes import free_port, wait_until

from sparse_transfer_operator.settings import LeaseSettings

QUICK = {"durationSeconds": 4, "renewDeadlineSeconds": 3, "retrySeconds": 0.5}
PATIENCE = 60

Pair = tuple[OperatorProcess, OperatorProcess]


@pytest.fixture
def pair(experiments_known: Cluster, namespace: str) -> Iterator[Pair]:
    """Two operators of one Lease; the first leads."""
    settings = operator_settings(namespace, lease=QUICK)
    started: list[OperatorProcess] = []

    def start(port: int) -> OperatorProcess:
        cluster = experiments_known
        own = {**settings, "httpPort": port}
        started.append(start_operator(cluster.kubeconfig, own, cluster.folder))
        return started[-1]

    try:
        first = start(free_port())
        first.wait_until_leading()
        second = start(free_port())
        wait_until(lambda: second.get("/readyz")[0] == 200, "a standby that is ready", PATIENCE)
        yield first, second
    finally:
        for operator in started:
            if operator.process.poll() is None:
                operator.process.send_signal(signal.SIGCONT)
                operator.stop()


def _holder(experiment: Experiment) -> str:
    lease = experiment.get("lease", "sparse-transfer-operator")
    return str(lease["spec"]["holderIdentity"])


def test_only_the_leader_writes(pair: Pair, experiment: Experiment) -> None:
    leader, standby = pair
    experiment.apply()
    experiment.wait_for("Complete")
    assert leader.writes() > 0
    assert standby.writes() == 0
    assert not standby.vitals()["leading"]
    assert standby.get("/healthz")[0] == standby.get("/metrics")[0] == 200


def test_a_leader_that_stops_hands_over_at_once(pair: Pair, experiment: Experiment) -> None:
    leader, standby = pair
    experiment.apply(stages={"train": {"sim/hang": "yes"}})
    experiment.wait_until_running("train")
    assert leader.stop() == 0
    standby.wait_until_leading()
    experiment.end_pod("train")
    experiment.wait_for("Complete")


def test_a_killed_leader_is_followed_when_its_lease_ends(
    pair: Pair, experiment: Experiment
) -> None:
    leader, standby = pair
    experiment.apply(stages={"train": {"sim/hang": "yes"}})
    experiment.wait_until_running("train")
    leader.kill()
    standby.wait_until_leading()
    experiment.end_pod("train")
    experiment.wait_for("Complete")


def test_a_leader_that_slept_too_long_ends(pair: Pair, experiment: Experiment) -> None:
    leader, standby = pair
    leader.process.send_signal(signal.SIGSTOP)
    standby.wait_until_leading()
    holder = _holder(experiment)
    leader.process.send_signal(signal.SIGCONT)
    assert leader.process.wait(PATIENCE) == 1
    assert _holder(experiment) == holder
    experiment.apply()
    experiment.wait_for("Complete")


def test_the_usual_times_are_those_of_kubernetes() -> None:
    usual = LeaseSettings()
    assert (usual.duration_seconds, usual.renew_deadline_seconds, usual.retry_seconds) == (
        15,
        10,
        2,
    )
