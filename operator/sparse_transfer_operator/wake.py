"""Timers: which experiment has to be looked at when, though nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .object_key import ObjectKey


class Wake:
    """At most one timer per experiment, on the event loop's clock.

    Args:
        wanted: Is called with the key when its time has come.
    """

    def __init__(self, wanted: Callable[[ObjectKey], None]) -> None:
        self._wanted = wanted
        self._timers: dict[ObjectKey, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def within(self, seconds: float, key: ObjectKey) -> None:
        """Sets a key's timer, unless it rings before that anyway.

        Args:
            seconds: From now on; what is past is at once.
            key: Whose.
        """
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, seconds)
        known = self._timers.get(key)
        if known is None or when < known.when():
            self.cancel(key)
            self._timers[key] = loop.call_at(when, self._ring, key)

    def cancel(self, key: ObjectKey) -> None:
        """Takes a key's timer away, if it has one."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Takes all timers away."""
        for key in list(self._timers):
            self.cancel(key)

    def _ring(self, key: ObjectKey) -> None:
        self._timers.pop(key, None)
        self._wanted(key)
