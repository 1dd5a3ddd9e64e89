"""Which of a stage's pods a user means, by what they typed and how the experiment stands."""

from __future__ import annotations

from collections.abc import Sequence

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError
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
    return [pod for pod in pods if pod.stage == stage and key in (None, pod.key)]


def no_pods(experiment: Observed, stage: Stage, *, waits: str = "--follow") -> str:
    """Returns what to say where a stage has no pods: why not, and where its results are.

    Args:
        experiment: Whose stage it is.
        stage: The stage.
        waits: The option that waits for pods.
    """
    where = f"{experiment.name}, {stage}"
    status = experiment.stage(stage)
    if status is None or status.outcome is None:
        return f"{where}: has not begun, so there is no log; {waits} waits for it"
    if status.outcome == "Running":
        return f"{where}: has no pod just now; {waits} waits for one"
    lines = [
        f"{where}: its pods and their logs are gone (spec.runPolicy.ttlSecondsAfterFinished says "
        "how long they are kept)"
    ]
    ending = f"it ended with {status.outcome}{f' ({status.reason})' if status.reason else ''}"
    lines.append(f"{ending}: {status.message}" if status.message else ending)
    if status.manifest_uri is not None:
        lines.append(f"its results are at {status.manifest_uri.rpartition('/')[0]}")
    return "; ".join(lines)
