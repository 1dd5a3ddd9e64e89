"""Following one experiment, or all of a namespace, for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .answers import Document
from .experiments import Experiments
from .patience import Back, Lost, Timing, patiently
from .refusals import NotThere


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
class Listed:
    """All experiments, as they are now.

    Args:
        documents: By namespace and name.
        changed: Those that are new or not as they were.
    """

    documents: Mapping[tuple[str, str], Document]
    changed: tuple[tuple[str, str], ...]


def follow(
    experiments: Experiments, name: str, *, until: float | None = None, timing: Timing | None = None
) -> Iterator[Seen | Deleted | Lost | Back]:
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
    yield from patiently(_One(experiments, name, until, timing), timing, until)


def follow_all(
    experiments: Experiments, *, everywhere: bool, timing: Timing | None = None
) -> Iterator[Listed | Lost | Back]:
    """Yields all experiments whenever one of them changes.

    Args:
        experiments: Of the namespace that is meant.
        everywhere: Of all namespaces.
        timing: How long things may take.

    Raises:
        SparseTransferError: The cluster cannot be asked at first, or for longer than patience.
    """
    timing = timing or Timing()
    yield from patiently(_All(experiments, everywhere, timing), timing)


@dataclass
class _One:
    experiments: Experiments
    name: str
    until: float | None
    timing: Timing
    ended: bool = False
    granted: bool = False
    uid: str | None = None
    version: str = ""

    @property
    def begun(self) -> bool:
        return self.uid is not None

    def once(self) -> Iterator[Seen | Deleted]:
        try:
            document = self.experiments.get(self.name)
        except NotThere:
            if self.uid is None:
                raise
            yield self._deleted()
            return
        yield from self._seen(document)
        if self.ended:
            return
        seconds = self.timing.next_watch(self.until)
        for kind, changed in self.experiments.watch(
            since=self.version, seconds=seconds, name=self.name
        ):
            self.granted = True
            if kind == "DELETED":
                yield self._deleted()
                return
            yield from self._seen(changed)
        self.granted = True

    def _seen(self, document: Document) -> Iterator[Seen | Deleted]:
        metadata = document["metadata"]
        if self.uid not in (None, metadata["uid"]):
            yield self._deleted(replaced=True)
            return
        self.uid = metadata["uid"]
        if metadata["resourceVersion"] != self.version:
            self.version = metadata["resourceVersion"]
            yield Seen(document)

    def _deleted(self, *, replaced: bool = False) -> Deleted:
        self.ended = True
        return Deleted(replaced)


@dataclass
class _All:
    experiments: Experiments
    everywhere: bool
    timing: Timing
    begun: bool = False
    ended: bool = False
    granted: bool = False
    known: dict[tuple[str, str], Document] = field(default_factory=dict)

    def once(self) -> Iterator[Listed]:
        found = self.experiments.list(everywhere=self.everywhere)
        before = self.known if self.begun else None
        self.known = {_key(each): each for each in found["items"]}
        self.begun = True
        if before != self.known:
            yield self._listed(
                key for key, each in self.known.items() if (before or {}).get(key) != each
            )
        for kind, changed in self.experiments.watch(
            since=found["metadata"]["resourceVersion"],
            seconds=self.timing.next_watch(None),
            everywhere=self.everywhere,
        ):
            self.granted = True
            if kind == "DELETED":
                self.known.pop(_key(changed), None)
                yield self._listed(())
            else:
                self.known[_key(changed)] = changed
                yield self._listed([_key(changed)])
        self.granted = True

    def _listed(self, changed: Iterable[tuple[str, str]]) -> Listed:
        return Listed(dict(sorted(self.known.items())), tuple(changed))


def _key(document: Document) -> tuple[str, str]:
    return document["metadata"]["namespace"], document["metadata"]["name"]
