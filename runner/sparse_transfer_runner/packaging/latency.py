"""Latencies that can be compared: everything interleaved in one run, in rounds.

Files that are measured one after the other see different machines: clocks, caches and neighbours
change within seconds. Here each round runs every file a few times, in rotating order, so that each
ratio is taken within one run. The statistics are pure; only ``measure`` runs anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sparse_transfer_runner.engines.protocol import Session, TimedSession
from sparse_transfer_runner.use_cases.protocol import Batch

Clock = Callable[[], float]

_LONG_SECONDS = 0.05
"""A run of this length does not feel cold caches or sleeping threads."""


@dataclass(frozen=True)
class Latency:
    """Statistics of one file at one point, in milliseconds."""

    median_ms: float
    p95_ms: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Returns the statistics of measured durations."""
        median, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
        return cls(round(float(median), 4), round(float(p95), 4), len(seconds))


@dataclass(frozen=True)
class Schedule:
    """How a measurement is divided.

    Args:
        rounds: Rounds over all files.
        warm: Runs of a file before those that count, in each round.
        counted: Runs of a file that count, in each round.
    """

    rounds: int
    warm: int
    counted: int

    @classmethod
    def within(cls, seconds: float, durations: Sequence[float]) -> Schedule:
        """Returns what fits a budget, at least 5 runs that count and at most 60.

        Args:
            seconds: The budget for all files together.
            durations: One run of each file, in seconds.
        """
        once = max(sum(durations), 1e-9)
        if once / len(durations) > _LONG_SECONDS:
            return cls(min(max(round(seconds / once), 5), 20), 0, 1)
        return cls(min(max(round(seconds / (4 * once)), 4), 20), 1, 3)


class Seconds(float):
    """How long a run took, from one that knows better than a clock around it."""


def inference(session: Session, batch: Batch) -> Callable[[], object]:
    """Returns one inference, to be measured."""
    if isinstance(session, TimedSession):
        return lambda: Seconds(session.seconds(batch))
    return partial(session.run, batch)


def measure(
    runs: Sequence[Callable[[], object]],
    *,
    budget: float,
    check: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter,
) -> list[Latency]:
    """Measures several things in turn.

    Args:
        runs: What to run, each one inference of one file; one that returns ``Seconds`` is not
            timed from outside.
        budget: Seconds to spend on all of them together, about.
        check: Called before each round; raises to stop.
        clock: Seconds.

    Returns:
        The statistics of each, in the given order.
    """
    for run in runs:  # the first inference plans and allocates
        run()
    schedule = Schedule.within(budget, [_seconds(run, clock) for run in runs])
    durations: list[list[float]] = [[] for _ in runs]
    for number in range(schedule.rounds):
        check()
        for place in range(len(runs)):
            index = (place + number) % len(runs)
            for _ in range(schedule.warm):
                runs[index]()
            durations[index] += [_seconds(runs[index], clock) for _ in range(schedule.counted)]
    return [Latency.of(found) for found in durations]


def _seconds(run: Callable[[], object], clock: Clock) -> float:
    started = clock()
    result = run()
    return result if isinstance(result, Seconds) else clock() - started
