"""What a killed attempt leaves to say that memory was short: nobody who is killed can say why.

While an attempt's memory is nearly used up, a note of it stands beside the attempt's claim, and is
taken away when that is over, and when the attempt ends by itself. So a note that is found is of an
attempt that was killed and most likely for its memory; one that was killed for other reasons left
none, and is repeated as it was. A step that takes the last of the memory within ``_INTERVAL``
leaves no note either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sparse_transfer_api.base import Record
from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_runner.memory_use import MemoryUse, memory_use
from sparse_transfer_runner.output import ATTEMPTS, Attempt
from sparse_transfer_runner.storage.protocol import Missing, Place

from .backoff import Backoff

_LOG = logging.getLogger(__name__)
_NEAR = 0.85
"""Share of the memory from which on a kill may follow at once."""
_PAST = 0.75
"""Share below which a peak is over: a kill that comes then has another reason."""
_INTERVAL = 0.05
"""Seconds between two looks: a machine fills a few per cent of its memory in that time."""
_SUFFIX = "-memory.json"


class MemoryNote(Record):
    """An attempt that had nearly used up its memory."""

    halvings: int
    used_bytes: int
    limit_bytes: int


@contextmanager
def learning_from_kills(
    work: Attempt, batch_size: int, use: Callable[[], MemoryUse | None] = memory_use
) -> Iterator[Backoff]:
    """Yields how far the attempt's batches are taken apart, and watches its memory meanwhile.

    Args:
        work: The attempt.
        batch_size: Rows of an optimizer's batch.
        use: Returns the memory in use.

    Raises:
        OutOfMemory: Earlier attempts were killed with the smallest micro-batch.
    """
    notes = _Notes(work)
    backoff = Backoff(batch_size)
    killed = notes.of_killed()
    if killed:
        try:
            backoff.after_a_kill(max(note.halvings for note in killed))
        except SparseTransferError:
            # Whoever runs it again does so with more memory, and begins anew.
            notes.remove()
            raise
        _LOG.warning("an earlier attempt was killed for its memory: %s", backoff.sentence)
    watch = _Watch(notes, backoff, use)
    backoff.changed = watch.forget
    watch.start()
    try:
        yield backoff
    except Exception:
        watch.end()
        notes.remove_own()
        raise
    finally:
        watch.end()
    notes.remove_own()


@dataclass(frozen=True)
class _Notes:
    """The notes beside the claims of a stage's attempts."""

    work: Attempt

    def of_killed(self) -> list[MemoryNote]:
        """Returns what earlier attempts left that did not end by themselves."""
        found = []
        for name in self._names():
            try:
                found.append(MemoryNote.model_validate_json(self._place.read(name)))
            except (Missing, ValidationError) as error:
                _LOG.debug("%s: passed over (%s)", name, error)
        return found

    def write(self, note: MemoryNote) -> None:
        self._place.put(self._own, lambda path: _fill(path, note.to_json()))

    def remove_own(self) -> None:
        """Takes away the note of an attempt that ends by itself."""
        try:
            self._place.remove([self._own])
        except SparseTransferError as error:
            _LOG.debug("the note of the memory stays there: %s", error)

    def remove(self) -> None:
        self._place.remove(self._names())

    def _names(self) -> list[str]:
        return [file.path for file in self._place.files() if file.path.endswith(_SUFFIX)]

    @property
    def _place(self) -> Place:
        return self.work.folder.place.below(ATTEMPTS)

    @property
    def _own(self) -> str:
        return f"{self.work.number}{_SUFFIX}"


class _Watch(threading.Thread):
    """Writes the attempt's note once its memory is nearly used up."""

    def __init__(
        self, notes: _Notes, backoff: Backoff, use: Callable[[], MemoryUse | None]
    ) -> None:
        super().__init__(name="memory", daemon=True)
        self._notes = notes
        self._backoff = backoff
        self._use = use
        self._ended = threading.Event()
        self._noted = False

    def forget(self) -> None:
        """Has the note written anew: it says how far batches are taken apart."""
        self._noted = False

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            use = self._use()
            if use is None:
                continue
            if use.share >= _NEAR and not self._noted:
                self._note(use)
            elif use.share < _PAST and self._noted:
                self._notes.remove_own()
                self._noted = False

    def _note(self, use: MemoryUse) -> None:
        self._noted = True
        note = MemoryNote(
            halvings=self._backoff.halvings, used_bytes=use.used, limit_bytes=use.limit
        )
        try:
            self._notes.write(note)
        except SparseTransferError as error:
            _LOG.debug("no note of the memory that is short: %s", error)

    def end(self) -> None:
        """Ends the watch."""
        self._ended.set()
        self.join()


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
