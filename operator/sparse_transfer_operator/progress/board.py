"""What progress is to be shown of each experiment, what is shown, and what is to be written next.

Pure: no I/O, and no clock of its own. Of each experiment there is at most the newest report that
may be shown; a write is due when that is not what is shown, but not sooner than an interval after
the last write of that experiment. What must not be shown any more is taken away at once.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import ProgressStatus

from .owners import ExperimentId, PodOwner, RunningStage


@dataclass(frozen=True)
class Write:
    """One write that is due.

    Args:
        experiment: Of which.
        progress: What its progress shall be; None for none.
    """

    experiment: ExperimentId
    progress: ProgressStatus | None


class Outcome(Enum):
    """What came of a write."""

    DONE = auto()
    GONE = auto()
    """The experiment is not there any more."""
    REFUSED = auto()
    """The same again will not do."""
    FAILED = auto()
    """Perhaps it was done, perhaps not; another try may help."""


class _Unknown(Enum):
    """Something is shown, and nobody knows what."""

    UNKNOWN = auto()


@dataclass(frozen=True)
class _Report:
    """The newest report that may be shown, and what it is of."""

    stage: Stage
    key: str
    progress: ProgressStatus

    def is_of(self, running: RunningStage | None) -> bool:
        return running is not None and (self.stage, self.key) == (running.stage, running.key)


@dataclass(eq=False)
class _Entry:
    """One experiment.

    Args:
        running: The stage that may be shown, as last settled; None before.
        report: What is to be shown.
        shown: What is.
        earliest: When progress may be written next; taking it away need not wait.
        blocked: When anything may be written next.
        due: When its place in the queue says; None while it has none.
        writing: What is being written.
    """

    running: RunningStage | None = None
    report: _Report | None = None
    shown: ProgressStatus | _Unknown | None = None
    earliest: float = float("-inf")
    blocked: float = float("-inf")
    due: float | None = None
    writing: Write | None = None

    @property
    def wanted(self) -> ProgressStatus | None:
        return None if self.report is None else self.report.progress

    @property
    def is_empty(self) -> bool:
        return (self.running, self.report, self.shown, self.writing) == (None,) * 4


class Board:
    """The experiments whose progress is shown, or has to be taken away.

    Args:
        interval: Seconds between two writes of one experiment's progress.
        retry: Seconds until another try after a write that failed.
    """

    def __init__(self, interval: float, retry: float) -> None:
        self._interval = interval
        self._retry = retry
        self._entries: dict[ExperimentId, _Entry] = {}
        self._queue: list[tuple[float, int, ExperimentId]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def report(self, owner: PodOwner, progress: ProgressStatus, now: float) -> bool:
        """Takes in a report.

        Returns:
            Whether it may be shown: not where another stage runs, or this one with another key.
        """
        report = _Report(owner.stage, owner.key, progress)
        entry = self._entries.get(owner.experiment)
        if entry is not None and entry.running is not None and not report.is_of(entry.running):
            return False
        entry = self._entries.setdefault(owner.experiment, _Entry())
        entry.report = report
        self._plan(owner.experiment, entry, now)
        return True

    def settle(
        self,
        experiment: ExperimentId,
        running: RunningStage | None,
        shown: datetime | None,
        now: float,
    ) -> bool:
        """Takes in what runs, and lets go of progress of what does not.

        Args:
            experiment: Of which.
            running: The stage that may be shown from now on.
            shown: When the progress that the status shows was reported; None where it shows none.
                Only the first word on an experiment counts: after that, this board knows better
                than a watch, which is late.
            now: The time.

        Returns:
            Whether there is no progress any more, where there was.
        """
        entry = self._entries.get(experiment)
        dropped = False
        if entry is None:
            entry = self._entries[experiment] = _Entry()
            if shown is not None and (running is None or shown < running.started):
                entry.shown, dropped = _Unknown.UNKNOWN, True
        if entry.report is not None and not entry.report.is_of(running):
            entry.report, dropped = None, True
        entry.running = running
        self._plan(experiment, entry, now)
        return dropped

    def forget(self, experiment: ExperimentId) -> None:
        """Lets go of an experiment that is gone."""
        self._entries.pop(experiment, None)

    def next_due(self) -> float | None:
        """Returns when there may be something to write; None while there is nothing."""
        while self._queue:
            due, _, experiment = self._queue[0]
            entry = self._entries.get(experiment)
            if entry is not None and entry.due == due:
                return due
            heapq.heappop(self._queue)  # it has another place by now, or none
        return None

    def take(self, now: float) -> Write | None:
        """Returns the next write that is due, which has to be answered for (``ended``)."""
        while (due := self.next_due()) is not None and due <= now:
            _, _, experiment = heapq.heappop(self._queue)
            entry = self._entries[experiment]
            entry.due = None
            if entry.wanted == entry.shown:
                self._plan(experiment, entry, now)
                continue
            entry.writing = Write(experiment, entry.wanted)
            if entry.wanted is not None:
                entry.earliest = now + self._interval
            return entry.writing
        return None

    def ended(self, write: Write, outcome: Outcome, now: float) -> None:
        """Takes in what came of a write."""
        entry = self._entries.get(write.experiment)
        if entry is None or entry.writing is not write:
            return
        entry.writing = None
        if outcome is Outcome.GONE:
            self.forget(write.experiment)
            return
        if outcome is Outcome.DONE:
            entry.shown = write.progress
        elif outcome is Outcome.FAILED:
            entry.shown, entry.blocked = _Unknown.UNKNOWN, now + self._retry
        else:
            entry.blocked = now + self._interval
            if entry.wanted is write.progress:
                entry.report = None
        self._plan(write.experiment, entry, now)

    def _plan(self, experiment: ExperimentId, entry: _Entry, now: float) -> None:
        """Gives an experiment its place in the queue, or none."""
        if entry.writing is not None:
            return
        if entry.wanted != entry.shown:
            wait = entry.earliest if entry.wanted is not None else entry.blocked
            floor = max(entry.blocked, wait)
            # Who waits for his turn keeps it when he reports again.
            self._place(
                experiment, entry, max(floor, now if entry.due is None else min(now, entry.due))
            )
        elif not entry.is_empty:
            entry.due = None
        elif entry.earliest > now:
            self._place(experiment, entry, entry.earliest)  # remembered for so long
        else:
            del self._entries[experiment]

    def _place(self, experiment: ExperimentId, entry: _Entry, due: float) -> None:
        if due != entry.due:
            entry.due = due
            heapq.heappush(self._queue, (due, next(self._numbers), experiment))
