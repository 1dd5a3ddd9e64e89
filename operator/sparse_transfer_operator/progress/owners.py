"""Whose pod it is: what the endpoint asks of whoever watches the cluster, and the answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import SparseTransferStatus


@dataclass(frozen=True)
class ExperimentId:
    """One experiment: another of the same name is another experiment.

    Args:
        namespace: Its namespace.
        name: Its name.
        uid: Its UID.
    """

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class PodOwner:
    """What a pod works on.

    Args:
        experiment: That owns the Job that owns the pod.
        stage: The Job's stage.
        key: The stage's key.
    """

    experiment: ExperimentId
    stage: Stage
    key: str


class PodOwners(Protocol):
    """Looks up pods in memory; asked at each report, so it must not wait for anything."""

    def owner(self, pod_uid: str) -> PodOwner | None:
        """Returns what a pod works on, by owner references from UID to UID.

        Args:
            pod_uid: Any text; it comes from a token that the API server vouches for.

        Returns:
            None for a pod that is not known, that has ended or is being deleted, and for one whose
            Job has ended, is being deleted, or belongs to no experiment that is known.
        """
        ...


@dataclass(frozen=True)
class RunningStage:
    """The stage whose progress may be shown.

    Args:
        stage: Which one.
        key: Its key: progress under another key is of an older version of the spec.
        started: When its first pod ran; what was reported before is of an earlier run.
    """

    stage: Stage
    key: str
    started: datetime


def running_stage(status: SparseTransferStatus) -> RunningStage | None:
    """Returns the stage that a status says is running; None where no pod of it has run yet."""
    for each in status.stages:
        if each.outcome == "Running" and each.key and each.start_time:
            return RunningStage(each.name, each.key, each.start_time)
    return None
