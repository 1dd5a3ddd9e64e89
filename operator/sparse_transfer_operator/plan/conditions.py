"""Phase and conditions: one situation, told to people, to kubectl wait and to kstatus.

kstatus (Flux, Argo CD) is Reconciling only until the first Job is made, and then Current, as for a
batch Job: nobody waits hours for a training. ``Complete`` tells the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.message import bounded
from sparse_transfer_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    Phase,
    StageStatus,
    with_condition,
)

from .standing import Standing, Step
from .texts import reason_or

COMPLETED = "Completed"
WAITING = "Waiting"
IN_PROGRESS = "InProgress"

RUNNING_PHASE: Mapping[Stage, Phase] = {
    Stage.PREPARE: Phase.PREPARING,
    Stage.TRAIN: Phase.TRAINING,
    Stage.PACKAGE: Phase.PACKAGING,
}
STAGE_CONDITION: Mapping[Stage, ConditionType] = {
    Stage.PREPARE: ConditionType.PREPARED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.PACKAGE: ConditionType.PACKAGED,
}
_WAITING_PHASE = {
    Standing.PENDING: Phase.PENDING,
    Standing.QUEUED: Phase.QUEUED,
    Standing.SUSPENDED: Phase.SUSPENDED,
    Standing.FAILED: Phase.FAILED,
    Standing.DONE: Phase.SUCCEEDED,
}
_ENDED = (Phase.SUCCEEDED, Phase.FAILED)

Fact = tuple[ConditionType, bool, str, str]
"""Type, whether it holds, reason and message."""


@dataclass(frozen=True)
class Situation:
    """Where an experiment stands.

    Args:
        phase: In one word.
        reason: Why, in one CamelCase word.
        message: The same for people.
        reconciling: Nothing of the wanted run has been started.
    """

    phase: Phase
    reason: str
    message: str
    reconciling: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is going to happen by itself."""
        return self.phase in _ENDED


def situation_of(step: Step, records: tuple[StageStatus, ...]) -> Situation:
    """Returns where the experiment stands, by the last stage that was reached."""
    record = step.record
    waits = step.standing is Standing.PENDING and record.job is None
    return Situation(
        phase=_WAITING_PHASE.get(step.standing, RUNNING_PHASE[record.name]),
        reason=record.reason or IN_PROGRESS,
        message=record.message or "",
        reconciling=waits and not any(each.outcome == "Succeeded" for each in records),
    )


def conditions_of(
    situation: Situation,
    records: tuple[StageStatus, ...] | None,
    old: tuple[Condition, ...],
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Returns the conditions, each with the time at which it last changed.

    Args:
        situation: Where the experiment stands.
        records: Of the stages; None where nothing can be said of them, so that they stay.
        old: As they were.
        generation: Of the spec.
        now: The time.
    """
    conditions = old
    facts = [*([] if records is None else _of_stages(situation, records)), *_of_all(situation)]
    for kind, holds, reason, message in facts:
        new = Condition(
            type=kind,
            status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
            observed_generation=generation,
            last_transition_time=now,
            reason=reason_or(reason, IN_PROGRESS),
            message=bounded(message),
        )
        conditions = with_condition(conditions, new)
    return conditions


def _of_stages(situation: Situation, records: tuple[StageStatus, ...]) -> Iterator[Fact]:
    """Yields a fact for each stage: done, the one that the situation is about, or not reached."""
    known = {each.name: each for each in records}
    reached = True
    for stage, kind in STAGE_CONDITION.items():
        record = known.get(stage)
        if reached and record is not None and record.outcome == "Succeeded":
            yield kind, True, record.reason or COMPLETED, record.message or ""
            continue
        if reached:
            yield kind, False, situation.reason, situation.message
        else:
            yield kind, False, WAITING, "waits for the stages before"
        reached = False


def _of_all(situation: Situation) -> Iterator[Fact]:
    phase, reason, message = situation.phase, situation.reason, situation.message
    failed, suspended = phase is Phase.FAILED, phase is Phase.SUSPENDED
    yield ConditionType.COMPLETE, phase is Phase.SUCCEEDED, reason, message
    yield ConditionType.FAILED, failed, *_told(failed, situation)
    yield ConditionType.SUSPENDED, suspended, *_told(suspended, situation)
    yield ConditionType.READY, not (failed or situation.reconciling), reason, message
    yield ConditionType.RECONCILING, situation.reconciling, *_told(situation.reconciling, situation)
    yield ConditionType.STALLED, failed, *_told(failed, situation)


def _told(holds: bool, situation: Situation) -> tuple[str, str]:
    """Returns reason and message of a condition: of one that does not hold, only how it is."""
    if holds:
        return situation.reason, situation.message
    return (COMPLETED if situation.phase is Phase.SUCCEEDED else IN_PROGRESS), ""
