"""Where an experiment stands and what follows, be it of one level or of a search over several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sparse_transfer_api.status import Phase, SearchStatus
from sparse_transfer_operator.actions import Action

from .acceptance import missed_acceptance
from .chain import Course, chain_of, superseded
from .conditions import COMPLETED, Situation, situation_of
from .memory import Memory, remembered
from .standing import Standing, Step, removals
from .view import View


@dataclass(frozen=True)
class Outlook:
    """What a look at an experiment comes to.

    Args:
        situation: Where it stands.
        shown: The run whose stages and results the status shows.
        actions: What is to be done.
        checks: When to look again though nothing happened.
        ended: When its last stage ended; None while something is left to be done.
        search: How its search stands; None where it has none.
    """

    situation: Situation
    shown: Memory
    actions: tuple[Action, ...] = ()
    checks: tuple[datetime, ...] = ()
    ended: datetime | None = None
    search: SearchStatus | None = None


def outlook_of(view: View) -> Outlook:
    """Returns where an experiment of one level stands."""
    spec = view.experiment.spec
    memory = remembered(view.observed.status, spec)
    chain = chain_of(view, Course(spec, memory.stages))
    memory = memory.after(chain, spec)
    situation = _judged(view, chain.step, memory)
    return Outlook(
        situation,
        memory,
        (*removals(superseded(view, chain.wanted)), *chain.step.actions),
        chain.step.checks,
        ended_at(memory) if situation.ended else None,
    )


def _judged(view: View, step: Step, memory: Memory) -> Situation:
    """Returns where the experiment stands; when all stages are done, by its acceptance."""
    if step.standing is not Standing.DONE:
        return situation_of(step, memory.stages)
    missed = missed_acceptance(view.experiment.spec.acceptance, memory.results)
    if missed is not None:
        return Situation(Phase.FAILED, missed.reason, missed.message)
    return Situation(Phase.SUCCEEDED, COMPLETED, step.record.message or "")


def ended_at(*memories: Memory) -> datetime | None:
    """Returns when the last of the runs' last stages ended; None where that is not known."""
    return max(_times(memories), default=None)


def _times(memories: Iterable[Memory]) -> Iterable[datetime]:
    for memory in memories:
        if memory.stages and (when := memory.stages[-1].completion_time) is not None:
            yield when
