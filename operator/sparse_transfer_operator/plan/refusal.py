"""Experiments that cannot be run as they are written, and those that are not ours."""

from __future__ import annotations

from sparse_transfer_api.contract import MANAGER
from sparse_transfer_operator.effective import effective
from sparse_transfer_operator.observed import ObservedExperiment
from sparse_transfer_operator.settings import OperatorSettings

from .judging import Failure

INVALID_SPEC = "InvalidSpec"
OUTPUT_MISSING = "OutputMissing"


def managed_elsewhere(observed: ObservedExperiment) -> bool:
    """Whether somebody else reconciles the experiment."""
    manager = observed.managed_by
    if manager is None and observed.experiment is not None:
        manager = observed.experiment.spec.run_policy.managed_by
    return manager not in (None, MANAGER)


def refusal(observed: ObservedExperiment, settings: OperatorSettings) -> Failure | None:
    """Returns why an experiment is not run; None where nothing is in the way.

    An edit mends each of these.
    """
    if observed.problem is not None or observed.experiment is None:
        return Failure(INVALID_SPEC, observed.problem or "the spec is not valid")
    spec = effective(observed.experiment, settings).spec
    if spec.output.uri is None:
        return Failure(
            OUTPUT_MISSING,
            "spec.output.uri: missing, and the operator's settings name no place; say where the "
            "results go, such as s3://bucket/runs/",
        )
    return None
