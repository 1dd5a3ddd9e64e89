"""Whether watches live, and what they do not tell, is known from kopf's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sparse_transfer_operator.cluster.connection import resource_of
from sparse_transfer_operator.cluster.paths import collection, watched
from sparse_transfer_operator.observer import Kind
from sparse_transfer_operator.watches import Watches

Begun = Callable[[Watches], tuple[Kind, ...] | None]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _begin(watches: Watches, kind: Kind, namespace: str | None = None) -> None:
    path = collection(kind, namespace)
    watches.answered(path, watch=False, status=200)
    watches.answered(path, watch=True, status=200)


@pytest.fixture
def begun() -> Iterator[Begun]:
    """Asks which kinds have begun; all in one loop."""

    async def ask(watches: Watches) -> tuple[Kind, ...] | None:
        try:
            return await asyncio.wait_for(watches.begun(), 0.01)
        except TimeoutError:
            return None

    with asyncio.Runner() as runner:
        yield lambda watches: runner.run(ask(watches))


def test_nothing_has_begun_before_all_have(clock: Clock, begun: Begun) -> None:
    watches = Watches((), clock)
    _begin(watches, Kind.EXPERIMENT)
    _begin(watches, Kind.JOB)
    assert begun(watches) is None
    _begin(watches, Kind.POD)
    assert begun(watches) == tuple(Kind)
    assert begun(watches) is None


def test_every_namespace_has_watches_of_its_own(clock: Clock, begun: Begun) -> None:
    watches = Watches(("a", "b"), clock)
    for kind in Kind:
        _begin(watches, kind, "a")
        _begin(watches, kind, None)
    assert begun(watches) is None
    for kind in Kind:
        _begin(watches, kind, "b")
    assert begun(watches) == tuple(Kind)


def test_a_watch_that_goes_on_tells_all_and_one_that_begins_anew_does_not(
    clock: Clock, begun: Begun
) -> None:
    watches = Watches((), clock)
    for kind in Kind:
        _begin(watches, kind)
    begun(watches)
    watches.answered(collection(Kind.JOB, None), watch=True, status=200)
    assert begun(watches) is None
    _begin(watches, Kind.JOB)
    assert begun(watches) == (Kind.JOB,)


def test_a_refused_watch_is_none(clock: Clock, begun: Begun) -> None:
    watches = Watches((), clock)
    for kind in Kind:
        watches.answered(collection(kind, None), watch=True, status=403)
    assert begun(watches) is None


def test_the_most_silent_watch_counts(clock: Clock) -> None:
    watches = Watches((), clock)
    clock.now = 50
    watches.told(Kind.JOB)
    watches.answered(collection(Kind.POD, None), watch=True, status=200)
    assert watches.silent_seconds == 50
    watches.told(Kind.EXPERIMENT)
    assert watches.silent_seconds == 0


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("namespace", [None, "language"])
def test_paths_are_told_apart(kind: Kind, namespace: str | None) -> None:
    assert watched(collection(kind, namespace)) == (kind, namespace)
    assert watched(f"{collection(kind, 'a')}/one") is None


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/a/events", "events"),
        ("/api/v1/pods", "pods"),
        ("/apis/batch/v1/namespaces/a/jobs/b", "jobs"),
        ("/apis/a.b/v1/namespaces/n/things/x/status", "things/status"),
        ("/apis/a.b/v1", "discovery"),
        ("/api", "discovery"),
        ("/", "discovery"),
    ],
)
def test_requests_are_counted_by_what_they_are_about(path: str, resource: str) -> None:
    assert resource_of(path) == resource


def test_what_cannot_be_watched_yet_is_excused(clock: Clock) -> None:
    watches = Watches((), clock)
    clock.now = 50
    watches.excuse()
    assert watches.silent_seconds == 0


def _refuse(watches: Watches, namespace: str, *kinds: Kind) -> None:
    for kind in kinds:
        assert watches.answered(collection(kind, namespace), watch=True, status=403)


def test_a_namespace_out_of_reach_holds_up_no_other(clock: Clock, begun: Begun) -> None:
    watches = Watches(("a", "b"), clock)
    _refuse(watches, "b", *Kind)
    assert watches.out_of_reach("b")
    assert not watches.answered(collection(Kind.POD, "a"), watch=True, status=500)
    assert not watches.answered(collection(Kind.POD, "b"), watch=True, status=401)
    for kind in Kind:
        _begin(watches, kind, "a")
    assert begun(watches) == tuple(Kind)
    clock.now = 50
    for kind in Kind:
        _begin(watches, kind, "a")
    assert watches.silent_seconds == 0


def test_a_namespace_that_is_back_in_reach_is_compared(clock: Clock, begun: Begun) -> None:
    watches = Watches(("a",), clock)
    for kind in Kind:
        _begin(watches, kind, "a")
    assert begun(watches) == tuple(Kind)
    _refuse(watches, "a", *Kind)
    assert begun(watches) == ()
    for kind in Kind:
        watches.answered(collection(kind, "a"), watch=True, status=200)
    assert not watches.out_of_reach("a")
    assert begun(watches) == tuple(Kind)


def test_a_kind_that_is_not_served_for_a_while_is_compared_once_it_is(
    clock: Clock, begun: Begun
) -> None:
    watches = Watches((), clock)
    for kind in Kind:
        _begin(watches, kind)
    assert begun(watches) == tuple(Kind)
    clock.now = 50
    path = collection(Kind.EXPERIMENT, None)
    for kind in (Kind.JOB, Kind.POD):
        watches.told(kind)
    assert watches.answered(path, watch=True, status=404)
    assert not watches.out_of_reach(None)
    assert watches.silent_seconds == 0
    assert begun(watches) is None
    _begin(watches, Kind.EXPERIMENT)
    assert begun(watches) == (Kind.EXPERIMENT,)


def test_experiments_whose_jobs_or_pods_may_not_be_seen_are_not_out_of_reach(
    clock: Clock, begun: Begun
) -> None:
    watches = Watches(("a",), clock)
    _begin(watches, Kind.EXPERIMENT, "a")
    _refuse(watches, "a", Kind.JOB, Kind.POD)
    assert not watches.out_of_reach("a")
    assert begun(watches) is None
