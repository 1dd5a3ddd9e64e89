"""Progress of a running stage, as JSON lines on standard output at a bounded rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import Progress

T = TypeVar("T")
Sink = Callable[[Progress], None]

MIN_INTERVAL_SECONDS = 0.2
"""Between two reports of one activity; the first and the last are always sent."""


class Reporter:
    """Turns steps inside activities into reports for the whole stage.

    Args:
        stage: The running stage.
        sink: Receives each report; losing one must not matter to it.
        clock: Monotonic seconds.
    """

    def __init__(
        self, stage: Stage, sink: Sink, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stage = stage
        self._sink = sink
        self._clock = clock
        self._started = clock()
        self._last_sent = float("-inf")
        self._start = 0.0
        self._share = 0.0
        self._activity = ""
        self._total: int | None = None

    @contextmanager
    def activity(self, name: str, share: float, total: int | None = None) -> Iterator[Reporter]:
        """Opens the next activity.

        Args:
            name: What is being done, as the user reads it.
            share: Its share of the stage's time, 0 to 1; the shares of a stage add up to 1.
            total: Steps, where they can be counted.
        """
        self._activity, self._share, self._total = name, share, total
        self._send(0, force=True)
        yield self
        self._send(total, force=True, fraction=1.0)
        self._start += share

    def step(
        self,
        step: int,
        *,
        total: int | None = None,
        epoch: float | None = None,
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Reports that ``step`` steps of the current activity are done.

        Args:
            step: Finished steps.
            total: Steps of the activity, where that is known only now.
            epoch: The recipe's clock.
            metrics: Latest figures by name.
        """
        self._total = total or self._total
        self._send(step, epoch=epoch, metrics=metrics)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yields the items, counting each as one step once it has been used."""
        for index, item in enumerate(items, start=1):
            yield item
            self.step(index)

    def _send(
        self,
        step: int | None,
        *,
        epoch: float | None = None,
        metrics: dict[str, float] | None = None,
        force: bool = False,
        fraction: float | None = None,
    ) -> None:
        now = self._clock()
        if not force and now - self._last_sent < MIN_INTERVAL_SECONDS:
            return
        self._last_sent = now
        if fraction is None:
            fraction = min(1.0, step / self._total) if step and self._total else 0.0
        done = min(1.0, self._start + self._share * fraction)
        elapsed = now - self._started
        self._sink(
            Progress(
                stage=self._stage,
                activity=self._activity,
                step=step,
                total_steps=self._total,
                epoch=epoch,
                percentage=round(100 * done, 1),
                estimated_remaining_seconds=(
                    round(elapsed * (1 - done) / done, 1) if done > 0.01 else None
                ),
                last_updated_time=datetime.now(UTC),
                # A loss that is no number any more is none in JSON either.
                metrics={
                    name: value for name, value in (metrics or {}).items() if math.isfinite(value)
                },
            )
        )
