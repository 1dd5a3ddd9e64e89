"""Where an experiment's stages are kept in its output place."""

from __future__ import annotations

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import SparseTransferExperiment

from .output import StageFolder
from .storage import place_for
from .storage.protocol import Place


def output_root(experiment: SparseTransferExperiment) -> Place:
    """Returns the folder of the experiment's stages: ``OUTPUT/NAMESPACE/NAME``.

    Raises:
        InputError: The output place is missing, or of a kind that cannot be written.
    """
    uri = experiment.spec.output.uri
    if uri is None:
        raise InputError(
            "spec.output.uri: missing; say where the results go, such as file://./runs"
        )
    metadata = experiment.metadata
    return place_for(uri).below(metadata.namespace).below(metadata.name)


def stage_folder(experiment: SparseTransferExperiment, stage: str, key: str) -> StageFolder:
    """Returns the folder of one stage: ``OUTPUT/NAMESPACE/NAME/STAGE-KEY``.

    Raises:
        InputError: As ``output_root``.
    """
    return StageFolder(output_root(experiment).below(f"{stage}-{key}"), str(stage), key)
