"""What may wait to be written: while a stage only moves on, its news are gathered.

A Job, its pod, the pod running: three changes within a second, of which people miss nothing when
they are told at once. What begins, what ends and what cannot be planned again is written at once.
In a crowd all that waits longer, so that those who have nothing yet get their Jobs first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sparse_transfer_api.status import Phase, SparseTransferStatus

from .object_key import ObjectKey

GATHER_SECONDS = 1.0
"""News of a stage that moves on wait for so long."""
WORDING_SECONDS = 5.0
"""The same where nothing moves on, and only reasons and messages are others."""
CROWD = 100
"""Experiments that wait to be looked at: with so many, everything else waits twice as long."""
MAX_STRETCH = 10.0

_MOVING = (Phase.PENDING, Phase.PREPARING, Phase.TRAINING, Phase.PACKAGING)


class Gathering:
    """Since when news of experiments wait, on the event loop's clock.

    Args:
        crowd: How many experiments wait to be looked at.
    """

    def __init__(self, crowd: Callable[[], int] = lambda: 0) -> None:
        self._crowd = crowd
        self._since: dict[ObjectKey, float] = {}

    def news(self, key: ObjectKey) -> float:
        """Takes in news that are not urgent; returns in how many seconds to look at them."""
        return GATHER_SECONDS * self._stretch() - self._waited(key)

    def wait(self, key: ObjectKey, old: SparseTransferStatus, new: SparseTransferStatus) -> float:
        """Returns for how many more seconds a new status may wait to be written."""
        may = patience(old, new)
        if old.phase is None and new.phase in _MOVING and self._crowd() >= CROWD:
            may = GATHER_SECONDS
        return may * self._stretch() - self._waited(key) if may else 0.0

    def over(self, key: ObjectKey) -> None:
        """Says that nothing of a key waits any more."""
        self._since.pop(key, None)

    def _stretch(self) -> float:
        return 1 + min(self._crowd() / CROWD, MAX_STRETCH - 1)

    def _waited(self, key: ObjectKey) -> float:
        now = asyncio.get_running_loop().time()
        return now - self._since.setdefault(key, now)


def patience(old: SparseTransferStatus, new: SparseTransferStatus) -> float:
    """Returns for how many seconds a new status may wait; 0 for the first and the last."""
    if (
        old == new
        or old.phase not in _MOVING
        or new.phase not in _MOVING
        or old.observed_generation != new.observed_generation
        or _given_up(old) != _given_up(new)
    ):
        return 0.0
    return WORDING_SECONDS if _standing(old) == _standing(new) else GATHER_SECONDS


def _given_up(status: SparseTransferStatus) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Returns what cannot be planned again once the Jobs that it is about are deleted."""
    noted = ((each.replaces, tuple(each.reruns)) for each in status.all_stages)
    return [each for each in noted if any(each)]


def _standing(status: SparseTransferStatus) -> tuple[Any, ...]:
    """Returns where a status says that the experiment stands, without words."""
    return (
        status.phase,
        *((each.key, each.job, each.start_time, each.outcome) for each in status.all_stages),
        *((each.attempt, each.disruptions) for each in status.all_stages),
    )
