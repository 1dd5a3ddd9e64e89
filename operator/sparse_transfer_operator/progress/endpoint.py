"""The endpoint as a whole: certificates, listener, reception and writer, started and stopped."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sparse_transfer_api.status import ProgressStatus

from ..cluster.connection import Connection
from ..cluster.failures import RequestFailed
from ..jobs.progress_access import ProgressAccess
from ..settings import OperatorSettings
from .board import Board
from .certificate_store import CertificateStore, SecretName
from .certificates import Certificates
from .listener import Limits, Listener, listening_socket
from .owners import ExperimentId, PodOwner, PodOwners, RunningStage
from .server import Reception
from .tls import server_context
from .tokens import TokenReviewer
from .writer import ProgressWriter

_LOG = logging.getLogger(__name__)
RELOAD_SECONDS = 3600.0
"""Between two looks at the Secret; another replica may have renewed the leaf a month too early."""
RETRY_SECONDS = 5.0
"""After a write that failed; less where progress is written more often."""

OnProgress = Callable[[ExperimentId, ProgressStatus | None], None]


def _now() -> datetime:
    return datetime.now(UTC)


def _tell_end(task: asyncio.Task[None]) -> None:
    """Says that something ended that should not; until it begins again, progress is lost."""
    if not task.cancelled():
        _LOG.error("%s ended", task.get_name(), exc_info=task.exception())


class ProgressEndpoint:
    """Takes reports of running stages, and shows them in statuses.

    Args:
        settings: Of the operator.
        connection: To the API server.
        owners: Tells whose pods they are.
        is_leader: Whether this replica leads; another one refuses reports and writes nothing.
        on_progress: Called with each report that is taken, and with None when an experiment has
            no progress any more; for metrics. It must be quick and raise nothing.
        answered: Called with the status of HTTP of each answer; for metrics, likewise.
        address: Of the interface to listen on; None for all.
        limits: What connections may take.
        clock: Monotonic seconds.
        now: The time, with its zone.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        connection: Connection,
        owners: PodOwners,
        is_leader: Callable[[], bool],
        on_progress: OnProgress = lambda *_: None,
        *,
        answered: Callable[[int], None] = lambda _: None,
        address: str | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ) -> None:
        progress = settings.progress
        self._settings = progress
        self._address = address
        self._clock = clock
        self._on_progress = on_progress
        retry = min(RETRY_SECONDS, progress.interval_seconds)
        self._board = Board(progress.interval_seconds, retry)
        self._writer = ProgressWriter(
            connection, self._board, progress.writes_per_second, is_leader, clock
        )
        secret = SecretName(settings.namespace, progress.secret)
        self._store = CertificateStore(connection, secret, progress.host, now)
        reviewer = TokenReviewer(connection, progress.url, clock)
        reception = Reception(reviewer, owners, is_leader, self._take, answered, clock, now)
        self._listener = Listener(reception.answer, self._context, limits)
        self._shown: tuple[Certificates, ssl.SSLContext] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Makes or reads the certificates, and listens.

        Raises:
            RequestFailed: The Secret of the certificates can neither be read nor written.
            OSError: The port cannot be used.
        """
        await self.reload()
        listening = listening_socket(self._address, self._settings.port)
        self._tasks = [
            asyncio.create_task(each, name=f"progress {name}")
            for name, each in (
                ("listener", self._listener.run(listening)),
                ("writer", self._writer.run()),
                ("certificates", self._reload_for_ever()),
            )
        ]
        for task in self._tasks:
            task.add_done_callback(_tell_end)

    async def ended(self) -> None:
        """Waits until a part of it ends by itself, and ends the others: it may be started again."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await self.stop()

    async def stop(self) -> None:
        """Ends all connections and writes; what was not written is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def access(self) -> ProgressAccess:
        """Returns what runners need to know; once the endpoint has started."""
        certificates, _ = self._ready()
        return ProgressAccess(self._settings.url, certificates.ca.certificate_pem.decode("ascii"))

    def settle(
        self, experiment: ExperimentId, running: RunningStage | None, shown: datetime | None
    ) -> None:
        """Says what runs of an experiment; to be called at each reconcile.

        Progress of anything else is refused from now on, and taken away where it is shown.

        Args:
            experiment: Of which.
            running: As ``running_stage`` finds it in the status that was planned.
            shown: ``status.progress.lastUpdatedTime`` as observed; None where there is no progress.
        """
        if self._board.settle(experiment, running, shown, self._clock()):
            self._on_progress(experiment, None)
        self._writer.wake()

    def forget(self, experiment: ExperimentId) -> None:
        """Says that an experiment is gone."""
        self._board.forget(experiment)
        self._on_progress(experiment, None)

    async def reload(self) -> None:
        """Reads the certificates again, renews what is due, and shows them to new connections.

        Raises:
            RequestFailed: The Secret can neither be read nor written just now.
        """
        found = await self._store.certificates()
        if self._shown is None or self._shown[0] != found:
            self._shown = (found, server_context(found))

    async def _reload_for_ever(self) -> None:
        while True:
            # Replicas that were started together do not renew together.
            await asyncio.sleep(RELOAD_SECONDS * random.uniform(0.9, 1.1))
            try:
                await self.reload()
            except RequestFailed as error:
                _LOG.warning("the progress endpoint's certificates cannot be looked at: %s", error)

    def _take(self, owner: PodOwner, progress: ProgressStatus) -> bool:
        if not self._board.report(owner, progress, self._clock()):
            return False
        self._on_progress(owner.experiment, progress)
        self._writer.wake()
        return True

    def _context(self) -> ssl.SSLContext:
        return self._ready()[1]

    def _ready(self) -> tuple[Certificates, ssl.SSLContext]:
        if self._shown is None:
            raise RuntimeError("the progress endpoint has not started")
        return self._shown
