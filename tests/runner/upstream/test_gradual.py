from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.upstream.gradual import Schedule, masks_by_size


@given(
    steps=st.integers(1, 300),
    every=st.integers(1, 50),
    first=st.floats(0, 0.5),
    last=st.floats(0.51, 0.99),
    step=st.integers(0, 400),
)
def test_the_sparsity_at_a_step_is_zhu_s_and_gupta_s(
    steps: int, every: int, first: float, last: float, step: int
) -> None:
    schedule = Schedule(steps, every, first / last)
    passed = min(step, steps) / steps
    assert last * schedule.share(step) == pytest.approx(last + (first - last) * (1 - passed) ** 3)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(10, 4, [0, 4, 8, 10]), (8, 4, [0, 4, 8]), (3, 5, [0, 3])],
)
def test_zeros_are_added_every_few_steps_and_the_last_ones_at_the_end(
    steps: int, every: int, expected: list[int]
) -> None:
    schedule = Schedule(steps, every)
    assert [step for step in range(2 * steps) if schedule.prunes_at(step)] == expected
    assert schedule.share(steps) == 1


@given(seed=st.integers(0, 99), pattern=st.sampled_from(Pattern), zeros=st.integers(0, 32))
def test_what_was_dropped_stays_so_however_the_others_train(
    seed: int, pattern: Pattern, zeros: int
) -> None:
    torch.manual_seed(seed)
    weights = {"a": nn.Parameter(torch.randn(8, 16)), "b": nn.Parameter(torch.randn(4, 8, 3, 3))}
    quotas = {name: Quota(pattern.width * zeros, pattern) for name in weights}
    schedule = Schedule(10, 2)
    dropped = {name: torch.zeros_like(each, dtype=torch.bool) for name, each in weights.items()}
    for step in range(0, 11, 2):
        masks = masks_by_size(weights, quotas, schedule.share(step))
        masks.apply()
        for name, kept in masks.kept.items():
            assert not torch.any(kept.bool() & dropped[name])
            dropped[name] = ~kept.bool()
            with torch.no_grad():
                weights[name].add_(0.1 * torch.randn_like(kept))
        masks.apply()
    assert all(int(each.sum()) == quotas[name].zeros for name, each in dropped.items())
