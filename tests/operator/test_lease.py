"""The Lease: never two leaders at once, however late the API server answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.lease import Election, LeaseLost
from sparse_transfer_operator.settings import LeaseSettings

SETTINGS = LeaseSettings(duration_seconds=1.2, renew_deadline_seconds=0.9, retry_seconds=0.05)
LATE_SECONDS = 0.4
"""Just below what one try may take."""
LIMIT_SECONDS = 20


@dataclass
class LeaseServer:
    """Keeps one Lease as the API server does.

    Args:
        lease: As it is; None while there is none.
        lag: Seconds until an answer, by who asks: what was asked for is done at once.
        away: Who gets no answer at all.
    """

    lease: dict[str, Any] | None = None
    lag: dict[str, float] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    _version: int = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        who = request.headers["User-Agent"]
        body = await request.json() if request.can_read_body else None
        while who in self.away:
            await asyncio.sleep(0.01)
        status, answer = self._done(request.method, body)
        await asyncio.sleep(self.lag.get(who, 0))
        return web.json_response(answer, status=status)

    def _done(self, method: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            gone = {"kind": "Status", "details": {"name": "sparse-transfer-operator"}}
            return (404, gone) if self.lease is None else (200, self.lease)
        known = {} if self.lease is None else self.lease["metadata"]
        if body["metadata"].get("resourceVersion") != known.get("resourceVersion"):
            return 409, {"kind": "Status"}
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.lease = {**body, "metadata": metadata}
        return 200, self.lease


class NoCredentials(Exception):
    """They cannot be read."""


def _no_credentials(_: Configuration) -> None:
    raise NoCredentials


Candidates = Callable[[str], tuple[Election, Configuration]]
Test = Callable[[LeaseServer, Candidates], Awaitable[None]]


def _run(test: Test) -> None:
    async def served() -> None:
        server = LeaseServer()
        runner = web.ServerRunner(web.Server(server.answer), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        connections: list[Connection] = []

        def candidate(who: str) -> tuple[Election, Configuration]:
            configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
            configuration.api_key["BearerToken"] = who
            client = ApiClient(configuration)
            client.user_agent = who
            connections.append(Connection(client))
            return Election(connections[-1], "here", SETTINGS, who), configuration

        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await test(server, candidate)
        finally:
            for each in connections:
                await each.close()
            await runner.cleanup()

    asyncio.run(served())


def test_a_leader_whose_renewal_was_answered_late_gives_up_before_another_leads() -> None:
    async def test(server: LeaseServer, candidate: Candidates) -> None:
        (first, _), (second, _) = candidate("first"), candidate("second")
        await first.acquire()
        begun = server.lease
        server.lag["first"] = LATE_SECONDS
        held = asyncio.create_task(first.hold())
        while server.lease is begun:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(LATE_SECONDS)
        server.away.add("first")
        await asyncio.wait({held, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert (held.done(), first.leading, second.leading) == (True, False, False)
        with pytest.raises(LeaseLost, match="not be renewed"):
            await held
        await waiting
        assert second.leading

    _run(test)


def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    async def test(server: LeaseServer, candidate: Candidates) -> None:
        (first, _), (second, _) = candidate("first"), candidate("second")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await first.release()
        await waiting
        assert (first.leading, second.leading) == (False, True)
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1

    _run(test)


def test_a_leader_whose_lease_is_anothers_ends() -> None:
    async def test(server: LeaseServer, candidate: Candidates) -> None:
        first, _ = candidate("first")
        await first.acquire()
        assert server.lease is not None
        server.lease["spec"]["holderIdentity"] = "second"
        server.lease["metadata"]["resourceVersion"] = "1000"
        with pytest.raises(LeaseLost, match="second's"):
            await first.hold()
        assert not first.leading

    _run(test)


def test_a_leader_that_cannot_log_in_any_more_ends() -> None:
    async def test(server: LeaseServer, candidate: Candidates) -> None:
        first, configuration = candidate("first")
        await first.acquire()
        configuration.refresh_api_key_hook = _no_credentials  # type: ignore[assignment]
        with pytest.raises(LeaseLost, match="not be renewed"):
            await first.hold()
        assert not first.leading

    _run(test)
