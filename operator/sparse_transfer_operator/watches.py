"""Are the watches alive, and have all objects been seen? Known from the requests that kopf makes.

kopf lists and watches by itself and tells handlers of objects only: neither that a listing is
complete, nor that it had to begin anew, which says nothing of what was deleted meanwhile. Its HTTP
session is ours, though: a watch that is answered after a listing tells both.

A watch that is refused is asked for again and again: a definition may come back, and so may rights.
A namespace whose experiments may not be seen is out of reach: it was deleted with its rights, or
never got them. It holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from .cluster.paths import watched
from .observer import Kind

WATCH_SECONDS = 60
"""A watch is asked for anew after that, so that each one gives a sign of life."""
DEAD_SECONDS = 4 * WATCH_SECONDS
"""Without a sign of life from one of the watches, something is stuck."""
_REFUSALS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
"""Of rights, and of a definition that is not there or is going."""

_log = logging.getLogger(__name__)


@dataclass
class _Stream:
    """One watch, of a kind in one namespace or in all.

    Args:
        alive: When it last gave a sign of life, in monotonic seconds.
        established: It was answered, and its listing is complete.
        listed: It was listed since it was established last.
        refusal: The status of the answer that refused it last; 0 for none since.
    """

    alive: float
    established: bool = False
    listed: bool = False
    refusal: int = 0


class Watches:
    """Keeps account of the watches.

    Args:
        namespaces: That are watched; empty for all as one.
        clock: Monotonic seconds.
    """

    def __init__(
        self, namespaces: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        places: Sequence[str | None] = tuple(namespaces) or (None,)
        self._streams = {(kind, place): _Stream(clock()) for kind in Kind for place in places}
        self._began = asyncio.Event()
        self._new: set[Kind] = set()

    def answered(self, path: str, watch: bool, status: int) -> bool:
        """Takes in that kopf's request was answered.

        Args:
            path: Of the request.
            watch: It was a watch, not a listing.
            status: Of HTTP.

        Returns:
            Whether what is watched was refused.
        """
        found = watched(path)
        stream = None if found is None else self._streams.get(found)
        if found is None or stream is None:
            return False
        if status in _REFUSALS:
            if not stream.refusal:
                _log.warning("%s is not shown: %d", path, status)
            # It lives: beginning anew would change nothing.
            stream.alive, stream.refusal = self._clock(), status
            stream.established, stream.listed = False, False
            self._began.set()
            return True
        if status != HTTPStatus.OK:
            return False
        stream.alive, stream.refusal = self._clock(), 0
        if not watch:
            stream.listed = True
        elif stream.listed or not stream.established:
            stream.listed, stream.established = False, True
            self._new.add(found[0])
            self._began.set()
        return False

    def told(self, kind: Kind) -> None:
        """Takes in that a watch of a kind told something."""
        for (of, _), stream in self._streams.items():
            if of is kind:
                stream.alive = self._clock()

    def excuse(self) -> None:
        """Takes in that there is nothing to watch yet: silence means nothing."""
        for stream in self._streams.values():
            stream.alive = self._clock()

    def out_of_reach(self, namespace: str | None) -> bool:
        """Whether the experiments of a namespace may not be seen."""
        refusal = self._streams[Kind.EXPERIMENT, namespace].refusal
        return namespace is not None and refusal == HTTPStatus.FORBIDDEN

    async def begun(self) -> tuple[Kind, ...]:
        """Waits until all watches within reach are established, and one was not told of yet.

        Returns:
            The kinds whose objects have to be compared with what is known; none where a namespace
            went out of reach.
        """
        while True:
            await self._began.wait()
            self._began.clear()
            if all(stream.established for stream in self._within_reach()):
                new = tuple(kind for kind in Kind if kind in self._new)
                self._new.clear()
                return new

    @property
    def silent_seconds(self) -> float:
        """Since the last sign of life of the watch that has been silent for longest."""
        now = self._clock()
        return now - min((stream.alive for stream in self._within_reach()), default=now)

    def _within_reach(self) -> list[_Stream]:
        return [
            stream for (_, place), stream in self._streams.items() if not self.out_of_reach(place)
        ]
