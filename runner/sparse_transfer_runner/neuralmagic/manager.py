"""A recipe in SparseML's hands: its manager, or what SparseML finds wrong with the recipe."""

from __future__ import annotations

import math
from typing import Any

import torch
import yaml
from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.use_cases.protocol import Batch

from .distillation import require_logits
from .mends import mend

_REFUSALS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    yaml.YAMLError,
)
"""What SparseML raises of a recipe that it does not take; it states no list."""

_NO_TEACHER = "disable"
"""SparseML's word for it."""


def build_manager(text: str, source: str = "recipe") -> Any:
    """Returns SparseML's ``ScheduledModifierManager`` for a resolved recipe.

    Args:
        text: ``Recipe.text``: no variables, no stages.
        source: What to call the recipe in errors.

    Raises:
        InputError: SparseML does not take it; says why in SparseML's words. Or it distils what
            models do not put out.
    """
    mend()
    from sparseml.pytorch.optim import ScheduledModifierManager

    try:
        manager = ScheduledModifierManager.from_yaml(text)
    except _REFUSALS as error:
        raise refused(source, error) from error
    require_logits(manager, source)
    return manager


def initialize(
    manager: Any, model: nn.Module, epoch: float, teacher: nn.Module | None = None
) -> None:
    """Hands a model to a manager's modifiers.

    Args:
        manager: Not initialized yet.
        model: Changed in place where the recipe has begun to by then.
        epoch: Where training begins or goes on.
        teacher: For distillation; None leaves it out.

    Raises:
        InputError: The recipe names what the model does not have.
    """
    try:
        manager.initialize(
            model,
            epoch=epoch,
            loggers=_silence(),
            distillation_teacher=_NO_TEACHER if teacher is None else teacher,
        )
    except _REFUSALS as error:
        raise refused("recipe", error) from error


def rehearse(text: str, model: nn.Module, inputs: Batch) -> None:
    """Does to a model at once what a recipe will do to its structure, to see that it still works.

    Args:
        text: ``Recipe.text``.
        model: Spoilt by it.
        inputs: Of two rows or more, which batch norms need.

    Raises:
        InputError: The recipe names what the model does not have, or leaves one that cannot run.
    """
    manager = build_manager(text)
    initialize(manager, model, 0.0)
    try:
        manager.apply_structure(model, epoch=math.inf, loggers=_silence())
    except _REFUSALS as error:
        raise refused("recipe", error) from error
    try:
        with torch.no_grad():
            model.train()(**{name: torch.as_tensor(values) for name, values in inputs.items()})
    except _REFUSALS as error:
        raise InputError(
            f"recipe: {type(model).__name__} does not run as SparseML 1.8.0 changes it ({error}); "
            "name the layers concerned in the ignore of the QuantizationModifier, or remove it"
        ) from error


def _silence() -> Any:
    """Returns loggers that write nothing.

    Given none, SparseML takes one that writes each step to ``sparse_logs/`` in the working
    directory, which a stage's pod may not write to; given an empty collection, it does too.
    """
    from sparseml.pytorch.utils import LambdaLogger, LoggerManager

    nobody = LambdaLogger(lambda *_, **__: False, name="nobody", enabled=False)
    return LoggerManager([nobody], log_frequency=None, log_python=False)


def refused(source: str, error: BaseException) -> InputError:
    """Returns the error about a recipe that SparseML does not take, or not for this model."""
    reason = str(error).strip() or type(error).__name__
    return InputError(
        f"{source}: SparseML 1.8.0 refuses it: {reason}; correct the recipe as SparseML's "
        "documentation of its modifiers says"
    )
