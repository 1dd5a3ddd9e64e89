"""Events: what changed between two statuses, each transition told once."""

from __future__ import annotations

from collections.abc import Iterator

from sparse_transfer_api.message import bounded
from sparse_transfer_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    Phase,
    SparseTransferStatus,
    StageStatus,
)
from sparse_transfer_operator.actions import Event

from .live import RESUMING
from .stage import SUPERSEDING
from .waiting import POD_STARTING, RUNNING, WAITING_FOR_POD

_NO_TROUBLE = frozenset({WAITING_FOR_POD, POD_STARTING, RUNNING, RESUMING, SUPERSEDING})
"""Reasons to be pending that pass by themselves."""


def transitions(old: SparseTransferStatus, new: SparseTransferStatus) -> tuple[Event, ...]:
    """Returns what is worth telling of a status that is about to replace another."""
    known = {(each.name, each.key): each for each in old.all_stages}
    found: list[Event] = list(_superseded(old, new))
    for level, records in _runs(new):
        where = "" if level is None else f"level {level:g}: "
        for record in records:
            before = known.get((record.name, record.key))
            fresh = StageStatus(name=record.name, key=record.key)
            told = list(_of_stage(before or fresh, record))
            if level is not None:
                told += _of_level(before or fresh, record)
            found += [Event(each.reason, where + each.message, each.warning) for each in told]
    found.extend(_of_all(old, new))
    return tuple(Event(each.reason, bounded(each.message), each.warning) for each in found)


def _runs(status: SparseTransferStatus) -> list[tuple[float | None, tuple[StageStatus, ...]]]:
    """Returns the stages of each level; without a search, of the only one."""
    if status.search is None:
        return [(None, status.stages)]
    return [(each.level, each.stages) for each in status.search.levels]


def _superseded(old: SparseTransferStatus, new: SparseTransferStatus) -> Iterator[Event]:
    known = {(each.name, each.key) for each in new.all_stages}
    before = dict(_runs(old))
    for level, _ in _runs(new):
        changed = [
            each.name
            for each in before.get(level, ())
            if each.key is not None and (each.name, each.key) not in known
        ]
        if changed:
            where = "" if level is None else f"level {level:g}: "
            yield Event(
                "Superseded", f"{where}the spec changed: {changed[0]} and what follows run again"
            )


def _of_stage(old: StageStatus, new: StageStatus) -> Iterator[Event]:
    stage = new.name
    for rerun in new.reruns:
        if rerun not in old.reruns:
            yield Event(rerun.value, f"{stage} runs again, this once: {rerun.value}", warning=True)
    if new.job is not None and new.job != old.job:
        yield Event("JobCreated", f"{stage}: made Job {new.job}")
    if new.start_time is not None and new.start_time != old.start_time:
        yield Event("StageStarted", f"{stage} runs")
    if old.attempt is not None and (new.attempt or 0) > old.attempt:
        message = f"{stage}: attempt {old.attempt} failed; {new.message or 'another follows'}"
        yield Event("AttemptFailed", message, warning=True)
    if (new.disruptions or 0) > (old.disruptions or 0):
        yield Event("Disrupted", f"{stage} lost its pod to the cluster; another one follows")
    if new.outcome == "Succeeded" and old.outcome != "Succeeded":
        yield Event("StageSucceeded", f"{stage}: {new.message or 'done'}")


def _of_level(old: StageStatus, new: StageStatus) -> Iterator[Event]:
    """Tells of a failure that ends a level alone; what ends the experiment is told of it."""
    if new.outcome == "Failed" and old.outcome != "Failed":
        why = ": ".join(text for text in (new.reason, new.message) if text)
        yield Event("LevelFailed", f"{new.name}: {why}", warning=True)


def _of_all(old: SparseTransferStatus, new: SparseTransferStatus) -> Iterator[Event]:
    phase_changed = old.phase is not new.phase
    if new.phase is Phase.QUEUED and phase_changed:
        yield Event("Queued", _message(new, ConditionType.COMPLETE))
    if new.phase is Phase.SUSPENDED and phase_changed:
        yield Event("Suspended", _message(new, ConditionType.SUSPENDED))
    if old.phase is Phase.SUSPENDED and phase_changed:
        yield Event("Resumed", "goes on")
    if new.phase is Phase.PENDING:
        yield from _trouble(old, new)
    if _turned_true(old, new, ConditionType.COMPLETE):
        yield Event("Completed", _message(new, ConditionType.COMPLETE) or "all stages are done")
    failed, before = new.condition(ConditionType.FAILED), old.condition(ConditionType.FAILED)
    if _holds(failed) and not (_holds(before) and _reason(failed) == _reason(before)):
        yield Event(_reason(failed), _message(new, ConditionType.FAILED), warning=True)


def _trouble(old: SparseTransferStatus, new: SparseTransferStatus) -> Iterator[Event]:
    now, before = new.condition(ConditionType.COMPLETE), old.condition(ConditionType.COMPLETE)
    if _reason(now) not in _NO_TROUBLE and _reason(now) != _reason(before):
        yield Event(_reason(now), _message(new, ConditionType.COMPLETE), warning=True)


def _holds(condition: Condition | None) -> bool:
    return condition is not None and condition.status is ConditionStatus.TRUE


def _turned_true(old: SparseTransferStatus, new: SparseTransferStatus, kind: ConditionType) -> bool:
    return _holds(new.condition(kind)) and not _holds(old.condition(kind))


def _reason(condition: Condition | None) -> str:
    return "" if condition is None else condition.reason


def _message(status: SparseTransferStatus, kind: ConditionType) -> str:
    condition = status.condition(kind)
    return "" if condition is None else condition.message
