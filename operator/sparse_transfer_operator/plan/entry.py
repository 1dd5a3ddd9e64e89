"""The way in: whose the experiment is, whether it can be run, and then its stages."""

from __future__ import annotations

from datetime import UTC, datetime

from sparse_transfer_api.message import bounded
from sparse_transfer_api.status import Phase, SparseTransferStatus
from sparse_transfer_operator.actions import Plan
from sparse_transfer_operator.observed import Children, ObservedExperiment
from sparse_transfer_operator.settings import OperatorSettings

from .conditions import Situation, conditions_of
from .events import transitions
from .expiry import Expiry, expiry
from .history import history_after
from .judging import Failure
from .outlook import outlook_of
from .refusal import managed_elsewhere, refusal
from .search import search_of
from .texts import retry_value
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
    return _planned(view)


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


def _planned(view: View) -> Plan:
    old, generation = view.observed.status, view.observed.generation
    searches = bool(view.experiment.spec.search.levels)
    found = search_of(view) if searches else outlook_of(view)
    asked = view.observed.retry
    status = SparseTransferStatus(
        observed_generation=generation,
        phase=found.situation.phase,
        conditions=conditions_of(
            found.situation, found.shown.stages, old.conditions, generation, view.now
        ),
        stages=found.shown.stages,
        search=found.search,
        resolved=found.shown.resolved,
        results=found.shown.results,
        artifacts=found.shown.artifacts,
        observed_retry=old.observed_retry if asked is None else retry_value(asked),
    )
    history = history_after(old, status.results, status.all_stages)
    status = status.model_copy(update={"history": history})
    expired = Expiry()
    if found.situation.ended:
        expired = expiry(view, found.situation.phase, found.ended)
    return Plan(
        status,
        tuple(dict.fromkeys((*found.actions, *expired.actions))),
        transitions(old, status),
        min((*found.checks, *expired.checks), default=None),
    )
