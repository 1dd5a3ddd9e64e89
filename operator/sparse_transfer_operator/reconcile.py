"""Reconciling one experiment: observe, plan, act, write the status if it changed, tell.

Level-based: what is done follows from what is there, never from what happened, so that it may be
repeated at any time. What fails is repeated later, and later each time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import datetime

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.fitting import fitted_status
from sparse_transfer_api.status import SparseTransferStatus

from .actions import Action, CreateJob, DeleteExperiment, DeleteJob, Plan
from .backoff import Backoff
from .cluster.failures import Conflict, NotFound, Refused, RequestFailed
from .doing import Doing
from .gathering import Gathering
from .object_key import ObjectKey
from .observed import ObservedExperiment
from .observer import Kind, News, Seen
from .plan.events import transitions
from .progress import ExperimentId, running_stage
from .projection import observed_status
from .refusal import with_refusal
from .wake import Wake
from .work_queue import WorkQueue

WORKERS = 16
"""Experiments that are reconciled at a time."""
SETTLE_SECONDS = 30.0
"""After a write, an experiment is looked at once more, should nothing else lead there before."""
_CONFLICTS = 5
"""In a row, of one write: so often may progress be written just then."""
_PASSING_TRIES = 4
"""Most trouble passes, and a name that is taken is given back soon: told after so many tries."""

_REMOVALS = (DeleteJob, DeleteExperiment)
"""May be refused without holding up the rest: nothing depends on them."""

_log = logging.getLogger(__name__)


class Reconciler:
    """Takes keys from the queue; of one key there is never more than one reconcile at a time."""

    def __init__(self, doing: Doing, queue: WorkQueue) -> None:
        self._do = doing
        self._queue = queue
        self._backoff = Backoff()
        self._gathering = Gathering(queue.__len__)
        self.wake = Wake(queue.add)

    def notice(self, news: News | None) -> None:
        """Wants an experiment to be looked at because of news: at once, or with what follows."""
        if news is None:
            return
        if news.urgent:
            self._queue.add(news.key)
            return
        self.wake.within(self._gathering.news(news.key), news.key)

    async def work(self) -> None:
        """Reconciles until the queue is closed; several of these share it."""
        while (key := await self._queue.get()) is not None:
            begin = time.perf_counter()
            try:
                await self.reconcile(key)
            except RequestFailed as error:
                self._retry(key, error.reason, error.retry_after)
                _log.warning("%s: %s", key, error)
            except Exception as error:  # noqa: BLE001 (the top edge: nothing may stop the others)
                self._retry(key, type(error).__name__)
                _log.exception("%s: reconciling failed", key)
            finally:
                self._do.meter.reconciled(time.perf_counter() - begin)
                self._queue.done(key)
            # Others get their turn, even where nothing has to be waited for.
            await asyncio.sleep(0)

    async def reconcile(self, key: ObjectKey) -> None:
        """Does what is due for one experiment, and sets its timer.

        Raises:
            RequestFailed: Something could not be done; nothing of it was recorded.
        """
        seen = self._do.observer.look(key)
        self.wake.cancel(key)
        if seen is None:
            self._backoff.succeeded(key)
            self._gathering.over(key)
            return
        observed, children, _ = seen
        now = self._do.clock()
        plan = self._do.plan(observed, children, now, self._do.settings)
        left: Refused | None = None
        for action in plan.actions:
            try:
                # The watch does not tell again what the answer has told already.
                self.notice(await self._act(key, observed, action))
            except (RequestFailed, InputError) as error:
                if isinstance(action, CreateJob) and self._is_told(key, error):
                    await self._refused(key, seen, plan, action, error, now)
                    return
                left = _passed_over(action, error)
        self._settle(key, observed, plan.status)
        if left is None:
            self._backoff.succeeded(key)
        seconds = self._next(plan, now)
        if (wait := self._gathering.wait(key, observed.status, plan.status)) > 0:
            seconds = min(seconds, wait)
        elif await self._write(key, seen, plan.status):
            seconds = min(seconds, SETTLE_SECONDS)
            self._do.meter.written(observed, children, plan)
            for event in plan.events:
                self._do.recorder.tell(key, observed.uid, event)
        self.wake.within(seconds, key)
        if left is not None:
            raise left

    def _is_told(self, key: ObjectKey, error: RequestFailed | InputError) -> bool:
        """Whether the status shall say that there is no Job: trouble that may pass comes first."""
        if isinstance(error, Refused | InputError):
            return True
        return self._backoff.failures(key) >= _PASSING_TRIES

    async def _act(
        self, key: ObjectKey, observed: ObservedExperiment, action: Action
    ) -> News | None:
        """Does one thing; returns what is new by its answer."""
        writes, namespace = self._do.writes, key.namespace
        if isinstance(action, DeleteExperiment):
            await writes.delete_experiment(key, observed.uid)
            return None
        if isinstance(action, CreateJob):
            if observed.experiment is None:
                raise ValueError("a plan wants a Job of an experiment that is not valid")
            manifest = self._do.build(observed.experiment, action)
            made = await writes.create_job(namespace, manifest, observed.uid)
            return self._do.observer.see(Kind.JOB, made)
        if isinstance(action, DeleteJob):
            left = await writes.delete_job(namespace, action.name, action.uid)
        else:
            left = await writes.suspend_job(namespace, action.name, action.uid, action.suspend)
        if left is None:
            return self._do.observer.bury(Kind.JOB, key, action.uid)
        return self._do.observer.see(Kind.JOB, left)

    async def _write(self, key: ObjectKey, seen: Seen, status: SparseTransferStatus) -> bool:
        """Writes a status where it differs; returns whether it did."""
        self._gathering.over(key)
        if status.progress is not None:
            status = status.model_copy(update={"progress": None})
        if status == seen.experiment.status:
            return False
        document = fitted_status(status)
        if observed_status(document) == seen.experiment.status:
            return False  # but for what was cut off
        observer, writes = self._do.observer, self._do.writes
        observer.expect(key, document)
        try:
            for tries in range(1, _CONFLICTS + 1):
                version = observer.version(key, seen.mark)
                if version is None:
                    break
                try:
                    body = await writes.apply_status(key, version, document)
                    observer.see(Kind.EXPERIMENT, body)
                    return True
                except Conflict:
                    # Only progress may have been written meanwhile; else all is planned anew.
                    observer.see(Kind.EXPERIMENT, await writes.read_experiment(key))
                    if tries == _CONFLICTS:
                        raise
        except NotFound:
            observer.bury(Kind.EXPERIMENT, key, seen.experiment.uid)
        finally:
            observer.expect(key, None)
        self._queue.add(key)
        return False

    def _settle(
        self, key: ObjectKey, observed: ObservedExperiment, status: SparseTransferStatus
    ) -> None:
        known = self._do.observer.summary(key)
        if known is not None:  # it is not gone meanwhile
            experiment = ExperimentId(key.namespace, key.name, observed.uid)
            self._do.progress.settle(experiment, running_stage(status), known.reported)

    async def _refused(
        self,
        key: ObjectKey,
        seen: Seen,
        plan: Plan,
        order: CreateJob,
        error: RequestFailed | InputError,
        now: datetime,
    ) -> None:
        """Says that there is no Job, and tries again later."""
        self._do.meter.failed(error.reason)
        _log.warning("%s: %s", key, error)
        wait = (error.retry_after or 0.0) if isinstance(error, RequestFailed) else 0.0
        seconds = self._backoff.failed(key, wait)
        observed = seen.experiment
        said = with_refusal(observed.status, plan.status, order.stage, error, now)
        self._settle(key, observed, said)
        if await self._write(key, seen, said):
            self._do.meter.written(observed, seen.children, Plan(said))
            for event in transitions(observed.status, said):
                self._do.recorder.tell(key, observed.uid, event)
        self.wake.within(seconds, key)

    def _retry(self, key: ObjectKey, reason: str, at_least: float | None = None) -> None:
        self._do.meter.failed(reason)
        self.wake.within(self._backoff.failed(key, at_least or 0.0), key)

    def _next(self, plan: Plan, now: datetime) -> float:
        """Returns seconds until the next look though nothing happens."""
        # Spread, so that what was looked at together at the start is not for ever.
        seconds = self._do.settings.resync_seconds * random.uniform(0.75, 1)
        if plan.next_check is not None:
            seconds = min(seconds, (plan.next_check - now).total_seconds())
        return seconds


def _passed_over(action: Action, error: Exception) -> Refused:
    """Returns a failure that holds nothing up; raises any other."""
    if isinstance(error, Refused) and isinstance(action, _REMOVALS):
        return error
    raise error
