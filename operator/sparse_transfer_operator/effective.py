"""The experiment as it is run: what the operator's settings add to what the user wrote."""

from __future__ import annotations

from sparse_transfer_api.spec import SparseTransferExperiment

from .settings import OperatorSettings


def effective(
    experiment: SparseTransferExperiment, settings: OperatorSettings
) -> SparseTransferExperiment:
    """Returns the experiment with the settings' output place where it names none.

    Keys are computed of it and Jobs are made of it, so that a stage finds the key that it was asked
    for. Where the settings name no place either, ``spec.output.uri`` stays None.
    """
    if experiment.spec.output.uri is not None or settings.output.uri is None:
        return experiment
    spec = experiment.spec.model_copy(update={"output": settings.output})
    return experiment.model_copy(update={"spec": spec})
