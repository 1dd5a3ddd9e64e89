"""The Secret of the certificates: made once, renewed once, mended, whoever is first."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.cluster.access import Cluster
from tests.operator.progress.api_server import ApiServer
from tests.operator.progress.background import Background
from tests.operator.progress.endpoints import HOST, POD, Endpoint, running_endpoint

from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.cluster.failures import RequestFailed
from sparse_transfer_operator.cluster.login import log_in
from sparse_transfer_operator.progress.certificate_store import CertificateStore, SecretName
from sparse_transfer_operator.progress.certificates import (
    LEAF_LIFE,
    LEAF_RENEWAL,
    Certificates,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
NAME = "progress"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(connection: Connection, clock: Clock, namespace: str = "operator") -> CertificateStore:
    return CertificateStore(connection, SecretName(namespace, NAME), HOST, clock)


def all_at_once(background: Background, stores: list[CertificateStore]) -> list[bytes]:
    """Lets replicas look together, and returns the leaf that each of them shows."""

    async def look() -> list[Certificates]:
        return await asyncio.gather(*(each.certificates() for each in stores))

    found = background.run(look())
    assert len({each.ca.certificate_pem for each in found}) == 1
    return [each.leaf.certificate_pem for each in found]


@pytest.fixture(params=["fake", "real"])
def place(
    request: pytest.FixtureRequest, background: Background
) -> Iterator[tuple[Connection, str]]:
    """A connection to an API server and the operator's namespace there."""
    if request.param == "fake":
        yield request.getfixturevalue("connection"), "operator"
        return
    cluster: Cluster = request.getfixturevalue("control_plane")
    connection = Connection(background.run(log_in(cluster.kubeconfig)))
    yield connection, request.getfixturevalue("namespace")
    background.run(connection.close())


def test_replicas_that_start_together_agree(
    background: Background, place: tuple[Connection, str], clock: Clock
) -> None:
    connection, namespace = place
    stores = [replica(connection, clock, namespace) for _ in range(5)]
    assert len(set(all_at_once(background, stores))) == 1


def test_replicas_that_renew_together_agree_and_keep_the_authority(
    background: Background, place: tuple[Connection, str], clock: Clock
) -> None:
    connection, namespace = place
    stores = [replica(connection, clock, namespace) for _ in range(5)]
    before = background.run(stores[0].certificates())
    clock.now = START + LEAF_LIFE
    (leaf,) = set(all_at_once(background, stores))
    assert leaf != before.leaf.certificate_pem
    again = background.run(replica(connection, clock, namespace).certificates())
    assert again.ca.certificate_pem == before.ca.certificate_pem
    assert again.leaf.certificate_pem == leaf


def test_a_restart_changes_nothing(
    background: Background, connection: Connection, api: ApiServer, clock: Clock
) -> None:
    before = background.run(replica(connection, clock).certificates())
    version = api.secrets[NAME]["metadata"]["resourceVersion"]
    clock.now += timedelta(days=50)
    after = background.run(replica(connection, clock).certificates())
    assert after.to_secret_data() == before.to_secret_data()
    assert api.secrets[NAME]["metadata"]["resourceVersion"] == version


def test_a_deleted_secret_comes_back_with_the_same_authority(
    background: Background, place: tuple[Connection, str], clock: Clock
) -> None:
    connection, namespace = place
    store = replica(connection, clock, namespace)
    before = background.run(store.certificates())
    background.run(connection.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{NAME}"))
    assert background.run(store.certificates()).to_secret_data() == before.to_secret_data()
    other = background.run(replica(connection, clock, namespace).certificates())
    assert other.to_secret_data() == before.to_secret_data()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="no entries"),
        pytest.param({"tls.crt": "%%%"}, id="no base64"),
        pytest.param({"tls.crt": base64.b64encode(b"x").decode()}, id="no certificate"),
    ],
)
def test_a_damaged_secret_is_mended(
    background: Background,
    connection: Connection,
    api: ApiServer,
    clock: Clock,
    data: dict[str, str] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = replica(connection, clock)
    before = background.run(store.certificates())
    api.secrets[NAME]["data"] = data
    assert background.run(store.certificates()).to_secret_data() == before.to_secret_data()
    assert "no usable certificates" in caplog.text
    # One who has never seen good ones makes new ones.
    api.secrets[NAME]["data"] = data
    made = background.run(replica(connection, clock).certificates())
    assert made.ca.certificate_pem != before.ca.certificate_pem


def test_the_keys_are_in_a_secret_of_tls(
    background: Background, connection: Connection, api: ApiServer, clock: Clock
) -> None:
    background.run(replica(connection, clock).certificates())
    assert api.secrets[NAME]["type"] == "kubernetes.io/tls"
    assert set(api.secrets[NAME]["data"]) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}


@pytest.mark.parametrize("trouble", [403, 500])
def test_without_the_secret_there_is_no_endpoint(
    background: Background, connection: Connection, api: ApiServer, clock: Clock, trouble: int
) -> None:
    api.troubles.append(trouble)
    with pytest.raises(RequestFailed):
        background.run(replica(connection, clock).certificates())


def test_a_secret_that_keeps_changing_is_given_up(
    background: Background, connection: Connection, api: ApiServer, clock: Clock
) -> None:
    api.troubles.extend([404, 409] * 10)
    with pytest.raises(RequestFailed, match="keep changing"):
        background.run(replica(connection, clock).certificates())


def test_a_renewed_leaf_is_shown_without_a_restart(
    background: Background, connection: Connection, api: ApiServer
) -> None:
    clock = Clock()
    clock.now = datetime.now(UTC) - LEAF_LIFE + LEAF_RENEWAL - timedelta(days=1)
    with running_endpoint(background, connection, now=clock) as endpoint:
        token = api.pod_token("good", endpoint.url, POD)
        authority = endpoint.ca_pem
        first = shown_by(endpoint)
        background.run(endpoint.inner.reload())
        assert shown_by(endpoint) == first
        clock.now = datetime.now(UTC)
        background.run(endpoint.inner.reload())
        assert shown_by(endpoint) != first
        assert endpoint.ca_pem == authority  # which Jobs have that run already
        assert endpoint.post(token).status == 204


def shown_by(endpoint: Endpoint) -> bytes | None:
    """Returns the leaf that a client sees, which trusts it."""
    with endpoint.connected() as connected:
        return connected.getpeercert(binary_form=True)
