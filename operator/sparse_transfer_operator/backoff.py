"""How long to wait after failures: longer each time, up to a limit, never all at once."""

from __future__ import annotations

import random
from collections.abc import Callable

from .object_key import ObjectKey

FIRST_SECONDS = 0.25
MAX_SECONDS = 300.0
_SPREAD = 0.2


class Backoff:
    """Counts failures in a row by key.

    Args:
        chance: Uniform in [0, 1).
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures: dict[ObjectKey, int] = {}

    def failures(self, key: ObjectKey) -> int:
        """Returns how often it failed in a row."""
        return self._failures.get(key, 0)

    def failed(self, key: ObjectKey, at_least: float = 0.0) -> float:
        """Counts a failure.

        Returns:
            Seconds to wait: doubled each time, a fifth more or less, at least what is asked.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        seconds = min(MAX_SECONDS, FIRST_SECONDS * 2.0 ** min(count, 20))
        return max(at_least, seconds * (1 + _SPREAD * (2 * self._chance() - 1)))

    def succeeded(self, key: ObjectKey) -> None:
        """Forgets the failures of a key."""
        self._failures.pop(key, None)
