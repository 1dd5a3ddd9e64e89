"""The teacher's logits where they are no distribution over classes.

SparseML's ``DistillationModifier`` compares softmaxes of the last dimension: right where each row
has one label, meaningless for several labels at once, and always 0 for the one output of a
regression. There the modifier keeps its epochs, hardness and temperature, and gets our loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparse_transfer_runner.training.distillation import PROBLEM_SINGLE, logit_loss


def fit_distillation(manager: Any, problem_type: str) -> None:
    """Gives the modifiers that distil logits the loss that fits the problem.

    Args:
        manager: SparseML's; changed in place.
        problem_type: The plan's.
    """
    from sparseml.pytorch.sparsification.distillation import DistillationModifier

    if problem_type == PROBLEM_SINGLE:
        return
    for modifier in manager.iter_modifiers():
        if isinstance(modifier, DistillationModifier):
            modifier.compute_distillation_loss = partial(_loss, modifier, problem_type)


def _loss(
    modifier: Any,
    problem_type: str,
    student_outputs: Mapping[str, Tensor],
    teacher_outputs: Mapping[str, Tensor],
    **_: object,
) -> Tensor:
    """Returns the mean over the outputs that the modifier names; all of them where none is."""
    names = modifier.distill_output_keys or student_outputs
    losses = [
        logit_loss(
            student_outputs[name].float(),
            teacher_outputs[name].float(),
            modifier.temperature,
            problem_type,
        )
        for name in names
    ]
    return torch.stack(losses).mean()
