"""The way in: whose the experiment is, whether it can be run, and then its stages."""

from __future__ import annotations

from datetime import UTC, datetime

from sparse_transfer_api.status import Phase, SparseTransferStatus
from sparse_transfer_operator.actions import Plan
from sparse_transfer_operator.observed import Children, ObservedExperiment
from sparse_transfer_operator.settings import OperatorSettings

from .acceptance import missed_acceptance
from .chain import Chain, chain_of
from .conditions import COMPLETED, Situation, conditions_of, situation_of
from .events import transitions
from .expiry import Expiry, expiry
from .history import Outcome, outcome_of
from .judging import Failure
from .refusal import managed_elsewhere, refusal
from .standing import Standing, removals
from .texts import bounded, retry_value
from .view import View


def plan(
    observed: ObservedExperiment,
    children: Children,
    now: datetime,
    settings: OperatorSettings,
) -> Plan:
    """Returns what the status shall be and what is to be done.

    Args:
        observed: The experiment, its status as last written.
        children: All Jobs and pods that carry its name, whoever owns them.
        now: The time, with a time zone.
        settings: The operator's.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    if observed.deleting or managed_elsewhere(observed):
        return Plan(observed.status.model_copy(update={"progress": None}))
    refused = refusal(observed, settings)
    if refused is not None or observed.experiment is None:
        return _refused(observed, refused or Failure("InvalidSpec", ""), now)
    view = View.of(observed, observed.experiment, children, now, settings)
    return _planned(view, chain_of(view))


def _refused(observed: ObservedExperiment, refused: Failure, now: datetime) -> Plan:
    """Returns the plan for an experiment that cannot be run as it is written.

    Nothing is started, and nothing is stopped or removed either: what runs is of a spec that was
    valid, and may be again once the edit is mended.
    """
    old = observed.status
    situation = Situation(Phase.FAILED, refused.reason, bounded(refused.message))
    status = old.model_copy(
        update={
            "observed_generation": observed.generation,
            "phase": situation.phase,
            "conditions": conditions_of(situation, None, old.conditions, observed.generation, now),
            "progress": None,
        }
    )
    return Plan(status, events=transitions(old, status))


def _planned(view: View, chain: Chain) -> Plan:
    old, generation = view.observed.status, view.observed.generation
    outcome = outcome_of(old, chain, view.experiment.spec)
    situation = _judged(view, chain, outcome)
    asked = view.observed.retry
    status = SparseTransferStatus(
        observed_generation=generation,
        phase=situation.phase,
        conditions=conditions_of(situation, chain.records, old.conditions, generation, view.now),
        stages=chain.records,
        resolved=outcome.resolved,
        results=outcome.results,
        artifacts=outcome.artifacts,
        history=outcome.history,
        observed_retry=old.observed_retry if asked is None else retry_value(asked),
    )
    expired = Expiry()
    if situation.ended:
        expired = expiry(view, situation.phase, chain.step.record.completion_time)
    actions = dict.fromkeys((*removals(chain.superseded), *chain.step.actions, *expired.actions))
    return Plan(
        status,
        tuple(actions),
        transitions(old, status),
        min((*chain.step.checks, *expired.checks), default=None),
    )


def _judged(view: View, chain: Chain, outcome: Outcome) -> Situation:
    """Returns where the experiment stands; when all stages are done, by its acceptance."""
    step = chain.step
    if step.standing is not Standing.DONE:
        return situation_of(step, chain.records)
    missed = missed_acceptance(view.experiment.spec.acceptance, outcome.results)
    if missed is not None:
        return Situation(Phase.FAILED, missed.reason, missed.message)
    return Situation(Phase.SUCCEEDED, COMPLETED, step.record.message or "")
