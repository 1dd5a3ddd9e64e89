"""Plans for what was built, and words for them."""

from __future__ import annotations

from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import LevelStatus, StageStatus
from sparse_transfer_operator.actions import (
    Action,
    CreateJob,
    DeleteExperiment,
    DeleteJob,
    Plan,
    SetSuspend,
)
from sparse_transfer_operator.observed import Children
from sparse_transfer_operator.plan import plan
from sparse_transfer_operator.settings import OperatorSettings

from .builders import SETTINGS, Experiment, Job
from .stage_results import at


def children(owner: Experiment, *jobs: Job) -> Children:
    """Returns Jobs and pods as they are observed."""
    made = [each.observed(owner) for each in jobs]
    return Children(
        jobs=tuple(found for found, _ in made),
        pods=tuple(each for _, pods in made for each in pods),
    )


def planned(
    owner: Experiment,
    *jobs: Job,
    now: datetime | None = None,
    settings: OperatorSettings = SETTINGS,
) -> Plan:
    """Returns the plan for an experiment and its Jobs, by default a minute after noon."""
    return plan(owner.observed(), children(owner, *jobs), now or at(62), settings)


def words(owner: Experiment, found: Plan) -> list[str]:
    """Returns a plan's actions in words, such as ``delete old train``."""
    return [_words(owner, action) for action in found.actions]


def _words(owner: Experiment, action: Action) -> str:
    if isinstance(action, DeleteExperiment):
        return "delete the experiment"
    if isinstance(action, CreateJob):
        how = ["suspended"] * action.suspended + ["recorded-only"] * action.recorded_only
        return " ".join(["create", *how, action.stage.value, *_at(action.level)])
    verb = "delete"
    if isinstance(action, SetSuspend):
        verb = "suspend" if action.suspend else "resume"
    return f"{verb} {_job_words(owner, action)}"


def _job_words(owner: Experiment, action: DeleteJob | SetSuspend) -> str:
    for stage in Stage:
        for level in (None, *owner.spec.get("search", {}).get("levels", ())):
            where = _at(level)
            if action.name == owner.job_name(stage, level=level):
                return " ".join([stage.value, *where])
            if action.name == owner.job_name(stage, recorded_only=True, level=level):
                return " ".join(["recorded-only", stage.value, *where])
        if action.name.startswith(f"{owner.name}-{stage}-"):
            return f"old {stage}"
    return action.name


def _at(level: float | None) -> list[str]:
    return [] if level is None else [f"at {level:g}"]


def condition(found: Plan, kind: str) -> str:
    """Returns a condition in words, such as ``False Unschedulable``."""
    for each in found.status.conditions:
        if each.type == kind:
            return f"{each.status} {each.reason}"
    return "absent"


def message(found: Plan, kind: str = "Complete") -> str:
    return next(each.message for each in found.status.conditions if each.type == kind)


def record(found: Plan, stage: str) -> StageStatus:
    """Returns what the planned status says of a stage."""
    return next(each for each in found.status.stages if each.name == stage)


def at_level(found: Plan, level: float) -> LevelStatus:
    """Returns what the planned status says of a level of its search."""
    assert found.status.search is not None
    return next(each for each in found.status.search.levels if each.level == level)
