"""The operator as a process: log in, serve probes, wait for the Lease, lead, stop in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes.aio.client import ApiClient

from sparse_transfer_api.spec import SparseTransferExperiment

from .actions import CreateJob
from .cluster.connection import Connection
from .cluster.failures import RequestFailed
from .cluster.login import log_in
from .effective import effective
from .health import HealthServer, Vitals
from .jobs import build
from .leading import Leading
from .lease import Election, LeaseLost
from .metrics import Metrics
from .object_key import ObjectKey
from .observer import Observer
from .plan import plan
from .progress import ExperimentId, ProgressEndpoint
from .settings import OperatorSettings

_PROGRESS_RETRY_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Process:
    """One operator.

    Args:
        settings: Of the operator.
        client: Logged in.
    """

    def __init__(self, settings: OperatorSettings, client: ApiClient) -> None:
        self._settings = settings
        self._observer = Observer(settings.queue_label, self._gone)
        self._metrics = Metrics(self._observer.summaries)
        self._connection = Connection(client, self._metrics.answered)
        self._election = Election(self._connection, settings.namespace, settings.lease, _identity())
        self._progress = ProgressEndpoint(
            settings,
            self._connection,
            self._observer,
            lambda: self._election.leading,
            answered=self._metrics.posted,
        )
        self._serving_progress = False
        self._leading: Leading | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Runs until a signal.

        Raises:
            RuntimeError: Something ended that should not.
        """
        self._take_signals()
        server = HealthServer(self._settings.http_port, self._metrics.registry, self._vitals)
        await server.start()
        progress = asyncio.create_task(self._serve_progress(), name="progress")
        try:
            if await self._unless_stopped(self._election.acquire()):
                await self._lead()
        finally:
            await self._election.release()
            progress.cancel()
            await self._progress.stop()
            if self._leading is not None:
                await self._leading.stop()
            await server.stop()
            await self._connection.close()

    async def _lead(self) -> None:
        self._leading = leading = Leading(
            self._settings,
            self._connection,
            self._observer,
            self._metrics,
            plan,
            self._job,
            self._progress,
            self._take_signals,
        )
        leading.start()
        held = asyncio.create_task(self._hold(), name="lease")
        failed = asyncio.create_task(leading.failed(), name="leading")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        done, pending = await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        _log.info("stopping")
        await leading.finish()
        # Until here something may have been written.
        held.cancel()
        if failed in done:
            failed.result()

    async def _hold(self) -> None:
        """Renews the Lease, and ends the process when that does not work any more."""
        try:
            await self._election.hold()
        except LeaseLost as error:
            # Nothing may be written from now on, so nothing is finished in order.
            _log.critical("%s: ending at once", error)
            logging.shutdown()
            os._exit(1)

    def _job(self, experiment: SparseTransferExperiment, order: CreateJob) -> dict[str, Any]:
        """Builds a Job of the experiment as it is run."""
        access = self._progress.access() if self._serving_progress else None
        return build(effective(experiment, self._settings), order, self._settings, access)

    async def _serve_progress(self) -> None:
        """Keeps the endpoint going, however long that takes: nothing else waits for it."""
        while self._settings.progress.enabled:
            try:
                await self._progress.start()
                self._serving_progress = True
                # kopf, when it fails, cancels whatever began after it.
                await self._progress.ended()
                _log.warning("progress is not taken for a moment")
            except (RequestFailed, OSError) as error:
                _log.warning("progress cannot be taken yet: %s", error)
            self._metrics.failed("ProgressUnavailable")
            await asyncio.sleep(_PROGRESS_RETRY_SECONDS)

    def _gone(self, key: ObjectKey, uid: str) -> None:
        self._progress.forget(ExperimentId(key.namespace, key.name, uid))

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Returns whether work ended before a signal came."""
        doing = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if doing.done():
            doing.result()
            return True
        doing.cancel()
        with suppress(asyncio.CancelledError):
            await doing
        return False

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stop.set)

    def _vitals(self) -> Vitals:
        leading = self._leading
        return Vitals(
            leading=self._election.leading,
            synced=leading is not None and leading.synced,
            watch_silent_seconds=leading.watches.silent_seconds if leading else 0.0,
            queue_depth=len(leading.queue) if leading else 0,
            queue_stalled_seconds=leading.queue.stalled_seconds if leading else 0.0,
            lease_silent_seconds=time.monotonic() - self._election.heard,
        )


async def operate(settings: OperatorSettings, kubeconfig: Path | None) -> None:
    """Runs the operator until a signal.

    Args:
        settings: Of the operator.
        kubeconfig: How to log in; None for the pod's service account.

    Raises:
        AccessError: It cannot log in.
        RuntimeError: Something ended that should not.
    """
    await Process(settings, await log_in(kubeconfig)).run()


def _identity() -> str:
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
