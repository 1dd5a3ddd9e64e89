"""What is asked of a real API server, and how its refusals are understood."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment

from sparse_transfer_api.errors import AccessError
from sparse_transfer_operator.actions import Event
from sparse_transfer_operator.bodies import text
from sparse_transfer_operator.cluster.audit import Audit
from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.cluster.events import BURST, EventRecorder
from sparse_transfer_operator.cluster.failures import (
    Conflict,
    NotFound,
    NotServed,
    Refused,
    RequestFailed,
    failure,
)
from sparse_transfer_operator.cluster.login import log_in
from sparse_transfer_operator.cluster.writes import ClusterWrites, NameTaken
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.observer import Kind, News, Observer

Requests = Callable[[Connection], Awaitable[Any]]

POD = {"restartPolicy": "Never", "containers": [{"name": "runner", "image": "simulated"}]}


def _asked(cluster: Cluster, requests: Requests) -> Any:
    """Returns what requests come to that are made as the administrator."""

    async def ask() -> Any:
        connection = Connection(await log_in(cluster.kubeconfig))
        try:
            async with asyncio.timeout(60):
                return await requests(connection)
        finally:
            await connection.close()

    return asyncio.run(ask())


def _manifest(name: str, uid: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "name": "film-reviews",
        "uid": uid,
        "controller": True,
    }
    return {
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"suspend": True, "template": {"spec": POD}},
    }


def _uid(body: Any) -> str:
    return text(body["metadata"], "uid")


def test_a_job_that_is_there_already_is_adopted_by_its_owner_only(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    experiment.apply()
    uid = experiment.body()["metadata"]["uid"]

    async def requests(connection: Connection) -> None:
        writes = ClusterWrites(connection)
        made = await writes.create_job(experiment.namespace, _manifest("a", uid), uid)
        again = await writes.create_job(experiment.namespace, _manifest("a", uid), uid)
        assert _uid(made) == _uid(again)
        with pytest.raises(NameTaken):
            await writes.create_job(experiment.namespace, _manifest("a", "other"), "other")

    _asked(experiments_known, requests)


def test_only_the_very_job_that_is_meant_is_changed(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    experiment.apply()
    uid = experiment.body()["metadata"]["uid"]

    async def requests(connection: Connection) -> None:
        writes, namespace = ClusterWrites(connection), experiment.namespace
        job = await writes.create_job(namespace, _manifest("a", uid), uid)
        assert await writes.suspend_job(namespace, "a", "another", suspend=False) is None
        assert await writes.delete_job(namespace, "a", "another") is None
        resumed = await writes.suspend_job(namespace, "a", _uid(job), suspend=False)
        assert resumed is not None
        assert resumed["spec"]["suspend"] is False
        deleted = await writes.delete_job(namespace, "a", _uid(job))
        assert deleted is None or "deletionTimestamp" in deleted["metadata"]
        assert await writes.delete_job(namespace, "b", "another") is None

    _asked(experiments_known, requests)


def test_a_status_is_written_to_the_version_that_it_was_made_of(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    experiment.apply()
    key = ObjectKey(experiment.namespace, experiment.name)
    version = int(experiment.body()["metadata"]["resourceVersion"])

    async def requests(connection: Connection) -> None:
        writes = ClusterWrites(connection)
        written = await writes.apply_status(key, version, {"phase": "Training"})
        newer = int(written["metadata"]["resourceVersion"])
        again = await writes.apply_status(key, newer, {"phase": "Training"})
        assert written["status"] == {"phase": "Training"}
        assert again["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
        assert await writes.read_experiment(key) == again
        with pytest.raises(Conflict):
            await writes.apply_status(key, version, {"phase": "Failed"})
        with pytest.raises(NotFound):
            await writes.apply_status(ObjectKey(key.namespace, "none"), newer, {})
        with pytest.raises(Refused):
            await writes.apply_status(key, newer, {"phase": "Dreaming"})
        await writes.delete_experiment(key, "another")

    _asked(experiments_known, requests)
    assert experiment.status() == {"phase": "Training"}


def test_an_audit_finds_what_nobody_told(
    experiments_known: Cluster, experiment: Experiment
) -> None:
    other = Experiment(experiment.cluster, experiment.namespace, "other")
    experiment.apply()
    other.apply()
    observer, changed = Observer(), list[ObjectKey]()

    def notice(news: News | None) -> None:
        if news is not None:
            changed.append(news.key)

    async def audit(connection: Connection) -> None:
        await Audit(connection, observer, (experiment.namespace,), notice).run()

    _asked(experiments_known, audit)
    keys = [ObjectKey(experiment.namespace, name) for name in ("film-reviews", "other")]
    assert sorted(observer.experiments()) == sorted(changed) == keys
    changed.clear()
    _asked(experiments_known, audit)
    assert changed == []
    other.kubectl("delete", "ste", "other")
    experiment.patch({"spec": {"optimLevel": 0.7}})
    _asked(experiments_known, audit)
    assert sorted(changed) == keys
    assert observer.experiments() == keys[:1]
    seen = observer.look(keys[0])
    assert seen is not None
    assert seen[0].generation == 2
    experiment.kubectl("delete", "ste", experiment.name)
    _asked(experiments_known, audit)
    assert list(observer.known(Kind.EXPERIMENT)) == []


def test_an_event_is_counted_up_and_there_are_never_too_many(
    control_plane: Cluster, namespace: str
) -> None:
    key = ObjectKey(namespace, "film-reviews")

    async def tell(connection: Connection) -> int:
        recorder = EventRecorder(connection, clock=lambda: 0.0)
        for _ in range(3):
            recorder.tell(key, "1", Event("JobRefused", "x" * 5000, warning=True))
        for number in range(BURST):
            recorder.tell(key, "1", Event("Told", str(number)))
        await recorder.flush(30)
        return recorder.dropped

    assert _asked(control_plane, tell) == 3
    events = control_plane.get("events", f"--namespace={namespace}")["items"]
    assert len(events) == BURST - 2
    (refused,) = (each for each in events if each["reason"] == "JobRefused")
    assert (refused["count"], refused["type"]) == (3, "Warning")
    assert refused["involvedObject"]["name"] == "film-reviews"
    assert len(refused["message"]) == 1024


def test_nobody_answers(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "nobody"
    kubeconfig.write_text(json.dumps(NOBODY))

    async def ask() -> None:
        connection = Connection(await log_in(kubeconfig))
        try:
            await connection.request("GET", "/api")
        finally:
            await connection.close()

    with pytest.raises(RequestFailed) as caught:
        asyncio.run(ask())
    assert (caught.value.status, caught.value.reason) == (0, "ConnectionFailed")


def test_a_login_that_is_not_possible_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="--kubeconfig"):
        asyncio.run(log_in(None))
    with pytest.raises(AccessError, match="missing"):
        asyncio.run(log_in(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"reason": "NotFound", "details": {"name": "film-reviews"}}, NotFound),
        (404, {"reason": "NotFound"}, NotServed),
        (404, "404 page not found", NotServed),
        (409, {"reason": "AlreadyExists"}, Conflict),
        (403, {"reason": "Forbidden"}, Refused),
        (422, None, Refused),
        (429, {"details": {"retryAfterSeconds": 3}}, RequestFailed),
        (500, "no document", RequestFailed),
        (599, None, RequestFailed),
    ],
)
def test_failures_are_sorted_by_what_can_be_done(
    status: int, body: Any, kind: type[RequestFailed]
) -> None:
    found = failure(status, body)
    assert type(found) is kind
    assert found.status == status
    assert found.reason
    assert found.retry_after == (3 if status == 429 else None)
    assert failure(503, None, "7").retry_after == 7


NOBODY = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {"token": "t"}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "current-context": "a",
}
