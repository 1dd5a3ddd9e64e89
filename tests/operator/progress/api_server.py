"""Stands in for the API server where none is needed, or where it has to fail: tokens, Secrets,
and statuses, in memory, over HTTP on loopback."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from tests.operator.progress.background import Background

from sparse_transfer_operator.cluster.connection import Connection

Json = dict[str, Any]
ACCOUNT = "system:serviceaccount"


@dataclass
class ApiServer:
    """What is in memory, and how it answers.

    Args:
        users: Token to the user that it speaks for, and the audience that it is made for.
        secrets: By name.
        patches: Of statuses, as they came.
        uids: Of experiments, by name.
        reviews: How many tokens were asked about.
        troubles: Statuses of HTTP that the next requests get, whatever they want.
        holding: While it is set, reviews wait.
    """

    users: dict[str, tuple[Json, str]] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    patches: list[tuple[str, str, Json]] = field(default_factory=list)
    uids: dict[str, str] = field(default_factory=dict)
    reviews: int = 0
    troubles: deque[int] = field(default_factory=deque)
    holding: bool = False
    _version: int = 0

    def pod_token(self, token: str, audience: str, pod_uid: str, namespace: str = "team") -> str:
        """Makes a token of a pod known, and returns it."""
        extra = {
            "authentication.kubernetes.io/pod-name": ["pod"],
            "authentication.kubernetes.io/pod-uid": [pod_uid],
        }
        user = {"username": f"{ACCOUNT}:{namespace}:default", "extra": extra}
        self.users[token] = (user, audience)
        return token

    async def answer(self, request: web.Request) -> web.Response:
        if self.troubles:
            return self._status(self.troubles.popleft())
        body = await request.json() if request.can_read_body else {}
        if request.path.endswith("/tokenreviews"):
            return await self._review(body)
        if "/secrets" in request.path:
            return self._secret(request, body)
        assert request.path.endswith("/status"), request.path
        assert request.content_type == "application/apply-patch+yaml"
        self.patches.append((request.path, request.query["fieldManager"], body))
        body["metadata"]["uid"] = self.uids[body["metadata"]["name"]]
        return web.json_response(body)

    async def _review(self, body: Json) -> web.Response:
        self.reviews += 1
        while self.holding:
            await asyncio.sleep(0.01)
        spec = body["spec"]
        user, audience = self.users.get(spec["token"], ({}, ""))
        known = audience in spec["audiences"]
        status: Json = {"authenticated": known}
        if known:
            status |= {"user": user, "audiences": [audience]}
        return web.json_response({**body, "status": status}, status=201)

    def _secret(self, request: web.Request, body: Json) -> web.Response:
        name = request.path.rpartition("/")[2] if request.method != "POST" else None
        known = self.secrets.get(name or body["metadata"]["name"])
        if request.method == "GET":
            return web.json_response(known) if known else self._status(404)
        if request.method == "DELETE":
            return web.json_response(self.secrets.pop(name or ""))
        if request.method == "POST" and known:
            return self._status(409)
        if request.method == "PUT":
            if known is None:
                return self._status(404)
            if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
                return self._status(409)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.secrets[body["metadata"]["name"]] = body
        return web.json_response(body)

    @staticmethod
    def _status(code: int) -> web.Response:
        document = {
            "kind": "Status",
            "reason": "Test",
            "code": code,
            "details": {"name": "asked-for"},
        }
        return web.json_response(document, status=code)


@contextmanager
def api_server(background: Background) -> Iterator[tuple[ApiServer, Connection]]:
    """Runs a server, and gives a connection to it, until the block ends."""
    server = ApiServer()

    async def start() -> tuple[web.ServerRunner, Connection]:
        runner = web.ServerRunner(web.Server(server.answer))  # type: ignore[arg-type]
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        client = ApiClient(Configuration(host=f"http://127.0.0.1:{port}"))
        return runner, Connection(client)

    runner, connection = background.run(start())
    try:
        yield server, connection
    finally:
        background.run(connection.close())
        background.run(runner.cleanup())
