"""What the status says while the API server refuses a Job: a quota, a webhook, a wrong template.

The reconciler writes nothing of a plan that it could not carry out: the status stays what it was,
with the refusal in the conditions that kstatus reads.
"""

from __future__ import annotations

from datetime import datetime

from sparse_transfer_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    Phase,
    SparseTransferStatus,
    with_condition,
)

REASON = "JobRefused"
MAX_MESSAGE = 1000
"""Characters of the API server's message that are kept."""


def with_refusal(
    status: SparseTransferStatus,
    generation: int,
    message: str,
    now: datetime,
    *,
    for_good: bool = False,
) -> SparseTransferStatus:
    """Returns the status with a refusal in it; the same refusal again changes nothing.

    Args:
        status: As it was observed.
        generation: Of the spec that the Job was built of.
        message: What the API server said.
        now: When it said so.
        for_good: Only another spec, or other settings of the operator, can help.
    """
    said = f"The Job was refused and is tried again: {message[:MAX_MESSAGE]}"
    if for_good:
        said = f"No Job can be made of this: {message[:MAX_MESSAGE]}"
    conditions = status.conditions
    for kind, true in (
        (ConditionType.READY, False),
        (ConditionType.RECONCILING, not for_good),
        (ConditionType.STALLED, for_good),
    ):
        condition = Condition(
            type=kind,
            status=ConditionStatus.TRUE if true else ConditionStatus.FALSE,
            observed_generation=generation,
            last_transition_time=now,
            reason=REASON,
            message=said,
        )
        conditions = with_condition(conditions, condition)
    return status.model_copy(
        update={
            "conditions": conditions,
            "phase": status.phase or Phase.PENDING,
            "observed_generation": generation,
        }
    )
