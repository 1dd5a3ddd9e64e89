"""Training that has diverged is told as what it is; else it would look like a broken mask."""

from __future__ import annotations

import torch
from torch import nn

from sparse_transfer_api.errors import InputError


def require_finite(model: nn.Module, run: str, learning_rate: float) -> None:
    """Makes sure that all of a model's weights and statistics are numbers.

    Args:
        model: In training.
        run: Which one, and where it stands.
        learning_rate: Its highest.

    Raises:
        InputError: Some are not.
    """
    values = (*model.parameters(), *model.buffers())
    if not all(bool(torch.isfinite(each).all()) for each in values):
        raise InputError(
            f"{run}: training has diverged, its weights are no numbers any more; choose a lower "
            f"learning rate than {learning_rate:g} (spec.training.learningRate), or "
            "spec.training.precision: Fp32 where it was another"
        )
