"""A loop, an API server of ours, and the endpoint over TLS, each fresh for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.operator.progress.api_server import ApiServer, api_server
from tests.operator.progress.background import Background, background_loop
from tests.operator.progress.endpoints import EXPERIMENT, Endpoint, running_endpoint

from sparse_transfer_operator.cluster.connection import Connection


@pytest.fixture
def background() -> Iterator[Background]:
    with background_loop() as running:
        yield running


@pytest.fixture
def served(background: Background) -> Iterator[tuple[ApiServer, Connection]]:
    with api_server(background) as running:
        yield running


@pytest.fixture
def api(served: tuple[ApiServer, Connection]) -> ApiServer:
    served[0].uids[EXPERIMENT.name] = EXPERIMENT.uid
    return served[0]


@pytest.fixture
def connection(served: tuple[ApiServer, Connection]) -> Connection:
    return served[1]


@pytest.fixture
def endpoint(background: Background, connection: Connection) -> Iterator[Endpoint]:
    with running_endpoint(background, connection) as running:
        yield running
