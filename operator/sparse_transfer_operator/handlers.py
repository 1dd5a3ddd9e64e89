"""kopf's part: it watches experiments, Jobs and pods, and its handlers only pass on what it sees.

Nothing is handled by kopf beyond that: no finalizers, no annotations, no retries, no events of its
own. A kopf worker per object only carries the event over, so that a burst of objects costs neither
connections nor memory; reconciling has a queue of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf

# kopf.spawn_tasks takes it as a parameter, but its class has no public name.
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from kubernetes.aio.client import ApiClient

from sparse_transfer_api.contract import GROUP, PLURAL, VERSION

from .cluster.connection import Answered, authorization, resource_of
from .names import LABEL_EXPERIMENT
from .observer import Kind, News, Observer
from .watches import WATCH_SECONDS, Watches

RESOURCES = {
    Kind.EXPERIMENT: (GROUP, VERSION, PLURAL),
    Kind.JOB: ("batch", "v1", "jobs"),
    Kind.POD: ("", "v1", "pods"),
}
_PAGE = 100
"""Objects of one answer to a listing, each some 40 kB in memory until it is taken in."""
_WORKERS = 200
_IDLE_SECONDS = 0.02
"""A worker keeps its place, and its object's last event, for so long: together these let 10 000
objects a second through."""

_REFUSED_SECONDS = 8
"""Before what is not shown is asked for again; kopf waits for up to 5 more."""

_log = logging.getLogger(__name__)


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares objects with what it handled last; nobody asks for that here."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Stores nothing."""


class _NoProgress(kopf.ProgressStorage):
    """kopf keeps account of retried handlers; there are none."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Stores nothing."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Purges nothing."""

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Touches nothing."""

    def clear(self, *, essence: Any) -> Any:
        return essence


class NoMemories(ResourceMemories):
    """kopf keeps a kilobyte on each object for what it does with handlers of other kinds."""

    async def recall(self, raw_body: Any, **more: Any) -> ResourceMemory:
        """Returns a fresh memory, which is forgotten after the event."""
        return await super().recall(raw_body, **{**more, "ephemeral": True})


def kopf_settings() -> kopf.OperatorSettings:
    """Returns kopf's settings; none of them may write anything to an object."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.consistency_timeout = 0
    settings.posting.enabled = False
    settings.posting.level = logging.CRITICAL
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (0.1, 0.5, 1, 2, 3, 5, 5, 5)
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 15
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = _PAGE
    for kind in (Kind.JOB, Kind.POD):
        settings.watching.label_selectors[RESOURCES[kind]] = LABEL_EXPERIMENT
    settings.queueing.worker_limit = _WORKERS
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.queueing.exit_timeout = 1
    settings.execution.max_workers = 1
    return settings


def registry(
    client: ApiClient,
    observer: Observer,
    watches: Watches,
    notice: Callable[[News | None], None],
    answered: Answered,
    failed: Callable[[str], None],
) -> kopf.OperatorRegistry:
    """Returns kopf's handlers.

    Args:
        client: Whose credentials kopf uses, too.
        observer: Takes in what is seen.
        watches: Keeps account of the watches.
        notice: Called with what is new.
        answered: Counts requests.
        failed: Counts what goes wrong, which kopf would only log.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        session = _session(client, watches, answered, failed)
        return kopf.AiohttpSession(server=client.configuration.host, aiohttp_session=session)

    def listen(kind: Kind) -> None:
        @kopf.on.event(*RESOURCES[kind], registry=handlers, id=f"{kind}-event")
        async def pass_on(event: kopf.RawEvent, **_: Any) -> None:
            watches.told(kind)
            body = event["object"]
            gone = event["type"] == "DELETED"
            try:
                notice(observer.forget(kind, body) if gone else observer.see(kind, body))
            except Exception:  # noqa: BLE001 (the top edge: one object holds up no other)
                failed("EventFailed")
                _log.exception("an event of kind %s was not taken in", kind)

    for kind in Kind:
        listen(kind)
    return handlers


def _session(
    client: ApiClient, watches: Watches, answered: Answered, failed: Callable[[str], None]
) -> aiohttp.ClientSession:
    """Returns a session that is logged in as the client is, and that keeps account."""

    async def accounted(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(await authorization(client))
        path, watch = request.url.path, "watch" in request.url.query
        try:
            response = await handler(request)
        except (aiohttp.ClientError, TimeoutError, asyncio.CancelledError):
            answered("WATCH" if watch else request.method, resource_of(path), 0)
            raise
        answered("WATCH" if watch else request.method, resource_of(path), response.status)
        if watches.answered(path, watch, response.status):
            response.close()
            failed("WatchRefused")
            await asyncio.sleep(_REFUSED_SECONDS)
            # kopf asks again after a lost connection; a refusal would end the watches of all.
            raise aiohttp.ClientConnectionError(f"{path} is not shown")
        return response

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=client.rest_client.ssl_context),
        proxy=client.configuration.proxy,
        middlewares=(accounted,),
        headers={"User-Agent": client.user_agent},
    )
