"""How often somebody may do something: token buckets, one or one for each who asks.

Times are seconds of any clock that only goes forward, and come from the caller.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """How often.

    Args:
        per_second: In the long run.
        burst: At once, after a time of quiet.
    """

    per_second: float
    burst: float


class Allowance:
    """What somebody may do just now.

    Args:
        rate: How often.
        now: Since when; all of the burst is there.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def wait(self, now: float) -> float:
        """Returns after how many seconds it may be done; 0 for at once."""
        self._refill(now)
        return max(0.0, (1 - self._left) / self._rate.per_second)

    def spend(self, now: float) -> None:
        """Counts that it was done, whether or not it was allowed."""
        self._refill(now)
        self._left = max(0.0, self._left - 1)

    def _refill(self, now: float) -> None:
        self._left = min(self._rate.burst, self._left + (now - self._at) * self._rate.per_second)
        self._at = now


class Allowances:
    """An allowance for each who asks.

    Args:
        rate: Of each.
        most: So many are remembered; who was not seen for longest is forgotten, and starts anew.
    """

    def __init__(self, rate: Rate, most: int = 10_000) -> None:
        self._rate = rate
        self._most = most
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def wait(self, who: str, now: float) -> float:
        """Returns after how many seconds somebody may do it; 0 for at once."""
        known = self._known.get(who)
        return 0.0 if known is None else known.wait(now)

    def spend(self, who: str, now: float) -> None:
        """Counts that somebody did it."""
        if who not in self._known:
            self._known[who] = Allowance(self._rate, now)
        self._known.move_to_end(who)
        self._known[who].spend(now)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
