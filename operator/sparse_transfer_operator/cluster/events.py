"""Events for people: the same one is counted up, and there are never too many.

They are written behind the reconciler's back, slowly and in order. Losing some changes nothing:
where too many wait, the least important of them are dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sparse_transfer_api.contract import API_VERSION, KIND

from ..actions import Event
from ..names import FIELD_MANAGER
from ..object_key import ObjectKey
from .connection import MERGE_PATCH, Connection
from .failures import NotFound, RequestFailed

MAX_MESSAGE = 1024
"""Characters that the API server takes."""
MAX_WAITING = 2000
PER_SECOND = 25.0
BURST = 25
"""Of one experiment at once; after that one in ``REFILL_SECONDS``."""
REFILL_SECONDS = 60.0
_REMEMBERED = 4096
_PAUSE_SECONDS = 5.0
"""After a failure."""
_TELL_SECONDS = 60.0
"""Between two words about losses."""

_log = logging.getLogger(__name__)


@dataclass
class _Told:
    """An event that was written: a repeated one counts it up."""

    name: str
    count: int = 1


@dataclass
class _Budget:
    """How many more events one experiment may have."""

    left: float = BURST
    since: float = field(default_factory=time.monotonic)

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + (now - self.since) / REFILL_SECONDS)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True)
class _Waiting:
    key: ObjectKey
    uid: str
    event: Event
    when: datetime


class EventRecorder:
    """Writes core/v1 Events.

    Args:
        connection: To the API server.
        clock: Monotonic seconds.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._told: OrderedDict[tuple[str, Event], _Told] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self.dropped = 0
        self._lost = 0
        self._told_of_losses = clock()

    def tell(self, key: ObjectKey, uid: str, event: Event) -> None:
        """Wants an event to be written, some time soon."""
        budget = self._budgets.setdefault(uid, _Budget(since=self._clock()))
        _bound(self._budgets, uid)
        if not budget.take(self._clock()) or not self._has_room(event):
            self.dropped += 1
            return
        self._waiting.append(_Waiting(key, uid, event, datetime.now(UTC)))
        self._arrived.set()

    async def run(self) -> None:
        """Writes events until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                await self._write_next()
                await asyncio.sleep(1 / PER_SECOND)
                self._tell_of_losses()
            self._arrived.clear()

    async def flush(self, seconds: float) -> None:
        """Writes what waits, as far as the time reaches."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await self._write_next()
        except TimeoutError:
            _log.warning("%d events were not written in time", len(self._waiting))

    def _tell_of_losses(self) -> None:
        if self.dropped != self._lost and self._clock() - self._told_of_losses >= _TELL_SECONDS:
            _log.warning("%d events were dropped", self.dropped - self._lost)
            self._lost, self._told_of_losses = self.dropped, self._clock()

    def _has_room(self, event: Event) -> bool:
        if len(self._waiting) < MAX_WAITING:
            return True
        if not event.warning:
            return False
        idle = next((each for each in self._waiting if not each.event.warning), None)
        if idle is not None:
            self._waiting.remove(idle)
            self.dropped += 1
        return idle is not None

    async def _write_next(self) -> None:
        told = self._waiting.popleft()
        try:
            await self._write(told)
        except NotFound:
            pass  # the namespace is gone
        except RequestFailed as error:
            self.dropped += 1
            _log.warning("event %s of %s not written: %s", told.event.reason, told.key, error)
            if not error.status:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _write(self, told: _Waiting) -> None:
        known = self._told.get((told.uid, told.event))
        path = f"/api/v1/namespaces/{told.key.namespace}/events"
        if known is not None:
            known.count += 1
            patch = {"count": known.count, "lastTimestamp": _stamp(told.when)}
            try:
                await self._connection.request(
                    "PATCH", f"{path}/{known.name}", body=patch, content=MERGE_PATCH
                )
                return
            except NotFound:
                pass  # it has expired
        body = _body(told)
        await self._connection.request("POST", path, body=body)
        self._told[(told.uid, told.event)] = _Told(body["metadata"]["name"])
        _bound(self._told, (told.uid, told.event))


def _bound(memory: OrderedDict[Any, Any], newest: Any) -> None:
    memory.move_to_end(newest)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _body(told: _Waiting) -> dict[str, Any]:
    event, key = told.event, told.key
    unique = f"{told.uid}/{event.reason}/{event.message}/{told.when.timestamp()}"
    digest = hashlib.sha256(unique.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{key.name}.{digest}", "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": key.namespace,
            "name": key.name,
            "uid": told.uid,
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": event.message[:MAX_MESSAGE],
        "count": 1,
        "firstTimestamp": _stamp(told.when),
        "lastTimestamp": _stamp(told.when),
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
    }
