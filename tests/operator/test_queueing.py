"""The queue, its timers, and how long failures wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_operator.backoff import MAX_SECONDS, Backoff
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.wake import Wake
from sparse_transfer_operator.work_queue import WorkQueue

A, B = ObjectKey("language", "a"), ObjectKey("language", "b")


def _run(test: Callable[[WorkQueue], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await test(WorkQueue())

    asyncio.run(limited())


def test_a_key_waits_only_once() -> None:
    async def test(queue: WorkQueue) -> None:
        for key in (A, B, A):
            queue.add(key)
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == [A, B]

    _run(test)


def test_a_key_that_is_worked_on_comes_again_only_after() -> None:
    async def test(queue: WorkQueue) -> None:
        queue.add(A)
        assert await queue.get() == A
        queue.add(A)
        queue.add(B)
        assert await queue.get() == B
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 0.01)
        queue.done(A)
        assert await queue.get() == A

    _run(test)


def test_a_closed_queue_lets_everybody_go() -> None:
    async def test(queue: WorkQueue) -> None:
        waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.close()
        assert await asyncio.gather(*waiting) == [None] * 3
        queue.add(A)
        assert await queue.get() is None

    _run(test)


def test_a_queue_is_stalled_while_nothing_of_it_is_done() -> None:
    now = 100.0
    queue = WorkQueue(lambda: now)
    assert queue.stalled_seconds == 0
    queue.add(A)
    now = 130.0
    assert queue.stalled_seconds == 30
    queue.add(B)
    assert queue.stalled_seconds == 30
    asyncio.run(queue.get())
    queue.done(A)
    assert queue.stalled_seconds == 0


@given(st.lists(st.sampled_from("agd"), max_size=60))
def test_no_key_is_worked_on_twice_at_a_time_and_none_is_lost(steps: list[str]) -> None:
    async def test(queue: WorkQueue) -> None:
        working: list[ObjectKey] = []
        wanted: set[ObjectKey] = set()
        for number, step in enumerate(steps):
            key = (A, B)[number % 2]
            if step == "a":
                queue.add(key)
                wanted.add(key)
            elif step == "g" and wanted - set(working):
                taken = await queue.get()
                assert taken is not None
                assert taken not in working
                working.append(taken)
                wanted.discard(taken)
            elif step == "d" and working:
                queue.done(working.pop(0))
        for key in working:
            queue.done(key)
        assert {await queue.get() for _ in wanted} == wanted

    _run(test)


def test_a_timer_rings_once_and_the_soonest_counts() -> None:
    async def test(queue: WorkQueue) -> None:
        rung: list[ObjectKey] = []
        wake = Wake(rung.append)
        wake.within(3600, A)
        wake.within(-1, A)
        wake.within(3600, A)
        wake.within(0, B)
        wake.cancel(B)
        while not rung:
            await asyncio.sleep(0)
        assert rung == [A]
        assert len(wake) == 0
        wake.within(3600, A)
        wake.stop()
        assert len(wake) == 0

    _run(test)


def test_failures_wait_longer_each_time_up_to_a_limit() -> None:
    backoff = Backoff(chance=lambda: 0.5)
    waits = [backoff.failed(A) for _ in range(15)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == MAX_SECONDS
    assert backoff.failed(B) == 0.25
    assert backoff.failed(B, at_least=7) == 7
    backoff.succeeded(A)
    assert (backoff.failures(A), backoff.failed(A)) == (0, 0.25)
