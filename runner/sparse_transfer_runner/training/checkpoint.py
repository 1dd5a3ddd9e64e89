"""Checkpoints of unfinished training, written while training goes on.

The state is copied on the training thread, in milliseconds, and serialized and stored by a thread
of its own. One checkpoint is written at a time: one that falls due meanwhile is put off to the next
step at which that thread is free, so that a slow store costs freshness and never speed. What the
thread could not do, for lack of space or of a right, is raised on the training thread at its next
look.

A state holds: model, optimizer, gradient scaler, the recipe's state (masks, learned ranges), random
generators, the losses since the last point of the learning curve, the curve, and the step. Learning
rate and order of rows need no state of their own: both are functions of the step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .checkpoint_files import CheckpointFolder, Kind, Position, Saved
from .snapshot import Snapshots

_LOG = logging.getLogger(__name__)

State = Callable[[], Mapping[str, Any]]
"""Returns the state as it is now; called only when it is needed."""


@dataclass(frozen=True)
class Interval:
    """Between two checkpoints: whichever comes first.

    Args:
        seconds: Of wall-clock time.
        steps: Of the optimizer; None leaves it to the seconds.
    """

    seconds: float
    steps: int | None = None


class Checkpoints:
    """The checkpoints of one run; a context that ends when nothing is being written any more.

    Args:
        folder: Where they are kept.
        interval: Between two of them.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        interval: Interval,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._interval = interval
        self._clock = clock
        self._snapshots = Snapshots()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._last: Position | None = None
        self._last_at = clock()
        self._looked = False
        self._found: Saved | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for the write under way; should it fail, nobody needs it any more."""
        self._settle()
        self._writer.shutdown()

    def resumes(self, kind: Kind) -> bool:
        """Whether there is a checkpoint that fits, and the newest one is of this kind."""
        if not self._looked:
            self._found = self._folder.newest()
            self._looked = True
        return self._found is not None and self._found.position.kind == kind

    def take(self, kind: Kind) -> Saved | None:
        """Returns the newest checkpoint that fits, where it is of this kind.

        It is read once and handed over: it takes three times the model's memory.
        """
        if not self.resumes(kind):
            return None
        taken, self._found = self._found, None
        assert taken is not None
        self._last = taken.position
        return taken

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._writing is not None and not self._writing.done()

    def look(self) -> None:
        """Raises what went wrong with the checkpoint that was written last.

        Raises:
            Transient: The store is full or out of reach, or a newer attempt has taken over.
            AccessError: A right is missing.
        """
        if self._writing is not None and not self.busy:
            error = self._written()
            if error is not None:
                raise error

    def save_if_due(self, position: Position, state: State) -> None:
        """Begins to write a checkpoint where the interval has passed and none is being written."""
        self.look()
        if not self.busy and self._is_due(position):
            self._begin(position, state)

    def save(self, position: Position, state: State) -> None:
        """Begins to write a checkpoint as soon as the one before it is written."""
        if position != self._last:
            self._wait()
            self._begin(position, state)

    def save_now(self, position: Position, state: State) -> None:
        """Writes a checkpoint and returns when it is complete, whatever became of those before."""
        self._settle()
        if position != self._last:
            self._folder.write(position, state())
            self._last = position

    def _is_due(self, position: Position) -> bool:
        if position == self._last:
            return False
        passed = self._clock() - self._last_at >= self._interval.seconds
        return passed or self._steps_have_passed(position)

    def _steps_have_passed(self, position: Position) -> bool:
        if self._interval.steps is None or position.kind != "step":
            return False
        last = self._last.number if self._last and self._last.kind == "step" else 0
        return position.number - last >= self._interval.steps

    def _begin(self, position: Position, state: State) -> None:
        copy = self._snapshots.of(state())
        self._last, self._last_at = position, self._clock()
        self._writing = self._writer.submit(self._folder.write, position, copy)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.exception()
            self.look()

    def _settle(self) -> None:
        """Waits for the write under way; its failure is only told."""
        if self._writing is not None:
            position, error = self._last, self._written()
            if error is not None:
                _LOG.warning("checkpoint %s could not be written: %s", position, error)

    def _written(self) -> BaseException | None:
        """Waits for the write under way, and returns what went wrong with it."""
        assert self._writing is not None
        error = self._writing.exception()
        self._writing = None
        if error is not None:
            self._last = None
        return error
