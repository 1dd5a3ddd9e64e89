"""Are the watches alive, and have all objects been seen? Known from the requests that kopf makes.

kopf lists and watches by itself and tells handlers of objects only: neither that a listing is
complete, nor that it had to begin anew, which says nothing of what was deleted meanwhile. Its HTTP
session is ours, though: a watch that is answered after a listing tells both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cluster.paths import watched
from .observer import Kind

WATCH_SECONDS = 60
"""A watch is asked for anew after that, so that each one gives a sign of life."""
DEAD_SECONDS = 4 * WATCH_SECONDS
"""Without a sign of life from one of the watches, something is stuck."""


@dataclass
class _Stream:
    """One watch, of a kind in one namespace or in all.

    Args:
        alive: When it last gave a sign of life, in monotonic seconds.
        established: It was answered, and its listing is complete.
        listed: It was listed since it was established last.
    """

    alive: float
    established: bool = False
    listed: bool = False


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

    def answered(self, path: str, watch: bool, status: int) -> None:
        """Takes in that kopf's request was answered.

        Args:
            path: Of the request.
            watch: It was a watch, not a listing.
            status: Of HTTP.
        """
        stream = self._streams.get(watched(path) or ("", None))  # type: ignore[arg-type]
        if stream is None or status != 200:
            return
        stream.alive = self._clock()
        if not watch:
            stream.listed = True
        elif stream.listed or not stream.established:
            stream.listed, stream.established = False, True
            found = watched(path)
            if found is not None:
                self._new.add(found[0])
                self._began.set()

    def told(self, kind: Kind) -> None:
        """Takes in that a watch of a kind told something."""
        for (of, _), stream in self._streams.items():
            if of is kind:
                stream.alive = self._clock()

    def excuse(self) -> None:
        """Takes in that there is nothing to watch yet: silence means nothing."""
        for stream in self._streams.values():
            stream.alive = self._clock()

    async def begun(self) -> tuple[Kind, ...]:
        """Waits until all watches are established, and one is that was not told of yet.

        Returns:
            The kinds whose objects have to be compared with what is known.
        """
        while True:
            await self._began.wait()
            self._began.clear()
            if all(stream.established for stream in self._streams.values()):
                new = tuple(kind for kind in Kind if kind in self._new)
                self._new.clear()
                return new

    @property
    def silent_seconds(self) -> float:
        """Since the last sign of life of the watch that has been silent for longest."""
        return self._clock() - min(stream.alive for stream in self._streams.values())
