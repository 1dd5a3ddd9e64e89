"""What reconciling is done with: each part behind what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sparse_transfer_api.spec import SparseTransferExperiment

from .actions import CreateJob, Event, Plan
from .cluster.writes import Writes
from .object_key import ObjectKey
from .observed import Children, ObservedExperiment
from .observer import Observer
from .progress import ExperimentId, RunningStage
from .settings import OperatorSettings

Planner = Callable[[ObservedExperiment, Children, datetime, OperatorSettings], Plan]
JobBuilder = Callable[[SparseTransferExperiment, CreateJob], dict[str, Any]]


class Recorder(Protocol):
    """Where events go."""

    def tell(self, key: ObjectKey, uid: str, event: Event) -> None:
        """Wants an event to be written, some time soon."""


class Meter(Protocol):
    """Where figures go."""

    def reconciled(self, seconds: float) -> None:
        """Counts a reconcile."""

    def failed(self, reason: str) -> None:
        """Counts a reconcile that failed."""

    def written(self, before: ObservedExperiment, children: Children, after: Plan) -> None:
        """Counts what a new status says."""


class Progress(Protocol):
    """Who shows the progress of running stages."""

    def settle(
        self, experiment: ExperimentId, running: RunningStage | None, shown: datetime | None
    ) -> None:
        """Says what runs of an experiment, and when the progress that is shown was reported."""


@dataclass(frozen=True)
class Doing:
    """What reconciling is done with.

    Args:
        observer: What is known of the cluster.
        writes: What changes the cluster.
        plan: The state machine.
        build: Builds a Job.
        settings: Of the operator.
        recorder: Where events go.
        meter: Where figures go.
        progress: Who shows the progress of running stages.
        clock: The time, in UTC.
    """

    observer: Observer
    writes: Writes
    plan: Planner
    build: JobBuilder
    settings: OperatorSettings
    recorder: Recorder
    meter: Meter
    progress: Progress
    clock: Callable[[], datetime]
