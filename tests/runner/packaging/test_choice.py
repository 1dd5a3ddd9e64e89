from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.packaging.choice import (
    ALIKE,
    ChoiceScore,
    Judged,
    choose,
    from_fastest,
    keeps_accuracy,
)


@pytest.mark.parametrize(
    ("metric", "reference", "keeps"),
    [
        pytest.param(0.80, 0.80, True, id="equal"),
        pytest.param(0.792, 0.80, True, id="one per cent below"),
        pytest.param(0.7919, 0.80, False, id="more than that"),
        pytest.param(0.9, 0.80, True, id="better"),
        pytest.param(-0.102, -0.10, False, id="negative correlation that got worse"),
    ],
)
def test_losing_accuracy_means_more_than_one_per_cent(
    metric: float, reference: float, keeps: bool
) -> None:
    assert keeps_accuracy(metric, reference) is keeps


def test_alike_latencies_keep_the_order_of_preference() -> None:
    measured = [("preferred", 10.3), ("noise", 10.0), ("slow", 20.0), ("fast", 9.0)]
    assert from_fastest(measured) == ["fast", "preferred", "noise", "slow"]


@given(st.lists(st.floats(0.1, 100), max_size=8))
def test_nothing_much_slower_comes_before_something_faster(latencies: list[float]) -> None:
    order = from_fastest(list(enumerate(latencies)))
    assert sorted(order) == list(range(len(latencies)))
    for place, item in enumerate(order):
        fastest_left = min((latencies[i] for i in order[place:]), default=0)
        assert latencies[item] <= fastest_left * (1 + ALIKE)


def judged(name: str, metric: float, noise: float = 0.0, *, keeps: bool = False) -> Judged[str]:
    return Judged(name, ChoiceScore(metric, noise), keeps)


@pytest.mark.parametrize(
    ("noise", "keeps"),
    [
        pytest.param(0.0, False, id="measured exactly"),
        pytest.param(0.01, True, id="within what few rows can tell"),
    ],
)
def test_a_loss_that_the_rows_cannot_tell_from_none_does_not_count(
    noise: float, keeps: bool
) -> None:
    assert ChoiceScore(0.785, noise).keeps(0.80) is keeps


def test_the_first_that_keeps_accuracy_wins() -> None:
    tried = [judged("fast", 0.7), judged("good", 0.8, keeps=True), judged("slow", 0.9, keeps=True)]
    assert choose(tried).item == "good"


def test_where_all_lose_accuracy_the_most_accurate_is_kept() -> None:
    assert choose([judged("a", 0.5), judged("b", 0.7), judged("c", 0.6)]).item == "b"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        pytest.param(0.69, "simple", id="within what the rows tell apart"),
        pytest.param(0.71, "mixed", id="more accurate than that"),
    ],
)
def test_luck_is_no_reason_to_take_what_is_slower(metric: float, expected: str) -> None:
    tried = [judged("simple", 0.68, 0.02), judged("worse", 0.60, 0.02)]
    assert choose([*tried, judged("mixed", metric, 0.02)]).item == expected
