"""The learning rate as a function of the epoch."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.recipes.modifiers import (
    LearningRateFunctionModifier,
    Modifier,
    SetLearningRateModifier,
)
from sparse_transfer_runner.recipes.schedule import learning_rate_at, schedule_problems


def function(
    start: float, end: float, init: float, final: float, kind: str = "linear", cycle: float = 1.0
) -> LearningRateFunctionModifier:
    return LearningRateFunctionModifier.model_validate(
        {
            "start_epoch": start,
            "end_epoch": end,
            "init_lr": init,
            "final_lr": final,
            "lr_func": kind,
            "cycle_epochs": cycle,
        }
    )


def constant(start: float, rate: float) -> SetLearningRateModifier:
    return SetLearningRateModifier.model_validate({"start_epoch": start, "learning_rate": rate})


WARM_UP = function(0, 1, 0.0, 0.1)
DECAY = function(1, 5, 0.1, 0.0)


@pytest.mark.parametrize(
    ("modifiers", "epoch", "expected"),
    [
        ([WARM_UP, DECAY], 0.0, 0.0),
        ([WARM_UP, DECAY], 0.5, 0.05),
        ([WARM_UP, DECAY], 1.0, 0.1),
        ([DECAY, WARM_UP], 3.0, 0.05),
        ([WARM_UP, DECAY], 5.0, 0.0),
        ([function(0, 4, 0.4, 0.0, "cosine")], 1.0, 0.2 * (1 + math.cos(math.pi / 4))),
        ([function(0, 4, 0.4, 0.0, "cosine")], 2.0, 0.2),
        ([function(0, 4, 0.0, 0.4, "cosine")], 1.0, 0.2 * (1 - math.cos(math.pi / 4))),
        ([function(0, 3, 0.2, 0.0, "cyclic_linear")], 0.5, 0.1),
        ([function(0, 3, 0.2, 0.0, "cyclic_linear")], 1.0, 0.2),
        ([function(0, 3, 0.2, 0.0, "cyclic_linear")], 3.0, 0.0),
        ([function(0, 2.5, 0.2, 0.0, "cyclic_linear")], 2.25, 0.1),
        ([constant(0, 0.1)], 7.0, 0.1),
        ([constant(0, 0.1), constant(2, 0.2)], 1.9, 0.1),
        ([constant(0, 0.1), constant(2, 0.2)], 2.0, 0.2),
        ([constant(0, 0.3), function(1, 2, 0.2, 0.1)], 0.5, 0.3),
        ([constant(0, 0.3), function(1, 2, 0.2, 0.1)], 9.0, 0.1),
        ([function(0, 4, 0.2, 0.0), constant(2, 0.3)], 3.0, 0.05),
        ([function(0, 4, 0.2, 0.1), constant(4, 0.3)], 4.0, 0.3),
        ([function(0, 0, 0.9, 0.9), constant(0, 0.3)], 1.0, 0.3),
    ],
)
def test_the_rate_follows_the_modifier_that_counts(
    modifiers: list[Modifier], epoch: float, expected: float
) -> None:
    assert learning_rate_at(modifiers, epoch) == pytest.approx(expected)


def test_there_is_no_rate_before_the_first_modifier() -> None:
    with pytest.raises(ValueError, match="no learning rate is set at epoch 1"):
        learning_rate_at([constant(2, 0.1)], 1)


@pytest.mark.parametrize(
    ("modifiers", "complaint"),
    [
        ([], "nothing sets the learning rate"),
        ([function(1, 2, 0.1, 0.0)], "no learning rate is set before epoch 1"),
        ([function(0, 2, 0.0, 0.0)], "0 throughout"),
        ([function(0, 2, 0.1, 0.0), function(1, 3, 0.1, 0.0)], "between epochs 1 and 2"),
    ],
)
def test_a_schedule_that_leaves_open_what_counts_is_refused(
    modifiers: list[Modifier], complaint: str
) -> None:
    assert any(complaint in message for _, message in schedule_problems(modifiers))


def test_functions_that_follow_each_other_are_fine() -> None:
    assert schedule_problems([DECAY, WARM_UP]) == []


rates = st.floats(0, 1)
lengths = st.floats(0.01, 50)


@given(
    kind=st.sampled_from(["linear", "cosine", "cyclic_linear"]),
    length=lengths,
    rates=st.tuples(rates, rates),
    share=st.floats(0, 1.5),
    cycle=st.floats(0.001, 60),
)
def test_the_rate_stays_between_both_ends_and_ends_exactly(
    kind: str, length: float, rates: tuple[float, float], share: float, cycle: float
) -> None:
    modifier = function(0, length, *rates, kind, cycle)
    low, high = sorted(rates)
    assert low - 1e-12 <= learning_rate_at([modifier], share * length) <= high + 1e-12
    assert learning_rate_at([modifier], 0) == rates[0]
    assert learning_rate_at([modifier], length) == rates[1]
