"""Batch normalization after pruning: its statistics are those of another model's activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Returns the batch normalizations in a module that keep running statistics."""
    return [
        each
        for each in module.modules()
        if isinstance(each, _BatchNorm) and each.running_mean is not None
    ]


@torch.no_grad()
def reestimate(norms: list[_BatchNorm], run: Callable[[], object]) -> None:
    """Replaces running statistics by those of the batches that a function runs.

    Frantar & Alistarh, "Optimal Brain Compression" (2022) do the same after pruning.

    Args:
        norms: In evaluation mode, before and after.
        run: Sends every calibration batch through them once.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all batches count alike
        norm.train()
    try:
        run()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
