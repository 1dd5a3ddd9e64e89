"""What only the leader does: watch, reconcile, tell.

Nothing is planned before all experiments, Jobs and pods have been seen: first the watches begin,
then what is known is compared with what there is, and only then the queue is worked on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import kopf

from sparse_transfer_api.contract import PLURAL

from .bodies import mappings
from .cluster.audit import Audit
from .cluster.connection import REQUEST_SECONDS, Connection
from .cluster.events import EventRecorder
from .cluster.failures import NotServed, RequestFailed
from .cluster.paths import GROUP_PATH
from .cluster.writes import ClusterWrites
from .doing import Doing, JobBuilder, Planner, Progress
from .handlers import NoMemories, kopf_settings, registry
from .metrics import Metrics
from .observer import Observer
from .reconcile import WORKERS, Reconciler
from .settings import OperatorSettings
from .watches import Watches
from .work_queue import WorkQueue

_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_FLUSH_SECONDS = 2.0
_KOPF_STOP_SECONDS = 3.0
_KOPF_END_SECONDS = 10.0
"""That kopf may take to end by itself when something in it failed; it gives tasks 5."""

_log = logging.getLogger(__name__)


class Leading:
    """The reconciling part of the operator, from winning the Lease to its end.

    Args:
        settings: Of the operator.
        connection: To the API server.
        observer: Of the cluster.
        metrics: Where figures go.
        plan: The state machine.
        build: Builds a Job.
        progress: Who shows the progress of running stages.
        signals: Called once kopf has put its signal handlers in place of others'.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        connection: Connection,
        observer: Observer,
        metrics: Metrics,
        plan: Planner,
        build: JobBuilder,
        progress: Progress,
        signals: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._observer = observer
        self._metrics = metrics
        self._signals = signals
        self.queue = WorkQueue()
        self.watches = Watches(settings.namespaces)
        self._synced = asyncio.Event()
        self._kopf_stop = asyncio.Event()
        self._recorder = EventRecorder(connection)
        doing = Doing(
            observer=observer,
            writes=ClusterWrites(connection),
            plan=plan,
            build=build,
            settings=settings,
            recorder=self._recorder,
            meter=metrics,
            progress=progress,
            clock=lambda: datetime.now(UTC),
        )
        self._reconciler = Reconciler(doing, self.queue)
        self._audit = Audit(
            connection,
            observer,
            settings.namespaces,
            self._reconciler.notice,
            self.watches.out_of_reach,
        )
        self._workers: list[asyncio.Task[None]] = []
        self._helpers: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    @property
    def synced(self) -> bool:
        """Whether all objects have been seen."""
        return self._synced.is_set()

    def start(self) -> None:
        """Starts everything; kopf comes last, since it ends what begins after it."""
        self._workers = [self._task(self._work(), f"reconcile-{n}") for n in range(WORKERS)]
        self._helpers = [
            self._task(self._recorder.run(), "events"),
            self._task(self._keep_up(), "audit"),
            self._task(self._resync(), "resync"),
        ]
        self._watching = [self._task(self._watch(), "watch")]

    async def failed(self) -> None:
        """Waits until something ends that should not.

        Raises:
            RuntimeError: It did.
        """
        done, _ = await asyncio.wait(
            [*self._workers, *self._helpers, *self._watching], return_when=asyncio.FIRST_COMPLETED
        )
        ended = done.pop()
        cause = None if ended.cancelled() else ended.exception()
        raise RuntimeError(f"{ended.get_name()} ended by itself") from cause

    async def finish(self) -> None:
        """Ends what writes: what is being reconciled is finished, what waits is left."""
        self.queue.close()
        self._reconciler.wake.stop()
        if self._workers:
            await asyncio.wait(self._workers, timeout=2 * REQUEST_SECONDS)
        for task in [*self._workers, *self._helpers]:
            task.cancel()
        await self._recorder.flush(_FLUSH_SECONDS)

    async def stop(self) -> None:
        """Ends the watches."""
        self._kopf_stop.set()
        if self._watching:
            await asyncio.wait(self._watching, timeout=_KOPF_STOP_SECONDS)
        for task in self._watching:
            task.cancel()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=name)

    async def _work(self) -> None:
        await self._synced.wait()
        await self._reconciler.work()

    async def _keep_up(self) -> None:
        """Compares what is known with what there is, each time that a watch began."""
        while True:
            kinds = await self.watches.begun()
            while not await self._audited(kinds):
                await asyncio.sleep(_RETRY_SECONDS[0])
            if not self.synced:
                _log.info("%d experiments", len(self._observer))
                for key in self._observer.experiments():
                    self.queue.add(key)
                self._synced.set()

    async def _resync(self) -> None:
        """Compares all, now and then, whatever happened."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            if self.synced:
                await self._audited()

    async def _audited(self, *kinds: Any) -> bool:
        try:
            await self._audit.run(*kinds)
        except RequestFailed as error:
            self._metrics.failed("AuditFailed")
            _log.warning("not all objects could be listed: %s", error)
            return False
        return True

    async def _watch(self) -> None:
        """Runs kopf, again and again should it fail."""
        failures = 0
        while not self._kopf_stop.is_set():
            try:
                await self._served()
                await self._run_kopf()
                return
            except Exception:  # noqa: BLE001 (whatever ended kopf, it is begun anew)
                failures += 1
                self._metrics.failed("WatchFailed")
                _log.exception("watching failed")
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1])

    async def _run_kopf(self) -> None:
        handlers = registry(
            self._connection.client,
            self._observer,
            self.watches,
            self._reconciler.notice,
            self._metrics.answered,
            self._metrics.failed,
        )
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=handlers,
            settings=kopf_settings(),
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            standalone=True,
            memories=NoMemories(),
            stop_flag=self._kopf_stop,
        )
        self._signals()
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=others), name="kopf")
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            while not (await asyncio.wait({running}, timeout=_KOPF_END_SECONDS))[0]:
                # It cancels each of its tasks only once, and one that asks for credentials just
                # then waits for ever.
                for task in asyncio.all_tasks() - others - {running}:
                    task.cancel()
            await running
        finally:
            running.cancel()

    async def _served(self) -> None:
        """Waits until the API server knows experiments: kopf looks only once."""
        told = False
        while True:
            try:
                found = await self._connection.request("GET", GROUP_PATH)
                if any(each.get("name") == PLURAL for each in mappings(found, "resources")):
                    return
            except NotServed:
                pass
            if not told:
                _log.warning("the CustomResourceDefinition of %s is not installed yet", PLURAL)
                told = True
            self.watches.excuse()
            await asyncio.sleep(_RETRY_SECONDS[1])
