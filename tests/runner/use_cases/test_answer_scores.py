"""Exact match and F1 of answers, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.data.squad import Answer, Question
from sparse_transfer_runner.use_cases.answer_scores import (
    NAMES,
    constant_metric,
    f1,
    normalized,
    scored,
)


def asked(*right: str) -> Question:
    return Question("what?", "somewhere", tuple(Answer(text, 0) for text in right))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Mill", "mill"),
        ("a  mill, an\toven & the barn.", "mill oven barn"),
        ("Anna's theatre", "annas theatre"),
        ("U.S.A.", "usa"),
        ("18-20", "1820"),
        ("“Ahlen”", "“ahlen”"),
        ("The", ""),
        ("", ""),
    ],
)
def test_normalization_is_that_of_squad(text: str, plain: str) -> None:
    assert normalized(text) == plain


@pytest.mark.parametrize(
    ("said", "right", "exact", "wanted"),
    [
        ("the mill", ["Mill."], 1.0, 1.0),
        # 1 word of 2 said, of 1 right: precision 1/2, recall 1.
        ("old mill", ["the mill"], 0.0, 2 / 3),
        # 2 of 3 said, of 4 right: precision 2/3, recall 1/2.
        ("in the spring of 1820", ["early spring of that 1820"], 0.0, 2 * 3 / (4 + 5)),
        # A word counts as often as both have it.
        ("mill mill", ["mill"], 0.0, 2 / 3),
        ("barn", ["mill"], 0.0, 0.0),
        # The nearest of several right ones counts.
        ("Anna Berg", ["Berg", "Anna Berg", "the miller"], 1.0, 1.0),
        ("Anna", ["Berg", "Anna Berg"], 0.0, 2 / 3),
        # No answer is right only where there is none.
        ("", [], 1.0, 1.0),
        ("mill", [], 0.0, 0.0),
        ("", ["mill"], 0.0, 0.0),
        # Right answers of which nothing is left are as good as none.
        ("", ["the"], 1.0, 1.0),
        ("the", [], 1.0, 1.0),
    ],
)
def test_scores_are_those_computed_by_hand(
    said: str, right: list[str], exact: float, wanted: float
) -> None:
    found = scored([said], [asked(*right)])

    assert found.metrics == pytest.approx({"f1": wanted, "exact_match": exact})


def test_metrics_are_means_over_questions_and_can_be_resampled() -> None:
    questions = [asked("mill"), asked("old mill"), asked()]
    found = scored(["mill", "mill", "barn"], questions)

    assert found.samples == 3
    assert found.metrics["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found.metrics["exact_match"] == pytest.approx(1 / 3)
    (drawn,) = found.resampling("f1").values(np.array([[0, 2, 1]]))
    assert drawn == pytest.approx((2 * 2 / 3) / 3)


@pytest.mark.parametrize(
    ("right", "may_be_none", "metric", "wanted"),
    [
        ([["mill"], ["mill"], ["barn"], []], True, "f1", 0.5),
        ([["mill"], [], []], True, "exact_match", 2 / 3),
        ([["mill"], [], []], False, "exact_match", 1 / 3),
        ([[], []], False, "f1", 0.0),
    ],
)
def test_the_best_constant_answer_is_a_frequent_one_or_none(
    right: list[list[str]], may_be_none: bool, metric: str, wanted: float
) -> None:
    questions = [asked(*each) for each in right]

    assert constant_metric(questions, metric, may_be_none=may_be_none) == pytest.approx(wanted)


@given(st.text(max_size=30), st.text(max_size=30))
def test_f1_is_symmetric_and_one_for_equal_answers(first: str, second: str) -> None:
    first, second = normalized(first), normalized(second)

    assert f1(first, second) == f1(second, first)
    assert 0 <= f1(first, second) <= 1
    assert f1(first, first) == 1


def test_f1_is_the_primary_metric() -> None:
    assert NAMES[0] == "f1"
