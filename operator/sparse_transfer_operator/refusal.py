"""What the status says while there can be no Job: a quota, a webhook, a template that is wrong.

Nothing is recorded of a plan that could not be carried out: stages stay as they were, and the
conditions say what is in the way.
"""

from __future__ import annotations

from datetime import datetime

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.status import Phase, SparseTransferStatus

from .plan.conditions import Situation, conditions_of
from .plan.texts import bounded

REASON = "JobRefused"


def situation_of(error: Exception) -> Situation:
    """Returns where an experiment stands whose Job is refused.

    Args:
        error: An ``InputError`` where no Job can be made of the spec: only an edit helps. Anything
            else may pass, and is tried again.
    """
    if isinstance(error, InputError):
        return Situation(Phase.FAILED, error.reason, bounded(str(error)))
    message = f"the Job is refused, and tried again later: {error}"
    return Situation(Phase.PENDING, REASON, bounded(message), reconciling=True)


def with_refusal(
    status: SparseTransferStatus, generation: int, error: Exception, now: datetime
) -> SparseTransferStatus:
    """Returns a status with a refusal in it; the same refusal again changes nothing.

    Args:
        status: As it was observed.
        generation: Of the spec that the Job was to be built of.
        error: Why there is none.
        now: The time.
    """
    situation = situation_of(error)
    now = now.replace(microsecond=0)
    return status.model_copy(
        update={
            "observed_generation": generation,
            "phase": situation.phase,
            "conditions": conditions_of(situation, None, status.conditions, generation, now),
        }
    )
