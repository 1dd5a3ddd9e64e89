"""What is kept of the run before, once another one takes its place."""

from __future__ import annotations

from collections.abc import Iterable

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.results import Results
from sparse_transfer_api.status import (
    ConditionType,
    PastResult,
    SparseTransferStatus,
    StageStatus,
    with_past_result,
)

from .acceptance import ACCEPTANCE_MISSED


def history_after(
    old: SparseTransferStatus, results: Results | None, stages: Iterable[StageStatus]
) -> tuple[PastResult, ...]:
    """Returns the history: a run that had ended goes there when it is not the one shown any more.

    Args:
        old: The status as written last.
        results: What the next one shows.
        stages: All of the next one, of every level.
    """
    past = past_result(old)
    if past is None:
        return old.history
    if old.results is not None:
        over = results != old.results
    else:
        keys = {(each.name, each.key) for each in stages}
        over = any(each.key and (each.name, each.key) not in keys for each in old.stages)
    return with_past_result(old.history, past) if over else old.history


def past_result(old: SparseTransferStatus) -> PastResult | None:
    """Returns what is kept of a run; None where it had not ended."""
    last = next(
        (
            each
            for each in reversed(old.stages)
            if each.outcome == "Failed"
            or (each.outcome == "Succeeded" and each.name is Stage.PACKAGE)
        ),
        None,
    )
    if last is None:
        return None
    results = old.results
    failed = old.condition(ConditionType.FAILED)
    missed = failed is not None and failed.reason == ACCEPTANCE_MISSED
    # Conditions of stages stay as they are while a later spec cannot be run.
    packaged = old.condition(ConditionType.PACKAGED)
    return PastResult(
        generation=packaged.observed_generation if packaged else old.observed_generation,
        completion_time=last.completion_time,
        outcome="Failed" if missed or last.outcome == "Failed" else "Succeeded",
        reason=ACCEPTANCE_MISSED if missed else last.reason,
        level=None if old.resolved is None else old.resolved.level,
        sparsity=None if results is None else results.sparsity,
        recovery=None if results is None else results.recovery,
        speedup=None if results is None else results.headline.speedup,
        manifest_uri=last.manifest_uri,
    )
