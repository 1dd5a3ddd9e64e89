"""What comes out of a run, and what is kept of the one before."""

from __future__ import annotations

from dataclasses import dataclass

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.results import Artifact, Resolved, Results
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.status import (
    ConditionType,
    PastResult,
    SparseTransferStatus,
    with_past_result,
)

from .acceptance import ACCEPTANCE_MISSED
from .chain import Chain

MAX_ARTIFACTS = 64
"""As many as the status holds."""


@dataclass(frozen=True)
class Outcome:
    """What the status says of results, by its own field names."""

    resolved: Resolved | None
    results: Results | None
    artifacts: tuple[Artifact, ...]
    history: tuple[PastResult, ...]


def outcome_of(old: SparseTransferStatus, chain: Chain, spec: SparseTransferSpec) -> Outcome:
    """Returns what came out so far.

    A run whose keys are not wanted any more goes to the history, where it had ended.
    """
    results, artifacts, history = old.results, old.artifacts, old.history
    if chain.diverged is not None:
        past = past_result(old)
        history = history if past is None else with_past_result(history, past)
        results, artifacts = None, ()
    for result in chain.results:
        if result.stage is Stage.PACKAGE:
            results, artifacts = result.results, _distinct(result.artifacts)
    return Outcome(_resolved(old, chain, spec), results, artifacts, history)


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


def _resolved(old: SparseTransferStatus, chain: Chain, spec: SparseTransferSpec) -> Resolved | None:
    """Returns what the spec alone says, and once prepare is done, what it found."""
    found = old.resolved
    if found is None or chain.diverged is Stage.PREPARE:
        level = spec.optim_level
        found = Resolved(use_case=spec.use_case.value, level=level, band=band_of(level).name)
    for result in chain.results:
        if result.stage is Stage.PREPARE:
            told = {} if result.resolved is None else dict(result.resolved)
            told = {name: value for name, value in told.items() if value not in (None, {})}
            found = found.model_copy(update={"digests": result.digests, **told})
    return found


def _distinct(artifacts: list[Artifact]) -> tuple[Artifact, ...]:
    """Returns the artifacts, the first of each name: names are keys in the status."""
    return tuple({each.name: each for each in reversed(artifacts)}.values())[::-1][:MAX_ARTIFACTS]
