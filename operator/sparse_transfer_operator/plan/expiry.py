"""What is removed after the end: Jobs with their pods, and where asked for the experiment itself.

A finished experiment is known by its status, so that nothing that is removed is made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sparse_transfer_api.status import Phase
from sparse_transfer_operator.actions import Action, DeleteExperiment

from .standing import removals
from .view import View


@dataclass(frozen=True)
class Expiry:
    """What is to be removed now, and when to look again."""

    actions: tuple[Action, ...] = ()
    checks: tuple[datetime, ...] = ()


def expiry(view: View, phase: Phase, ended: datetime | None) -> Expiry:
    """Returns what follows from the time since the end.

    Args:
        view: What was observed.
        phase: Succeeded or Failed.
        ended: When; None where it is not known, so that nothing is removed.
    """
    if ended is None:
        return Expiry()
    ttl = view.policy.ttl_seconds_after_finished
    keep = ttl.succeeded if phase is Phase.SUCCEEDED else ttl.failed
    actions: list[Action] = []
    checks: list[datetime] = []
    if view.jobs:
        when = ended + timedelta(seconds=keep)
        if when <= view.now:
            actions.extend(removals(view.jobs))
        else:
            checks.append(when)
    if view.policy.delete_after_seconds is not None:
        when = ended + timedelta(seconds=view.policy.delete_after_seconds)
        if when <= view.now:
            actions.append(DeleteExperiment())
        else:
            checks.append(when)
    return Expiry(tuple(actions), tuple(checks))
