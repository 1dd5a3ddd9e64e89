"""Following one experiment for as long as it takes, whatever becomes of the connection.

A watch ends by itself, its beginning expires, API servers restart: each time the experiment is got
anew, so that nothing is missed but what came and went in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from sparse_transfer_api.errors import SparseTransferError

from .experiments import Document, Experiments
from .refusals import Expired, NotThere

WATCH_SECONDS = 60
"""After which a watch is renewed: a connection that died without a word is noticed by then."""
PATIENCE_SECONDS = 600
"""That an API server may be away; upgrading one takes minutes."""
_LONGEST_PAUSE_SECONDS = 10


@dataclass(frozen=True)
class Seen:
    """The experiment, as it is now."""

    document: Document


@dataclass(frozen=True)
class Deleted:
    """The experiment is gone.

    Args:
        replaced: Another one has its name by now.
    """

    replaced: bool = False


@dataclass(frozen=True)
class Lost:
    """The cluster cannot be asked just now; it is tried again."""

    message: str


@dataclass(frozen=True)
class Back:
    """The cluster can be asked again."""


Sighting = Seen | Deleted | Lost | Back


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


def follow(
    experiments: Experiments, name: str, *, until: float | None = None, timing: Timing | None = None
) -> Iterator[Sighting]:
    """Yields what is seen of an experiment, until it is deleted or the time is up.

    Args:
        experiments: Of its namespace.
        name: The experiment's.
        until: The clock's time at which to end; None to go on.
        timing: How long things may take.

    Raises:
        NotThere: It does not exist to begin with.
        SparseTransferError: The cluster cannot be asked at first, or for longer than patience.
    """
    timing = timing or Timing()
    follower = _Follower(experiments, name, until, timing)
    failures: Iterator[int] = count()
    lost: float | None = None
    while not follower.over():
        try:
            for sighting in follower.once():
                if lost is not None:
                    lost = None
                    yield Back()
                yield sighting
                if isinstance(sighting, Deleted):
                    return
        except Expired:
            continue
        except SparseTransferError as error:
            if follower.uid is None:
                raise
            if lost is None:
                lost, failures = timing.clock(), count()
                yield Lost(str(error))
            if timing.clock() - lost > timing.patience_seconds:
                raise
            timing.pause(min(2.0 ** next(failures) / 4, _LONGEST_PAUSE_SECONDS))


@dataclass
class _Follower:
    experiments: Experiments
    name: str
    until: float | None
    timing: Timing
    uid: str | None = None
    version: str = ""

    def over(self) -> bool:
        return self.until is not None and self.timing.clock() >= self.until

    def once(self) -> Iterator[Sighting]:
        """Yields the experiment, and what a single watch tells after that."""
        try:
            document = self.experiments.get(self.name)
        except NotThere:
            if self.uid is None:
                raise
            yield Deleted()
            return
        yield from self._seen(document)
        for kind, changed in self.experiments.watch(
            since=self.version, seconds=self._seconds(), name=self.name
        ):
            if kind == "DELETED":
                yield Deleted()
                return
            yield from self._seen(changed)

    def _seen(self, document: Document) -> Iterator[Sighting]:
        metadata = document["metadata"]
        if self.uid not in (None, metadata["uid"]):
            yield Deleted(replaced=True)
            return
        self.uid = metadata["uid"]
        if metadata["resourceVersion"] != self.version:
            self.version = metadata["resourceVersion"]
            yield Seen(document)

    def _seconds(self) -> int:
        left = self.timing.watch_seconds
        if self.until is not None:
            left = min(left, self.until - self.timing.clock())
        return max(1, int(left))
