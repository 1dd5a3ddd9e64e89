"""Looking again and again, whatever becomes of the connection.

A watch ends by itself, its beginning expires, API servers restart: each time one looks anew, so
that nothing is missed but what came and went in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

from sparse_transfer_api.errors import AccessError, SparseTransferError

from .refusals import Expired

WATCH_SECONDS = 60
"""After which a watch is renewed: a connection that died without a word is noticed by then."""
PATIENCE_SECONDS = 600
"""That an API server may be away; upgrading one takes minutes."""
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class Lost:
    """The cluster cannot be asked just now; it is tried again."""

    message: str


@dataclass(frozen=True)
class Back:
    """The cluster can be asked again."""


@dataclass(frozen=True)
class Timing:
    """How long things may take, and what measures it.

    Args:
        watch_seconds: After which a watch is renewed.
        patience_seconds: Of failed tries in a row.
        clock: Seconds that only grow.
        pause: Waits so many seconds.
    """

    watch_seconds: float = WATCH_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = time.sleep

    def over(self, until: float | None) -> bool:
        """Whether the clock has reached a time."""
        return until is not None and self.clock() >= until

    def next_watch(self, until: float | None) -> int:
        """Returns for how many seconds to watch, at least one."""
        left = self.watch_seconds if until is None else min(
            self.watch_seconds, until - self.clock()
        )  # fmt: skip
        return max(1, int(left))


Sight = TypeVar("Sight", covariant=True)


class Look(Protocol[Sight]):
    """One look: what is there, and then what changes, until the API server ends it."""

    @property
    def begun(self) -> bool:
        """Whether anything was ever seen: before that, every failure is told at once."""

    @property
    def granted(self) -> bool:
        """Whether all calls were allowed once: before that, a refusal is no passing trouble."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to see."""

    def once(self) -> Iterator[Sight]:
        """Yields what is seen."""


def patiently(
    look: Look[Sight], timing: Timing, until: float | None = None
) -> Iterator[Sight | Lost | Back]:
    """Yields what is seen, looking again until there is nothing more to see or the time is up.

    Raises:
        SparseTransferError: The first look fails, or all do for longer than patience allows.
    """
    pauses: Iterator[int] = count()
    lost: float | None = None
    while not look.ended and not timing.over(until):
        try:
            for sight in look.once():
                if lost is not None:
                    lost = None
                    yield Back()
                yield sight
            lost = None
        except Expired:
            continue
        except SparseTransferError as error:
            if not look.begun or (isinstance(error, AccessError) and not look.granted):
                raise
            if lost is None:
                lost, pauses = timing.clock(), count()
                yield Lost(str(error))
            if timing.clock() - lost > timing.patience_seconds:
                raise
            pause = _FIRST_PAUSE_SECONDS * 2.0 ** min(next(pauses), 10)
            timing.pause(min(pause, _LONGEST_PAUSE_SECONDS))
