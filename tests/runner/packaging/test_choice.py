from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.packaging.choice import (
    ALIKE,
    ChoiceScore,
    Chosen,
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


def test_the_fastest_that_keeps_accuracy_wins_and_the_rest_is_never_scored() -> None:
    scored = []

    def score(name: str) -> ChoiceScore:
        scored.append(name)
        return ChoiceScore({"fast": 0.70, "good": 0.80, "never": 0.90}[name])

    chosen = choose(["fast", "good", "never"], score, reference=0.80)
    assert chosen == Chosen("good", 0.80, True)
    assert scored == ["fast", "good"]


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


def test_where_all_lose_accuracy_the_most_accurate_is_kept() -> None:
    scores = {"a": ChoiceScore(0.5), "b": ChoiceScore(0.7), "c": ChoiceScore(0.6)}
    chosen = choose(["a", "b", "c"], scores.__getitem__, reference=0.9)
    assert chosen == Chosen("b", 0.7, False)


def test_nothing_is_chosen_of_nothing() -> None:
    assert choose([], lambda item: ChoiceScore(0.0), reference=1.0) is None
