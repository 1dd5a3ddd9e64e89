"""Writes of progress through the endpoint: how many, by whom, and what happens to failures."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.operator.progress.api_server import ApiServer
from tests.operator.progress.background import Background
from tests.operator.progress.endpoints import (
    EXPERIMENT,
    KEY,
    POD,
    REPORT,
    Endpoint,
    running_endpoint,
)
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import Stage, progress_path
from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.progress import ExperimentId, PodOwner, RunningStage

STARTED = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN = RunningStage(Stage.TRAIN, KEY, STARTED)


def settle(background: Background, endpoint: Endpoint, running: RunningStage | None) -> None:
    async def settled() -> None:
        endpoint.inner.settle(EXPERIMENT, running, None)

    background.run(settled())


def shown(api: ApiServer) -> list[Any]:
    """Returns what was written, in order."""
    return [document.get("status") for _, _, document in api.patches]


def test_progress_is_taken_away_when_nothing_runs(
    background: Background, endpoint: Endpoint, api: ApiServer
) -> None:
    settle(background, endpoint, TRAIN)
    assert endpoint.post(api.pod_token("good", endpoint.url, POD)).status == 204
    wait_until(lambda: len(api.patches) == 1, "a write")
    settle(background, endpoint, None)
    wait_until(lambda: shown(api)[1:] == [None], "that progress is taken away")
    assert endpoint.taken[-1] == (EXPERIMENT, None)


def test_a_report_of_an_edited_experiments_old_stage_is_refused(
    background: Background, endpoint: Endpoint, api: ApiServer
) -> None:
    settle(background, endpoint, RunningStage(Stage.TRAIN, "edited", STARTED))
    assert endpoint.post(api.pod_token("good", endpoint.url, POD)).status == 403
    assert not api.patches


def test_all_experiments_together_are_written_at_a_bounded_rate(
    background: Background, connection: Connection, api: ApiServer
) -> None:
    experiments = [ExperimentId("team", f"e{n}", f"uid{n}") for n in range(10)]
    with running_endpoint(background, connection, writes_per_second=20) as endpoint:
        for each in experiments:
            endpoint.owners[each.uid] = PodOwner(each, Stage.TRAIN, KEY)
            api.pod_token(each.uid, endpoint.url, each.uid)
            api.uids[each.name] = each.uid
        begin = time.monotonic()
        for each in experiments:
            path = progress_path(each.namespace, each.name)
            assert endpoint.post(each.uid, path=path).status == 204
        wait_until(lambda: len(api.patches) == len(experiments), "all writes")
        # One may go at once; so many can never be done in less time.
        assert time.monotonic() - begin >= (len(experiments) - 1) / 20


@pytest.mark.parametrize("trouble", [429, 500, 503])
def test_a_failed_write_is_made_up_for_by_the_next_report(
    endpoint: Endpoint, api: ApiServer, trouble: int, caplog: pytest.LogCaptureFixture
) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token).status == 204
    wait_until(lambda: len(api.patches) == 1, "a write")
    with caplog.at_level(logging.WARNING):
        api.troubles.append(trouble)
        # Its token is known, so that the next request is the write.
        assert endpoint.post(token, {**REPORT, "step": 6}).status == 204
        wait_until(lambda: not api.troubles, "a failure")
        wait_until(lambda: len(api.patches) == 2, "another try")
    assert shown(api)[1]["progress"]["step"] == 6
    assert "team/reviews" in caplog.text


@pytest.mark.parametrize("trouble", [404, 409])
def test_an_experiment_that_is_gone_is_not_written_again(
    endpoint: Endpoint, api: ApiServer, trouble: int, caplog: pytest.LogCaptureFixture
) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token).status == 204
    wait_until(lambda: len(api.patches) == 1, "a write")
    api.troubles.append(trouble)
    assert endpoint.post(token, {**REPORT, "step": 6}).status == 204
    wait_until(lambda: not api.troubles, "a failure")
    assert not caplog.records


def test_what_was_written_to_another_experiment_of_that_name_is_taken_back(
    endpoint: Endpoint, api: ApiServer
) -> None:
    api.uids[EXPERIMENT.name] = "another"
    assert endpoint.post(api.pod_token("good", endpoint.url, POD)).status == 204
    wait_until(lambda: [bool(each) for each in shown(api)] == [True, False], "two writes")


def test_a_replica_that_leads_no_more_writes_nothing(
    background: Background, endpoint: Endpoint, api: ApiServer
) -> None:
    settle(background, endpoint, TRAIN)
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token).status == 204
    wait_until(lambda: len(api.patches) == 1, "a write")
    endpoint.leads = False
    settle(background, endpoint, None)
    assert endpoint.post(token).status == 503
    assert len(api.patches) == 1
    endpoint.leads = True
    wait_until(lambda: len(api.patches) == 2, "the write of a leader")
