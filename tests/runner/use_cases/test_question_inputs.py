"""Windows over contexts: nothing is lost, and every token leads back to its text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.runner.tiny_models import WORDS, write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.data.squad import Answer, Question
from sparse_transfer_runner.use_cases.question_inputs import (
    EncodedQuestions,
    LongQuestions,
    Windows,
    mapped_questions,
    window_length,
)
from sparse_transfer_runner.use_cases.text_inputs import TextPreprocessor

LONG = " ".join(WORDS[5 + i % 12] for i in range(50))


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory: pytest.TempPathFactory) -> TextPreprocessor:
    return TextPreprocessor.load(write_tiny_encoder(tmp_path_factory.mktemp("tiny") / "model"))


def asked(context: str, *answers: str, question: str = "what was it") -> Question:
    return Question(question, context, tuple(Answer(text, context.index(text)) for text in answers))


def encoded(
    preprocessor: TextPreprocessor, *questions: Question, length: int = 16
) -> EncodedQuestions:
    # By two chunks, as files of many questions are read.
    chunks = [part for part in (questions[:1], questions[1:]) if part]
    return mapped_questions(
        lambda: iter(chunks), preprocessor, length, pairs=True, made_of=[repr(questions)]
    )


def test_windows_hold_the_whole_question_and_together_the_whole_context(
    preprocessor: TextPreprocessor,
) -> None:
    rows = encoded(preprocessor, asked(LONG), asked("it was good"))

    assert rows.units.tolist() == [*[0] * (len(rows) - 1), 1]
    assert max(rows.lengths) == 16
    seen = np.zeros(len(LONG), dtype=bool)
    for window in range(len(rows) - 1):
        start, end = (int(place) for place in rows.contexts[window])
        tokens = rows.collate([window])["input_ids"][0]
        assert preprocessor.tokenizer.decode(tokens[1:start]) == "what was it [SEP]"
        for token in range(start, end):
            first, behind = rows.characters[rows.text.offsets[window] + token]
            seen[first:behind] = True
            assert rows.answer(window, token, token) == LONG[first:behind]
    assert all(seen[i] or LONG[i] == " " for i in range(len(LONG)))


def test_neighbours_overlap_by_a_third(preprocessor: TextPreprocessor) -> None:
    rows = encoded(preprocessor, asked(LONG))

    first = rows.characters[rows.text.offsets[0] + rows.contexts[0, 1] - 5, 0]
    second = rows.characters[rows.text.offsets[1] + rows.contexts[1, 0], 0]
    assert Windows(16, 3).overlap == 5
    assert first == second


def test_targets_are_the_tokens_of_the_answer(preprocessor: TextPreprocessor) -> None:
    rows = encoded(preprocessor, asked("the film was good , it is great", "good , it"))

    ((first, last),) = rows.targets.tolist()
    assert rows.answer(0, first, last) == "good , it"


@pytest.mark.parametrize("answer", ["dull film", "was weak what"])
def test_windows_without_the_answer_point_at_the_first_token(
    preprocessor: TextPreprocessor, answer: str
) -> None:
    context = f"{LONG.replace('dull', 'a').replace('weak', 'a')} {answer} {LONG}"
    rows = encoded(preprocessor, asked(context, answer))

    found = [
        rows.answer(window, int(first), int(last))
        for window, (first, last) in enumerate(rows.targets)
        if first
    ]
    assert found
    assert set(found) == {answer}
    assert len(found) < len(rows)


def test_unanswerable_questions_point_at_the_first_token(preprocessor: TextPreprocessor) -> None:
    assert encoded(preprocessor, asked("it was good")).targets.tolist() == [[0, 0]]


@pytest.mark.parametrize("text", ["good", " good", "good ", "oo", "was g"])
def test_an_answer_within_words_gets_the_words(preprocessor: TextPreprocessor, text: str) -> None:
    rows = encoded(preprocessor, asked("it was good .", text))

    ((first, last),) = rows.targets.tolist()
    assert text.strip() in rows.answer(0, first, last)
    assert len(rows.answer(0, first, last)) <= len("was good")


def test_characters_beyond_one_byte_are_counted_as_one(preprocessor: TextPreprocessor) -> None:
    rows = encoded(preprocessor, asked("🙂🙂 é was good", "good"))

    ((first, last),) = rows.targets.tolist()
    assert rows.answer(0, first, last) == "good"


def _counts(
    preprocessor: TextPreprocessor, asked_length: int | None, *tokens: int
) -> LongQuestions:
    found = LongQuestions(preprocessor, asked_length)
    found.add(Path("train.json"), range(1, len(tokens) + 1), tokens)
    return found


@pytest.mark.parametrize(
    ("pairs", "questions", "asked_length", "length"),
    [
        ([20], [4], None, 24),
        ([400], [4], None, 32),
        ([400], [4], 16, 16),
        # The question does not fit beside a third and a token of context in 24.
        ([20], [13], None, 32),
    ],
)
def test_the_length_follows_the_rule_and_leaves_room_for_questions(
    preprocessor: TextPreprocessor,
    pairs: Sequence[int],
    questions: Sequence[int],
    asked_length: int | None,
    length: int,
) -> None:
    counts = _counts(preprocessor, asked_length, *questions)

    found = window_length(np.array(pairs), counts, preprocessor, asked_length)

    assert found == length


@pytest.mark.parametrize(("asked_length", "room"), [(None, 18), (16, 7)])
def test_a_question_that_is_too_long_is_named_with_its_line(
    preprocessor: TextPreprocessor, asked_length: int | None, room: int
) -> None:
    counts = _counts(preprocessor, asked_length, 3, 19)

    with pytest.raises(InputError, match=f"more than {room} tokens") as caught:
        window_length(np.array([20]), counts, preprocessor, asked_length)

    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "the question takes 19 tokens")


def test_a_window_longer_than_the_model_is_refused(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(InputError, match="more than the model's 32"):
        window_length(np.array([20]), _counts(preprocessor, 64, 3), preprocessor, 64)


def test_of_many_questions_that_are_too_long_all_are_counted_and_the_first_are_kept(
    preprocessor: TextPreprocessor,
) -> None:
    counts = _counts(preprocessor, None, *[19] * 500)

    assert (counts.count, len(counts.problems), counts.longest) == (500, 20, 19)
    with pytest.raises(InputError, match="500 questions are too long"):
        window_length(np.array([20]), counts, preprocessor, None)
