"""The queue of experiments to look at: each at most once, and never two at a time of one key."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from .object_key import ObjectKey


class WorkQueue:
    """First come, first served; a key that is added while it is worked on comes again after.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: deque[ObjectKey] = deque()
        self._wanted: set[ObjectKey] = set()
        self._working: set[ObjectKey] = set()
        self._filled = asyncio.Event()
        self._closed = False
        self._moved = clock()

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, key: ObjectKey) -> None:
        """Wants a key to be looked at."""
        if key in self._wanted:
            return
        if not self._wanted and not self._working:
            self._moved = self._clock()
        self._wanted.add(key)
        if key not in self._working:
            self._waiting.append(key)
            self._filled.set()

    async def get(self) -> ObjectKey | None:
        """Waits for a key and takes it; ``done`` has to follow.

        Returns:
            None once the queue is closed, whatever waits.
        """
        while not self._waiting and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        if self._closed:
            return None
        key = self._waiting.popleft()
        self._wanted.discard(key)
        self._working.add(key)
        return key

    def close(self) -> None:
        """Gives out nothing more."""
        self._closed = True
        self._filled.set()

    def done(self, key: ObjectKey) -> None:
        """Says that a key is not worked on any more."""
        self._working.discard(key)
        self._moved = self._clock()
        if key in self._wanted:
            self._waiting.append(key)
            self._filled.set()

    @property
    def stalled_seconds(self) -> float:
        """For how long nothing was done though there is work; 0 where there is none."""
        return self._clock() - self._moved if self._wanted or self._working else 0.0
