"""Which of a stage's pods a user means, by what they typed and how the experiment stands."""

from __future__ import annotations

from collections.abc import Sequence

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError
from sparse_transfer_api.status import LevelStatus
from sparse_transfer_api.suggest import listed

from .observed import Observed
from .pods import RunnerPod


def stage_of_interest(experiment: Observed) -> Stage:
    """Returns the stage that runs; else the one that failed; else the last that did anything."""
    stages = experiment.status.stages
    for outcome in ("Running", "Failed", "Stopped"):
        for stage in reversed(stages):
            if stage.outcome == outcome:
                return stage.name
    begun = [stage.name for stage in stages if stage.outcome is not None]
    return begun[-1] if begun else Stage.PREPARE


def chosen(pods: Sequence[RunnerPod], *, previous: bool, attempt: int | None) -> RunnerPod | None:
    """Returns the pod that is meant: the newest, the one before it, or an attempt's newest.

    Args:
        pods: A stage's, oldest first.
        previous: The one before the newest.
        attempt: This attempt's; None for any.

    Returns:
        The pod; None where there are none at all.

    Raises:
        AccessError: There are some, but not the one that is meant.
    """
    if not pods:
        return None
    if attempt is not None:
        of_it = [pod for pod in pods if pod.attempt == attempt]
        if not of_it:
            there = listed(dict.fromkeys(pod.attempt for pod in pods))
            raise AccessError(f"attempt {attempt}: there is no pod of it; there is one of {there}")
        return of_it[-1]
    if previous:
        if len(pods) == 1:
            raise AccessError(f"{pods[0].name}: is the stage's only pod; there is none before it")
        return pods[-2]
    return pods[-1]


def of_stage(pods: Sequence[RunnerPod], experiment: Observed, stage: Stage) -> list[RunnerPod]:
    """Returns a stage's pods, without those of an earlier version of the spec or another level."""
    status = experiment.stage(stage)
    if status is None and experiment.status.search is not None:
        return []
    key = status.key if status is not None else None
    if key is None and experiment.alone is not None:
        return []
    return [pod for pod in pods if pod.stage == stage and key in (None, pod.key)]


def no_pods(experiment: Observed, stage: Stage) -> str:
    """Returns what to say where a stage has no pods: why not, and where its results are."""
    where = f"{experiment.name}, {stage}"
    status = experiment.stage(stage)
    if experiment.alone is not None and (status is None or status.outcome in (None, "Running")):
        return f"{where} at level {experiment.alone.level:g}: {_no_pods_yet(experiment.alone)}"
    if status is None or status.outcome is None:
        return f"{where}: has not begun, so there is no log; --follow waits for it"
    if status.outcome == "Running":
        return f"{where}: has no pod just now; --follow waits for one"
    lines = [
        f"{where}: its pods and their logs are gone (spec.runPolicy.ttlSecondsAfterFinished says "
        "how long they are kept)"
    ]
    ending = f"it ended with {status.outcome}{f' ({status.reason})' if status.reason else ''}"
    lines.append(f"{ending}: {status.message}" if status.message else ending)
    if status.manifest_uri is not None:
        lines.append(f"its results are at {status.manifest_uri.rpartition('/')[0]}")
    return "; ".join(lines)


def _no_pods_yet(level: LevelStatus) -> str:
    if level.same_as is not None:
        return f"is not run, as it equals level {level.same_as:g}; --level {level.same_as:g} has it"
    if level.outcome == "Failed":
        return f"is not run, as the level failed ({level.reason})"
    return "has no pod yet, so there is no log; without --level, --follow waits for all pods"
