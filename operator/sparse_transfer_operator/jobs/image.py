"""Which image the stages of an experiment run in."""

from __future__ import annotations

from sparse_transfer_api.spec import EngineName, RecipeBackend, SparseTransferSpec
from sparse_transfer_operator.settings import OperatorSettings


def runner_image(spec: SparseTransferSpec, settings: OperatorSettings) -> str:
    """Returns the experiment's own image, else the one that has what the experiment asks for.

    SparseML and DeepSparse are in images of the neuralmagic flavour alone. Where the operator knows
    none, prepare refuses the experiment in the ordinary image, and says what it lacks.
    """
    if spec.image is not None:
        return spec.image
    asks = (
        spec.recipe.backend == RecipeBackend.SPARSEML
        or EngineName.DEEPSPARSE in spec.export.targets
    )
    return (asks and settings.neuralmagic_image) or settings.image
