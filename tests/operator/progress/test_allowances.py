"""Token buckets: how often somebody may do something, over any time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_operator.progress.allowances import Allowance, Allowances, Rate

STEPS = st.lists(st.floats(0, 20, allow_nan=False), max_size=60)


@given(steps=STEPS, rate=st.floats(0.1, 50), burst=st.integers(1, 20))
def test_never_more_is_done_than_the_burst_and_the_rate(
    steps: list[float], rate: float, burst: int
) -> None:
    now, done = 0.0, 0
    allowance = Allowance(Rate(rate, burst), now)
    for step in steps:
        now += step
        while not allowance.wait(now):
            allowance.spend(now)
            done += 1
    assert done <= burst + rate * now + 1e-6


@given(rate=st.floats(0.1, 50), burst=st.integers(1, 20))
def test_who_waits_as_told_is_let_through(rate: float, burst: int) -> None:
    now = 0.0
    allowance = Allowance(Rate(rate, burst), now)
    for _ in range(3 * burst):
        now += allowance.wait(now) * (1 + 1e-9)
        assert allowance.wait(now) < 1e-6
        allowance.spend(now)


def test_each_has_an_allowance_of_his_own() -> None:
    allowances = Allowances(Rate(1, 2))
    for _ in range(2):
        assert not allowances.wait("a", 0)
        allowances.spend("a", 0)
    assert allowances.wait("a", 0) == pytest.approx(1)
    assert not allowances.wait("b", 0)
    assert not allowances.wait("a", 1.5)


def test_who_was_not_seen_for_longest_is_forgotten() -> None:
    allowances = Allowances(Rate(0.1, 1), most=2)
    for who in ("a", "b", "a", "c"):
        allowances.spend(who, 0)
    assert [bool(allowances.wait(who, 0)) for who in ("a", "b", "c")] == [True, False, True]
