"""What the status says while there can be no Job: a quota, a webhook, a template that is wrong.

What is known of the stages before stays known: only the stage without a Job is as if nobody had
tried, and the conditions say what is in the way.
"""

from __future__ import annotations

from datetime import datetime

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.message import bounded
from sparse_transfer_api.status import Phase, SearchStatus, SparseTransferStatus, StageStatus

from .plan.conditions import Situation, conditions_of

REASON = "JobRefused"


def situation_of(error: Exception, *, begun: bool) -> Situation:
    """Returns where an experiment stands whose Job is refused.

    Args:
        error: An ``InputError`` where no Job can be made of the spec: only an edit helps. Anything
            else may pass, and is tried again.
        begun: A stage is done, so that kstatus does not wait for this one.
    """
    if isinstance(error, InputError):
        return Situation(Phase.FAILED, error.reason, bounded(str(error)))
    message = f"the Job is refused, and tried again later: {error}"
    return Situation(Phase.PENDING, REASON, bounded(message), reconciling=not begun)


def with_refusal(
    observed: SparseTransferStatus,
    planned: SparseTransferStatus,
    stage: Stage,
    error: Exception,
    now: datetime,
) -> SparseTransferStatus:
    """Returns a status with a refusal in it; the same refusal again changes nothing.

    Args:
        observed: As it was observed.
        planned: As it was to be with the Job.
        stage: Whose Job is refused.
        error: Why there is none.
        now: The time.
    """
    begun = any(each.outcome == "Succeeded" for each in planned.all_stages)
    situation = situation_of(error, begun=begun)
    refused = next((each for each in planned.stages if each.name is stage), None)
    records = _said(planned.stages, refused, situation)
    generation, now = planned.observed_generation or 0, now.replace(microsecond=0)
    return planned.model_copy(
        update={
            "phase": situation.phase,
            "stages": records,
            "search": _in_search(planned.search, refused, situation),
            "conditions": conditions_of(situation, records, observed.conditions, generation, now),
        }
    )


def _in_search(
    search: SearchStatus | None, refused: StageStatus | None, situation: Situation
) -> SearchStatus | None:
    """Returns a search whose level with the refused stage says the same as the experiment."""
    if search is None:
        return None
    words = {"reason": situation.reason, "message": situation.message}
    levels = tuple(
        each.model_copy(update={"stages": _said(each.stages, refused, situation), **words})
        if refused in each.stages
        else each
        for each in search.levels
    )
    return search.model_copy(update={"levels": levels})


def _said(
    records: tuple[StageStatus, ...], refused: StageStatus | None, situation: Situation
) -> tuple[StageStatus, ...]:
    return tuple(_without_job(each, situation) if each == refused else each for each in records)


def _without_job(record: StageStatus, situation: Situation) -> StageStatus:
    said = {"reason": situation.reason, "message": situation.message}
    return record.model_copy(update={"job": None, "attempt": None, "outcome": None, **said})
