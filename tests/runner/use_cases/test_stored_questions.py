"""Questions kept as bytes are the questions that were put there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.data.squad import Answer, Question
from sparse_transfer_runner.use_cases.stored_questions import StoredQuestions, question_arrays

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_ANSWERS = st.lists(st.builds(Answer, _TEXTS, st.integers(0, 2**40)), max_size=3).map(tuple)


@given(st.lists(st.builds(Question, _TEXTS, _TEXTS, _ANSWERS), max_size=5))
def test_questions_come_back_as_they_were(questions: list[Question]) -> None:
    stored = StoredQuestions.of(question_arrays(questions))
    assert list(stored) == questions
    assert stored[1:] == questions[1:]


def test_a_question_that_is_not_there_is_no_question() -> None:
    stored = StoredQuestions.of(question_arrays([Question("what", "it", ())]))
    with pytest.raises(IndexError):
        stored[1]
