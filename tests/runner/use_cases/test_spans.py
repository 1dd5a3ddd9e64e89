"""The best span of all windows, against a search that looks at one span after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparse_transfer_api.records import AnswerRule
from sparse_transfer_runner.data.squad import Question
from sparse_transfer_runner.use_cases.question_inputs import EncodedQuestions
from sparse_transfer_runner.use_cases.spans import answers, best_spans
from sparse_transfer_runner.use_cases.text_inputs import EncodedText

NEVER_NONE = AnswerRule(may_be_none=False, max_tokens=3)
MAY_BE_NONE = AnswerRule(may_be_none=True, max_tokens=3)
CONTEXT = "abcdefgh"


def windows(
    units: Sequence[int], contexts: Sequence[tuple[int, int]], tokens: int = 8
) -> EncodedQuestions:
    """Returns windows whose tokens are the letters of the context, the first being ``[CLS]``."""
    rows = len(units)
    places = np.tile(np.stack([np.arange(tokens), np.arange(tokens) + 1], axis=1), (rows, 1))
    text = EncodedText(
        tokens=np.zeros(rows * tokens, dtype=np.int32),
        types=None,
        offsets=np.arange(rows + 1) * tokens,
        targets=np.zeros((rows, 2), dtype=np.int64),
        padding=0,
    )
    return EncodedQuestions(
        text,
        np.asarray(units),
        np.asarray(contexts),
        places.astype(np.int32),
        [Question("what?", CONTEXT, ())] * (max(units) + 1),
    )


def logits(rows: int, *high: tuple[int, int, int, float]) -> NDArray[np.float32]:
    """Returns zeros but for the given values: window, token, start (0) or end (1), value."""
    found = np.zeros((rows, 8, 2), dtype=np.float32)
    for row, token, side, value in high:
        found[row, token, side] = value
    return found


def test_the_best_span_is_inside_the_context_in_order_and_not_too_long() -> None:
    rows = windows([0], [(2, 8)])
    # Outside of the context; an end before the start; and one too far from it.
    outputs = logits(1, (0, 1, 0, 9), (0, 4, 0, 5), (0, 3, 1, 7), (0, 6, 1, 3), (0, 7, 1, 4))

    assert answers(outputs, rows, NEVER_NONE) == ["efg"]


def test_the_best_of_several_windows_answers() -> None:
    rows = windows([0, 0, 1], [(2, 8), (2, 8), (2, 8)])
    outputs = logits(3, (0, 3, 0, 2), (0, 3, 1, 2), (1, 5, 0, 3), (1, 6, 1, 3), (2, 2, 0, 1))

    assert answers(outputs, rows, NEVER_NONE)[0] == "fg"


@pytest.mark.parametrize(
    ("none", "rule", "wanted"),
    [
        ((9.0, 9.0), MAY_BE_NONE, ""),
        # One window that is sure of an answer is enough.
        ((9.0, 3.0), MAY_BE_NONE, "d"),
        ((9.0, 9.0), NEVER_NONE, "d"),
    ],
)
def test_none_is_said_where_every_window_says_it(
    none: tuple[float, float], rule: AnswerRule, wanted: str
) -> None:
    rows = windows([0, 0], [(2, 8), (2, 8)])
    outputs = logits(2, (0, 3, 0, 2), (0, 3, 1, 2), (0, 0, 0, none[0]), (1, 0, 1, none[1]))

    assert answers(outputs, rows, rule) == [wanted]


def test_a_context_without_tokens_is_no_answer() -> None:
    assert answers(logits(1), windows([0], [(0, 0)]), NEVER_NONE) == [""]


@given(
    seed=st.integers(0, 10_000),
    first=st.integers(1, 6),
    size=st.integers(1, 7),
    max_tokens=st.integers(1, 9),
)
def test_the_search_is_exact(seed: int, first: int, size: int, max_tokens: int) -> None:
    behind = min(first + size, 8)
    outputs = np.random.default_rng(seed).normal(size=(1, 8, 2)).astype(np.float32)

    found = best_spans(outputs, np.array([(first, behind)]), max_tokens)

    every = {
        (start, end): outputs[0, start, 0] + outputs[0, end, 1]
        for start in range(first, behind)
        for end in range(start, min(start + max_tokens, behind))
    }
    span = (int(found.firsts[0]), int(found.lasts[0]))
    assert span in every
    assert found.scores[0] == max(every.values()) == every[span]
