"""Writes progress into statuses: the newest of each experiment, at a bounded rate.

Server-side apply with a field manager of its own, which owns ``status.progress`` and nothing else;
to take progress away is to apply a document without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from sparse_transfer_api.contract import API_VERSION, KIND, PLURAL

from ..bodies import Body, mapping, text
from ..cluster.connection import APPLY_PATCH, Connection
from ..cluster.failures import Conflict, NotFound, Refused, RequestFailed
from ..names import PROGRESS_FIELD_MANAGER
from .allowances import Allowance, Rate
from .board import Board, Outcome, Write

_LOG = logging.getLogger(__name__)
_AT_ONCE = 8
"""Requests that wait for their answer: a slow one does not hold up all others."""
_STANDBY_SECONDS = 1.0
_TELL_SECONDS = 60.0


class ProgressWriter:
    """Writes what a board says is due.

    Args:
        connection: To the API server.
        board: What is due.
        writes_per_second: Of all experiments together.
        may_write: Whether this replica leads.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        connection: Connection,
        board: Board,
        writes_per_second: float,
        may_write: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._board = board
        self._allowance = Allowance(Rate(writes_per_second, burst=1), clock())
        self._may_write = may_write
        self._clock = clock
        self._changed = asyncio.Event()
        self._writing: set[asyncio.Task[None]] = set()
        self._told = float("-inf")

    def wake(self) -> None:
        """Says that the board has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Writes until it is cancelled."""
        try:
            while True:
                self._changed.clear()
                wait = self._write_one()
                if wait != 0:
                    # Before Python 3.12 wait_for loses a cancellation that comes with news.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._changed.wait()
        finally:
            for task in self._writing:
                task.cancel()
            await asyncio.gather(*self._writing, return_exceptions=True)

    def _write_one(self) -> float | None:
        """Begins what is due; returns seconds until there may be more, or None for no idea."""
        now = self._clock()
        due = self._board.next_due()
        if due is None or len(self._writing) >= _AT_ONCE:
            return None
        if not self._may_write():
            return _STANDBY_SECONDS
        if wait := max(due - now, self._allowance.wait(now)):
            return wait
        if (write := self._board.take(now)) is not None:
            self._allowance.spend(now)
            task = asyncio.create_task(self._write(write))
            self._writing.add(task)
            task.add_done_callback(self._ended)
        return 0

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._changed.set()

    async def _write(self, write: Write) -> None:
        outcome = Outcome.FAILED
        try:
            outcome = await self._applied(write)
        finally:
            self._board.ended(write, outcome, self._clock())

    async def _applied(self, write: Write) -> Outcome:
        try:
            answer = await self._apply(write)
            # The API server does not compare UIDs where the status of a custom resource is applied.
            if text(mapping(answer, "metadata"), "uid") != write.experiment.uid:
                await self._apply(Write(write.experiment, None))
                return Outcome.GONE
        except (NotFound, Conflict):
            return Outcome.GONE
        except RequestFailed as error:
            self._tell(write, error)
            return Outcome.REFUSED if isinstance(error, Refused) else Outcome.FAILED
        return Outcome.DONE

    async def _apply(self, write: Write) -> Body:
        experiment = write.experiment
        place = f"namespaces/{experiment.namespace}/{PLURAL}/{experiment.name}"
        answer: Body = await self._connection.request(
            "PATCH",
            f"/apis/{API_VERSION}/{place}/status",
            query={"fieldManager": PROGRESS_FIELD_MANAGER, "force": "true"},
            body=_document(write),
            content=APPLY_PATCH,
        )
        return answer

    def _tell(self, write: Write, error: RequestFailed) -> None:
        if self._clock() - self._told >= _TELL_SECONDS:
            self._told = self._clock()
            _LOG.warning("progress of %s cannot be written: %s", write.experiment, error)


def _document(write: Write) -> dict[str, Any]:
    experiment, progress = write.experiment, write.progress
    metadata = {"name": experiment.name, "namespace": experiment.namespace}
    status = {} if progress is None else {"status": {"progress": progress.to_json_dict()}}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, **status}
