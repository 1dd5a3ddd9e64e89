"""The same work for many items at once, with few of them waiting and the first failure final."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PENDING = 4
"""Items in the queue of each worker: enough to keep it busy, and no memory for all the rest."""


def at_once(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yields each item with its result as they come; the first failure ends the rest."""
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    pending: dict[Future[Result], Item] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                future = pool.submit(work, item)
                pending[future] = item
                future.add_done_callback(done.put)
                if len(pending) >= _PENDING * workers:
                    yield _first(done, pending)
            while pending:
                yield _first(done, pending)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _first(
    done: SimpleQueue[Future[Result]], pending: dict[Future[Result], Item]
) -> tuple[Item, Result]:
    future = done.get()
    return pending.pop(future), future.result()
