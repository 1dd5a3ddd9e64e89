"""Looking again: over lost connections, ended watches and forgotten beginnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from sparse_transfer_api.errors import AccessError, SparseTransferError, Transient
from sparse_transfer_cli.cluster.patience import Back, Lost, Timing, patiently
from sparse_transfer_cli.cluster.refusals import Expired


@dataclass
class Clock:
    """Time that passes only by pauses and by watches."""

    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def timing(self, **options: float) -> Timing:
        return Timing(clock=lambda: self.now, pause=self.pause, **options)


@dataclass
class Scripted:
    """Sees what a script says: a text, an error, or ``end``."""

    script: list[list[str | SparseTransferError]]
    begun: bool = False
    ended: bool = False
    granted: bool = True
    looks: int = 0
    each: Callable[[], None] = lambda: None

    def once(self) -> Iterator[str]:
        self.each()
        turn = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        for word in turn:
            if isinstance(word, SparseTransferError):
                raise word
            self.begun = True
            self.ended = word == "end"
            yield word


DOWN = Transient("down")


def seen(look: Scripted, clock: Clock, **options: float) -> list[object]:
    return list(patiently(look, clock.timing(**options)))


def test_a_watch_that_ends_is_renewed_without_a_word() -> None:
    assert seen(Scripted([["a"], ["b"], [], ["end"]]), Clock()) == ["a", "b", "end"]


def test_a_forgotten_beginning_is_listed_anew_without_a_word() -> None:
    clock = Clock()
    assert seen(Scripted([["a", Expired("too old")], ["b", "end"]]), clock) == ["a", "b", "end"]
    assert clock.pauses == []


def test_a_loss_is_told_once_and_so_is_the_return() -> None:
    clock = Clock()
    look = Scripted([["a", DOWN], [DOWN], [DOWN], ["b"], ["c", "end"]])
    assert seen(look, clock) == ["a", Lost("down"), Back(), "b", "c", "end"]
    assert clock.pauses == [0.25, 0.5, 1.0]


def test_each_loss_is_told() -> None:
    look = Scripted([["a", DOWN], ["b", DOWN], ["c", "end"]])
    assert seen(look, Clock()) == ["a", Lost("down"), Back(), "b", Lost("down"), Back(), "c", "end"]


def test_pauses_grow_but_not_for_ever() -> None:
    clock = Clock()
    look = Scripted([["a"], *[[DOWN]] * 12, ["end"]])
    seen(look, clock)
    assert max(clock.pauses) == 10.0
    assert clock.pauses == sorted(clock.pauses)


@pytest.mark.parametrize("error", [DOWN, AccessError("no")])
def test_what_never_began_fails_at_once(error: SparseTransferError) -> None:
    clock = Clock()
    with pytest.raises(type(error)):
        seen(Scripted([[error]]), clock)
    assert clock.pauses == []


def test_a_right_that_was_never_there_is_missed_at_once() -> None:
    look = Scripted([["a", AccessError("may not watch")]], granted=False)
    with pytest.raises(AccessError, match="may not watch"):
        seen(look, Clock())


def test_a_right_that_was_there_may_come_back() -> None:
    look = Scripted([["a", AccessError("may not watch")], ["b", "end"]])
    assert seen(look, Clock()) == ["a", Lost("may not watch"), Back(), "b", "end"]


def test_patience_has_an_end() -> None:
    clock = Clock()
    with pytest.raises(Transient):
        seen(Scripted([["a"], [DOWN]]), clock, patience_seconds=60)
    assert 60 < clock.now - 100 <= 60 + 10


def test_an_empty_look_that_succeeds_restores_patience() -> None:
    clock = Clock()
    script: list[list[str | SparseTransferError]] = [["a"], [DOWN], []] * 30
    seen(Scripted([*script, ["end"]]), clock, patience_seconds=1)


def test_the_time_may_be_up() -> None:
    clock = Clock()

    def watch() -> None:
        clock.now += 10

    look = Scripted([["a"]], each=watch)
    assert list(patiently(look, clock.timing(), until=135)) == ["a"] * 4


@pytest.mark.parametrize(
    ("until", "seconds"), [(None, 60), (1000.0, 60), (130.0, 30), (100.5, 1), (90.0, 1)]
)
def test_a_watch_lasts_no_longer_than_there_is_time(until: float | None, seconds: int) -> None:
    assert Clock().timing(watch_seconds=60).next_watch(until) == seconds
