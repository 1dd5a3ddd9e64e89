"""One authenticated connection to the API server, with bounded requests.

The generated API classes of ``kubernetes.aio`` build a model of each answer, which costs more than
all the rest of a reconcile; only their client is used, with plain JSON in and out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.rest import RESTResponse

from .failures import RequestFailed, failure

REQUEST_SECONDS = 5.0
"""Of any request that changes something: well below the Lease's, which is what keeps two operators
from writing at once."""
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
JSON = "application/json"

Answered = Callable[[str, str, int], None]
"""Called with method, resource and status (0 without an answer) of each request."""


class Connection:
    """Talks to the API server as whoever the client is logged in as.

    Args:
        client: Logged in.
        answered: Counts requests.
    """

    def __init__(self, client: ApiClient, answered: Answered = lambda *_: None) -> None:
        self.client = client
        self._http: Callable[..., Awaitable[RESTResponse]] = client.rest_client.request
        self._answered = answered

    async def close(self) -> None:
        """Closes its sockets."""
        await self.client.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = JSON,
        accept: str = JSON,
        seconds: float = REQUEST_SECONDS,
    ) -> Any:
        """Sends a request and returns the answer's JSON.

        Args:
            method: Of HTTP.
            path: Below the server's address.
            query: Parameters.
            body: What can be JSON; None for none.
            content: The body's type.
            accept: The answer's type.
            seconds: That the whole may take.

        Raises:
            RequestFailed: Or one of its subclasses, for whatever goes wrong.
        """
        resource = resource_of(path)
        try:
            status, answer, retry_after = await self._send(
                method, path, query, body, content, accept, seconds
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._answered(method, resource, 0)
            name = "Timeout" if isinstance(error, TimeoutError) else "ConnectionFailed"
            raise RequestFailed(name, f"{method} {path}: {error!r}") from error
        self._answered(method, resource, status)
        try:
            document = json.loads(answer) if answer else None
        except ValueError as error:
            if status >= 300:
                raise failure(status, None, retry_after) from error
            raise RequestFailed("NoJson", f"{method} {path}: the answer is no JSON") from error
        if status >= 300:
            raise failure(status, document, retry_after)
        return document

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content: str,
        accept: str,
        seconds: float,
    ) -> tuple[int, bytes, str | None]:
        configuration = self.client.configuration
        headers = {
            "Accept": accept,
            "Content-Type": content,
            "User-Agent": self.client.user_agent,
            **await authorization(self.client),
        }
        url = f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        async with asyncio.timeout(seconds):
            answer = await self._http(
                method, url, headers=headers, body=body, _request_timeout=seconds
            )
            # Reading gives the connection back to the pool.
            content_of = await answer.read()  # type: ignore[no-untyped-call]
            return answer.status, content_of, answer.headers.get("Retry-After")


async def authorization(client: ApiClient) -> dict[str, str]:
    """Returns the headers that say who the client is, with a token that is still good."""
    found = await client.configuration.auth_settings()
    return {each["key"].title(): each["value"] for each in found.values() if each["value"]}


def resource_of(path: str) -> str:
    """Returns what a path is about, such as ``jobs`` or ``sparsetransferexperiments/status``."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    return "/".join([*rest[:1], *rest[2:3]]) or "discovery"
