"""Leader election: of several operators the one that holds a Lease reconciles.

As in Kubernetes' own controllers: the clocks of others are not trusted, a Lease counts as left when
it has not changed for its duration, as seen from here. A leader that cannot renew it gives up well
before, and with it the process: nothing of it can write after another one has taken over. Others
may have seen a renewal as early as it was asked for, so that its time counts from there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .bodies import Body, mapping, text
from .cluster.connection import Connection
from .cluster.failures import Conflict, NotFound, RequestFailed
from .settings import LeaseSettings

_API = "coordination.k8s.io/v1"

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """The Lease is another's, or may be."""


@dataclass
class _Seen:
    """A Lease as it was seen here.

    Args:
        body: All of it.
        since: When this version was seen first, in monotonic seconds.
    """

    body: Body
    since: float


class Election:
    """Takes, keeps and gives back one Lease.

    Args:
        connection: To the API server.
        namespace: The Lease's.
        settings: Its name and times.
        identity: Of this process; no other has it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        settings: LeaseSettings,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._collection = f"/apis/{_API}/namespaces/{namespace}/leases"
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._seen: _Seen | None = None
        self._renewed = float("-inf")
        self.leading = False
        self.heard = clock()
        """When the API server last answered, in monotonic seconds."""

    async def acquire(self) -> None:
        """Waits until the Lease is this process's."""
        while not await self._try():
            # Two that wait shall not ask at the same time for ever.
            await asyncio.sleep(self._settings.retry_seconds * random.uniform(0.8, 1.2))
        self.leading = True
        _log.info("%s leads", self._identity)

    async def hold(self) -> None:
        """Renews the Lease for as long as that works.

        Raises:
            LeaseLost: It does not work any more.
        """
        while (left := self._left()) > 0:
            await asyncio.sleep(min(self._settings.retry_seconds, left))
            if self._left() <= 0:
                break  # it slept for longer than that
            if not await self._try() and self._holder() not in ("", self._identity):
                self.leading = False
                raise LeaseLost(f"the Lease is {self._holder()}'s")
        self.leading = False
        raise LeaseLost("the Lease could not be renewed")

    def _left(self) -> float:
        """Returns for how many seconds it may still be tried to renew the Lease."""
        return self._renewed + self._settings.renew_deadline_seconds - self._clock()

    async def release(self) -> None:
        """Gives the Lease back, so that the next one need not wait."""
        if not self.leading or self._seen is None:
            return
        self.leading = False
        try:
            await self._put({"holderIdentity": "", "leaseDurationSeconds": 1})
        except RequestFailed as error:
            _log.warning("the Lease was not given back: %s", error)

    async def _try(self) -> bool:
        """Takes or renews the Lease; returns whether it is this process's now."""
        begun, limit = self._clock(), self._settings.renew_deadline_seconds / 2
        if self.leading:
            limit = min(limit, self._left())
        try:
            async with asyncio.timeout(limit):
                if not await self._take():
                    return False
            self._renewed = begun
            return True
        except (Conflict, NotFound):
            self._seen = None  # another one was faster, or it was deleted: look again next time
        except (RequestFailed, TimeoutError) as error:
            _log.warning("Lease: %s", error or "no answer in time")
        except Exception:  # noqa: BLE001 (of credentials, say: whatever it is, nothing was renewed)
            _log.exception("Lease: not asked for")
        return False

    async def _take(self) -> bool:
        if not (self.leading and self._seen is not None):
            try:
                await self._look()
            except NotFound:
                await self._create()
                return True
        if not self._may_take():
            return False
        await self._put(self._claim())
        return True

    async def _look(self) -> None:
        body = await self._connection.request("GET", self._path)
        self.heard = self._clock()
        if self._seen is None or _version(body) != _version(self._seen.body):
            self._seen = _Seen(body, self._clock())

    def _may_take(self) -> bool:
        if self._seen is None or self._holder() in ("", self._identity):
            return True
        lasts = mapping(self._seen.body, "spec").get("leaseDurationSeconds")
        duration = lasts if isinstance(lasts, int) else self._settings.duration_seconds
        return self._clock() - self._seen.since > duration

    def _claim(self) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(mapping(self._seen.body, "spec")) if self._seen else {}
        claim = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._settings.duration_seconds)),
            "renewTime": now,
        }
        if spec.get("holderIdentity") != self._identity:
            taken = spec.get("leaseTransitions")
            claim["acquireTime"] = now
            claim["leaseTransitions"] = (taken if isinstance(taken, int) else -1) + 1
        return claim

    async def _create(self) -> None:
        body = {
            "apiVersion": _API,
            "kind": "Lease",
            "metadata": {"name": self._settings.name},
            "spec": self._claim(),
        }
        made = await self._connection.request("POST", self._collection, body=body)
        self._seen = _Seen(made, self._clock())
        self.heard = self._clock()

    async def _put(self, spec: dict[str, Any]) -> None:
        assert self._seen is not None
        body = {**self._seen.body, "spec": {**mapping(self._seen.body, "spec"), **spec}}
        put = await self._connection.request("PUT", self._path, body=body)
        self._seen = _Seen(put, self._clock())
        self.heard = self._clock()

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._settings.name}"

    def _holder(self) -> str:
        return text(mapping(self._seen.body, "spec"), "holderIdentity") if self._seen else ""


def _version(body: Body) -> str:
    return text(mapping(body, "metadata"), "resourceVersion")
