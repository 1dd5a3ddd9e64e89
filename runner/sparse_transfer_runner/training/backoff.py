"""How far the train stage takes its batches apart when memory runs out.

Baseline and transfer share it: what did not fit in the one is not tried again in the other.
Pure but for its own state: who notices the want of memory, and who tells the user, is elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sparse_transfer_api.contract import MAX_BATCH_HALVINGS
from sparse_transfer_api.errors import OutOfMemory

_LOG = logging.getLogger(__name__)
_SHOWN = 300
"""Characters of a library's message that are shown."""


@dataclass
class Backoff:
    """The micro-batch: an optimizer's batch, halved so many times.

    Args:
        batch_size: Rows of an optimizer's batch.
        halvings: How often it was halved, 0 to ``MAX_BATCH_HALVINGS``.
        changed: Called after ``halvings`` grew.
    """

    batch_size: int
    halvings: int = 0
    changed: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def micro_batch(self) -> int:
        """Rows that are worked on at once, at most."""
        return _halved(self.batch_size, self.halvings)

    def parts(self, rows: Sequence[int], least: int = 1) -> list[Sequence[int]]:
        """Returns a batch's rows in micro-batches whose sizes differ by one row at most.

        Args:
            rows: In their order, which stays.
            least: Rows of a micro-batch, at least; a batch that is smaller stays whole.
        """
        count = -(-len(rows) // max(least, self.micro_batch))
        count = max(1, min(count, len(rows) // least))
        ends = [len(rows) * each // count for each in range(count + 1)]
        return [rows[ends[each] : ends[each + 1]] for each in range(count)]

    def halve(self, tried: int, least: int, where: str, why: str) -> None:
        """Halves the micro-batch, after memory ran out.

        Args:
            tried: Rows of the micro-batch that did not fit.
            least: Rows that a micro-batch has to have.
            where: In training.
            why: What the library said.

        Raises:
            OutOfMemory: It was halved as often as it may be, or cannot be halved.
        """
        # Parts of an odd batch have a row more where none may be smaller: fewer halvings help not.
        smallest = tried <= least or self.micro_batch < tried
        if smallest or self.halvings >= MAX_BATCH_HALVINGS:
            raise OutOfMemory(f"{where}: {self._tried(tried)}; the last error: {_line(why)}")
        while self.micro_batch >= tried and self.halvings < MAX_BATCH_HALVINGS:
            self.halvings += 1
        _LOG.warning(
            "%s: out of memory with %d rows at once; goes on with %d of each batch of %d (%s)",
            where,
            tried,
            self.micro_batch,
            self.batch_size,
            _line(why),
        )
        self.changed()

    def resume(self, halvings: int) -> None:
        """Takes over what an earlier attempt had come to, where that was further."""
        if halvings > self.halvings:
            self.halvings = min(halvings, MAX_BATCH_HALVINGS)
            self.changed()

    def after_a_kill(self, halvings: int) -> None:
        """Goes further than an attempt that was killed for its memory.

        Args:
            halvings: Of that attempt.

        Raises:
            OutOfMemory: It had gone as far as one may.
        """
        if halvings >= MAX_BATCH_HALVINGS or _halved(self.batch_size, halvings) == 1:
            earlier = Backoff(self.batch_size, halvings)
            raise OutOfMemory(
                f"earlier attempts were killed for their memory: {earlier._tried(None)}"
            )
        self.resume(halvings + 1)

    @property
    def sentence(self) -> str | None:
        """What a user should know of it; None while batches are whole."""
        if self.micro_batch >= self.batch_size:
            return None
        return (
            f"memory ran out: batches of {self.batch_size} rows were worked on "
            f"{self.micro_batch} at a time, their gradients summed"
        )

    def _tried(self, last: int | None) -> str:
        sizes = [_halved(self.batch_size, each) for each in range(self.halvings + 1)]
        if last is not None and last < sizes[-1]:
            sizes.append(last)
        told = ", ".join(str(each) for each in dict.fromkeys(sizes))
        return (
            f"memory does not suffice; tried {told} rows at once of each batch of "
            f"{self.batch_size} (at most {MAX_BATCH_HALVINGS} halvings): give the stage more "
            "memory, or take a smaller model, a smaller spec.training.maxSequenceLength or "
            "imageSize"
        )


def _halved(batch_size: int, halvings: int) -> int:
    return max(1, -(-batch_size // (1 << halvings)))


def _line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
