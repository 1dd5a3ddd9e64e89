"""The endpoint as its clients meet it: over TLS on loopback, with pods that a test makes up."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.operator.progress.background import Background
from tests.servers.processes import free_port

from sparse_transfer_api.contract import Stage, progress_path
from sparse_transfer_api.status import ProgressStatus
from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.progress import ExperimentId, Limits, PodOwner, ProgressEndpoint
from sparse_transfer_operator.settings import OperatorSettings, ProgressSettings

HOST = "localhost"
KEY = "abcdefghij"
EXPERIMENT = ExperimentId("team", "reviews", "experiment-uid")
POD = "pod-uid"
REPORT: Mapping[str, Any] = {
    "schemaVersion": 1,
    "stage": "train",
    "activity": "transfer",
    "step": 5,
    "totalSteps": 20,
    "percentage": 25.0,
    "metrics": {"loss": 0.5},
}


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: Of HTTP.
        headers: By lower-case name.
        body: As it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """What the refusal says; all of its body is that."""
        document = json.loads(self.body)
        assert list(document) == ["error"]
        return str(document["error"])


@dataclass
class Endpoint:
    """A running endpoint.

    Args:
        inner: The endpoint itself.
        settings: With its host and port.
        owners: Pod UID to what it works on.
        leads: Whether this replica leads.
        taken: What was handed on to metrics.
    """

    settings: OperatorSettings
    inner: ProgressEndpoint = field(init=False)
    owners: dict[str, PodOwner] = field(default_factory=dict)
    leads: bool = True
    taken: list[tuple[ExperimentId, ProgressStatus | None]] = field(default_factory=list)

    def owner(self, pod_uid: str) -> PodOwner | None:
        return self.owners.get(pod_uid)

    @property
    def url(self) -> str:
        """The endpoint's address, and the audience of its tokens."""
        return self.settings.progress.url

    @property
    def port(self) -> int:
        return self.settings.progress.port

    @property
    def ca_pem(self) -> str:
        return self.inner.access().ca_pem

    def connected(self, **options: Any) -> ssl.SSLSocket:
        """Returns a socket after its handshake, to write what one likes to."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        for name, value in options.items():
            setattr(context, name, value)
        plain = socket.create_connection((HOST, self.port), timeout=20)
        return context.wrap_socket(plain, server_hostname=HOST)

    def post(
        self,
        token: str | None,
        body: bytes | Mapping[str, Any] = REPORT,
        path: str = progress_path(EXPERIMENT.namespace, EXPERIMENT.name),
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends a request and returns the answer."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        connection = http.client.HTTPSConnection(HOST, self.port, context=context, timeout=20)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        authorized = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            connection.request(method, path, content, {**authorized, **(headers or {})})
            return read_answer(connection.getresponse())
        finally:
            connection.close()


def read_answer(response: http.client.HTTPResponse) -> Answer:
    """Reads an answer to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def answer_on(connection: ssl.SSLSocket) -> Answer:
    """Reads an answer from a socket."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return read_answer(response)


@contextmanager
def running_endpoint(
    background: Background,
    connection: Connection,
    limits: Limits | None = None,
    namespace: str = "operator",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **progress: Any,
) -> Iterator[Endpoint]:
    """Runs an endpoint on loopback until the block ends.

    Args:
        background: Where it runs.
        connection: To the API server.
        limits: Of connections.
        namespace: The operator's own.
        now: The endpoint's clock.
        progress: Settings of it.
    """
    values = {"host": HOST, "port": free_port(), "interval_seconds": 0.1, **progress}
    settings = OperatorSettings(namespace=namespace, progress=ProgressSettings(**values))
    endpoint = Endpoint(settings)
    endpoint.owners[POD] = PodOwner(EXPERIMENT, Stage.TRAIN, KEY)

    async def start() -> ProgressEndpoint:
        inner = ProgressEndpoint(
            settings,
            connection,
            endpoint,
            lambda: endpoint.leads,
            lambda experiment, progress: endpoint.taken.append((experiment, progress)),
            address="127.0.0.1",
            limits=limits,
            now=now,
        )
        await inner.start()
        return inner

    endpoint.inner = background.run(start())
    try:
        yield endpoint
    finally:
        background.run(endpoint.inner.stop())
