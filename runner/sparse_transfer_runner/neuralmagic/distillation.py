"""The teacher's logits, compared with the student's as the native backend compares them.

SparseML's ``DistillationModifier`` looks outputs up by key, which the outputs of classifiers of
pictures and of question answerers do not offer, and compares softmaxes of the last dimension at
every place: also at padding, and where there are several labels or a value. The modifier keeps its
epochs, hardness and temperature, and gets our loss.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.suggest import listed
from sparse_transfer_runner.recipes.modifiers import LOGITS
from sparse_transfer_runner.training.distillation import logit_loss


def require_logits(manager: Any, source: str) -> None:
    """Makes sure that modifiers distil what models put out.

    Args:
        manager: SparseML's.
        source: What to call the recipe in errors.

    Raises:
        InputError: One names another output than the logits.
    """
    for modifier in _distillations(manager):
        for key in modifier.distill_output_keys or ():
            if key not in LOGITS:
                raise InputError(
                    f"{source}: DistillationModifier.distill_output_keys: {key!r}: models put out "
                    f"logits alone; expected {listed(map(str, LOGITS))}, or leave it out"
                )


def fit_distillation(manager: Any, problem_type: str) -> None:
    """Gives the modifiers that distil logits the loss that fits the problem.

    Args:
        manager: SparseML's; changed in place.
        problem_type: The plan's.
    """
    for modifier in _distillations(manager):
        modifier.compute_distillation_loss = partial(_loss, modifier, problem_type)


def _distillations(manager: Any) -> list[Any]:
    from sparseml.pytorch.sparsification.distillation import DistillationModifier

    return [each for each in manager.iter_modifiers() if isinstance(each, DistillationModifier)]


def _loss(
    modifier: Any,
    problem_type: str,
    student_outputs: Any,
    teacher_outputs: Any,
    student_labels: Tensor,
    **_: object,
) -> Tensor:
    return logit_loss(
        student_outputs.logits.float(),
        teacher_outputs.logits.float(),
        modifier.temperature,
        problem_type,
        student_labels,
    )
