"""Which conditions of an experiment are worth a person's time, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

from sparse_transfer_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    SparseTransferStatus,
)

_BAD_WHEN_TRUE = (ConditionType.FAILED, ConditionType.STALLED, ConditionType.SUSPENDED)
_GOOD_WHEN_TRUE = (
    ConditionType.COMPLETE,
    ConditionType.READY,
    ConditionType.PREPARED,
    ConditionType.TRAINED,
    ConditionType.PACKAGED,
)
_ROUTINE = frozenset({"Waiting"})
"""Reasons that say no more than the table of stages does: those before are not done."""


def telling(status: SparseTransferStatus) -> Iterator[Condition]:
    """Yields conditions that tell more than the phase: what is wrong, or waited for, and the end.

    The same reason with the same words comes once: kstatus wants most things said twice.
    """
    said: set[tuple[str, str]] = set()
    for kind in (*_BAD_WHEN_TRUE, *_GOOD_WHEN_TRUE, ConditionType.RECONCILING):
        condition = status.condition(kind)
        if condition is None or not _tells(condition):
            continue
        words = (condition.reason, condition.message)
        if words not in said:
            said.add(words)
            yield condition


def _tells(condition: Condition) -> bool:
    holds = condition.status == ConditionStatus.TRUE
    if condition.type in _BAD_WHEN_TRUE:
        return holds
    if condition.type in (ConditionType.COMPLETE, ConditionType.RECONCILING):
        return holds and bool(condition.message)
    return not holds and bool(condition.message) and condition.reason not in _ROUTINE
