"""Following what an experiment's pods write: from pod to pod, from stage to stage, to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError

from .experiments import Experiments
from .observed import Observed, observed
from .outcome import outcome_of
from .patience import Back, Lost, Timing, patiently
from .pods import Pods, RunnerPod
from .refusals import NotThere

POLL_SECONDS = 2.0
"""Between two looks at whether a pod has begun."""
_ENDED = ("Succeeded", "Failed", "Stopped")


@dataclass(frozen=True)
class Began:
    """What follows is of this pod."""

    pod: RunnerPod


@dataclass(frozen=True)
class Line:
    """A line that the pod wrote."""

    text: str


@dataclass(frozen=True)
class Waiting:
    """Nothing is written for this reason; told when it changes."""

    reason: str


Heard = Began | Line | Waiting


def follow_logs(
    experiments: Experiments,
    name: str,
    *,
    stage: Stage | None,
    skipped: frozenset[str],
    timing: Timing | None = None,
) -> Iterator[Heard | Lost | Back]:
    """Yields what pods write, until the stage or, where none is named, the experiment ends.

    Args:
        experiments: Of its namespace.
        name: The experiment's.
        stage: The only one that matters; None for all.
        skipped: UIDs of pods that do not matter.
        timing: How long things may take.

    Raises:
        SparseTransferError: The cluster cannot be asked at first, or for longer than patience.
    """
    timing = timing or Timing()
    pods = Pods(experiments.connection)
    yield from patiently(_Logs(experiments, pods, name, stage, timing, set(skipped)), timing)


@dataclass
class _Logs:
    experiments: Experiments
    pods: Pods
    name: str
    stage: Stage | None
    timing: Timing
    shown: set[str]
    begun: bool = False
    ended: bool = False
    granted: bool = False
    _current: str | None = None
    _last: str = ""
    _reason: str | None = None

    def once(self) -> Iterator[Heard]:
        """Yields what the next pod has written, or why it writes nothing."""
        # In this order: a stage that ends in between has its last pod in the list.
        experiment = observed(self.experiments.get(self.name))
        pod = self._next()
        self.begun = True
        if pod is None:
            self.ended = self._over(experiment)
            if not self.ended:
                yield from self._waiting(f"waiting for a pod ({experiment.phase or 'Pending'})")
        elif not pod.started:
            yield from self._waiting(f"waiting for pod {pod.name}: {pod.waiting}")
        else:
            yield from self._lines(pod)

    def _next(self) -> RunnerPod | None:
        left = [
            pod
            for pod in self.pods.of(self.name)
            if pod.uid not in self.shown and self.stage in (None, pod.stage)
        ]
        return min(left, key=_order, default=None)

    def _over(self, experiment: Observed) -> bool:
        if outcome_of(experiment) is not None:
            return True
        status = experiment.stage(self.stage) if self.stage is not None else None
        return status is not None and experiment.up_to_date and status.outcome in _ENDED

    def _waiting(self, reason: str) -> Iterator[Heard]:
        if reason != self._reason:
            self._reason = reason
            yield Waiting(reason)
        self.timing.pause(POLL_SECONDS)

    def _lines(self, pod: RunnerPod) -> Iterator[Heard]:
        if self._current != pod.uid:
            self._current, self._last, self._reason = pod.uid, "", None
            yield Began(pod)
        try:
            for time, text in self.pods.log(pod.name, follow=not pod.ended):
                # Asked for anew after a pause, the log comes from its beginning.
                if time > self._last:
                    self._last = time
                    yield Line(text)
        except NotThere:
            self.shown.add(pod.uid)
            return
        except InputError as error:
            if pod.ended:
                self.shown.add(pod.uid)  # it ended without ever beginning
            yield from self._waiting(str(error))
            return
        self.granted = True
        if pod.ended:
            self.shown.add(pod.uid)
        else:
            self.timing.pause(POLL_SECONDS / 4)


def _order(pod: RunnerPod) -> tuple[datetime, int, str]:
    # Times are told in whole seconds, and a stage may take less.
    return pod.created, tuple(Stage).index(pod.stage), pod.name
