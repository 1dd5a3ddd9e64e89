"""The learning rate as a pure function of the epoch, from a recipe's learning-rate modifiers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .modifiers import LearningRateFunctionModifier, Modifier, SetLearningRateModifier

LearningRateModifier = SetLearningRateModifier | LearningRateFunctionModifier


def learning_rate_at(modifiers: Sequence[Modifier], epoch: float) -> float:
    """Returns the learning rate at an epoch.

    Inside a function's range the function counts; elsewhere the last value that any modifier set
    (a function's last value is the one at its end), as in SparseML.

    Args:
        modifiers: A recipe's modifiers, with ends resolved; others than the two are passed over.
        epoch: Epochs done so far, with fraction; at least 0.

    Raises:
        ValueError: No modifier has started yet.
    """
    started = [modifier for modifier in _setting(modifiers) if modifier.start_epoch <= epoch]
    if not started:
        raise ValueError(f"no learning rate is set at epoch {epoch:g}")
    latest = max(started, key=lambda modifier: _precedence(modifier, epoch))
    if isinstance(latest, SetLearningRateModifier):
        return latest.learning_rate
    return function_value(latest, epoch)


def _precedence(modifier: LearningRateModifier, epoch: float) -> tuple[bool, float, bool]:
    """Orders started modifiers: a running function last, then by when each last set a value."""
    if isinstance(modifier, SetLearningRateModifier):
        return False, modifier.start_epoch, True
    return modifier.active_at(epoch), min(modifier.end_epoch, epoch), False


def function_value(modifier: LearningRateFunctionModifier, epoch: float) -> float:
    """Returns a function's value; outside its range the value at the nearer end.

    ``linear`` is a straight line, ``cosine`` half a cosine, and ``cyclic_linear`` a straight line
    that begins again every ``cycle_epochs``; a last cycle that does not fit whole is shortened.
    """
    start, end = modifier.start_epoch, modifier.end_epoch
    position = min(max(epoch, start), end) - start
    share = position / (end - start)
    if modifier.lr_func == "cyclic_linear":
        share = _cycle_share(position, end - start, modifier.cycle_epochs)
    elif modifier.lr_func == "cosine":
        share = (1.0 - math.cos(math.pi * share)) / 2.0
    # Written so that both ends are hit exactly.
    return modifier.init_lr * (1.0 - share) + modifier.final_lr * share


def _cycle_share(position: float, length: float, cycle: float) -> float:
    if position >= length:
        return 1.0
    begun = math.floor(position / cycle) * cycle
    remaining = min(cycle, length - begun)
    if remaining <= 0:  # rounding put the end of the last cycle here
        return 1.0
    return min(1.0, max(0.0, position - begun) / remaining)


def schedule_problems(modifiers: Sequence[Modifier]) -> list[tuple[Modifier | None, str]]:
    """Returns what makes a learning-rate schedule unusable, each with the modifier concerned."""
    found = sorted(_setting(modifiers), key=lambda modifier: modifier.start_epoch)
    if not found:
        return [(None, "nothing sets the learning rate; add a LearningRateFunctionModifier")]
    problems: list[tuple[Modifier | None, str]] = []
    if found[0].start_epoch > 0:
        problems.append(
            (found[0], f"no learning rate is set before epoch {found[0].start_epoch:g}")
        )
    if max(_largest(modifier) for modifier in found) <= 0:
        problems.append((found[0], "the learning rate is 0 throughout; expected above 0"))
    functions = [m for m in found if isinstance(m, LearningRateFunctionModifier)]
    problems += [
        (
            later,
            f"two learning-rate functions run between epochs {later.start_epoch:g} and "
            f"{min(earlier.end_epoch, later.end_epoch):g}; end one where the other starts",
        )
        for earlier, later in pairwise(functions)
        if later.start_epoch < earlier.end_epoch
    ]
    return problems


def _setting(modifiers: Sequence[Modifier]) -> list[LearningRateModifier]:
    """Returns the modifiers that ever set a learning rate."""
    return [
        modifier
        for modifier in modifiers
        if isinstance(modifier, SetLearningRateModifier)
        or (
            isinstance(modifier, LearningRateFunctionModifier)
            and modifier.start_epoch < modifier.end_epoch
        )
    ]


def _largest(modifier: LearningRateModifier) -> float:
    if isinstance(modifier, SetLearningRateModifier):
        return modifier.learning_rate
    return max(modifier.init_lr, modifier.final_lr)
