"""What a plan looks at: of all that was observed, what belongs to the experiment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.spec import RunPolicy, SparseTransferExperiment
from sparse_transfer_operator.effective import effective
from sparse_transfer_operator.names import job_name
from sparse_transfer_operator.observed import (
    Children,
    ObservedExperiment,
    ObservedJob,
    ObservedPod,
)
from sparse_transfer_operator.settings import OperatorSettings

Pods = tuple[ObservedPod, ...]


@dataclass(frozen=True)
class View:
    """One experiment and its children.

    Args:
        observed: As the API server has it.
        experiment: With what the settings add.
        jobs: Those that the experiment owns.
        taken: Names of Jobs that somebody else owns, mostly a deleted experiment of this name.
        pods: Of each Job by its UID, in the order in which they were made.
        now: The time, in whole seconds.
        queued: New Jobs belong to a queue manager.
    """

    observed: ObservedExperiment
    experiment: SparseTransferExperiment
    jobs: tuple[ObservedJob, ...]
    taken: frozenset[str]
    pods: Mapping[str, Pods]
    now: datetime
    queued: bool

    @classmethod
    def of(
        cls,
        observed: ObservedExperiment,
        experiment: SparseTransferExperiment,
        children: Children,
        now: datetime,
        settings: OperatorSettings,
    ) -> View:
        """Returns the view of an experiment whose spec is valid."""
        pods: defaultdict[str, Pods] = defaultdict(tuple)
        for pod in sorted(children.pods, key=lambda each: (each.created, each.name)):
            pods[pod.job_uid] += (pod,)
        return cls(
            observed=observed,
            experiment=effective(experiment, settings),
            jobs=tuple(each for each in children.jobs if each.owner_uid == observed.uid),
            taken=frozenset(each.name for each in children.jobs if each.owner_uid != observed.uid),
            pods=pods,
            now=now,
            queued=settings.queue_label in experiment.metadata.labels,
        )

    @property
    def policy(self) -> RunPolicy:
        """How the user wants the Jobs to run."""
        return self.experiment.spec.run_policy

    def job(self, stage: Stage, key: str, *, recorded_only: bool = False) -> ObservedJob | None:
        """Returns the experiment's Job of a stage and key."""
        return next(
            (
                each
                for each in self.jobs
                if (each.stage, each.key, each.recorded_only) == (stage, key, recorded_only)
            ),
            None,
        )

    def job_name(self, stage: Stage, key: str, *, recorded_only: bool = False) -> str:
        """Returns the name of the Job of a stage and key."""
        return job_name(self.observed.name, stage, key, recorded_only=recorded_only)

    def pods_of(self, job: ObservedJob | None) -> Pods:
        """Returns a Job's pods, oldest first."""
        return () if job is None else self.pods.get(job.uid, ())
