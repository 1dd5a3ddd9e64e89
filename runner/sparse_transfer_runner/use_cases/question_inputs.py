"""From questions and contexts to a model's inputs: windows that slide over long contexts.

Each window holds the whole question and a part of the context; neighbours overlap by a third of the
length, so that an answer at the edge of one is inside the other. The windows of one question are
made from consecutive rows, and belong together wherever answers are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_runner.data.squad import Question

from .feature_files import mapped_features
from .protocol import Batch
from .stored_questions import StoredQuestions, question_arrays
from .text_inputs import (
    INPUT_IDS,
    LENGTH_STEP,
    TOKEN_TYPE_IDS,
    EncodedText,
    TextPreprocessor,
    sequence_length,
    text_arrays,
    text_of,
)

LONGEST_WINDOW = 384
"""Tokens of a window where nothing else is asked for: as Devlin et al. (2018) took for SQuAD."""

_SHOWN_QUESTIONS = 20
_CONTEXT = 1
"""Which text of the pair the context is."""


@dataclass(frozen=True)
class Windows:
    """How contexts are cut.

    Args:
        length: Tokens of a window, the question and special tokens counted.
        special: Special tokens of a pair.
    """

    length: int
    special: int

    @property
    def overlap(self) -> int:
        """Tokens of the context that two neighbours share."""
        return self.length // 3

    @property
    def longest_question(self) -> int:
        """Tokens of a question beside which a window moves on by one token at least."""
        return self.length - self.special - self.overlap - 1


@dataclass(frozen=True)
class EncodedQuestions:
    """A split's windows as tokens, and what leads from tokens back to the text.

    Args:
        text: The windows; targets int64 ``[windows, 2]``: first and last token of the answer, both
            0 where a window does not hold it.
        units: int64 ``[windows]``: which question a window belongs to, ascending from 0.
        contexts: int64 ``[windows, 2]``: the first token of the context, and that behind its last.
        characters: int32 ``[tokens, 2]``: where a token begins and ends in its text.
        questions: The questions.
    """

    text: EncodedText
    units: NDArray[np.int64]
    contexts: NDArray[np.int64]
    characters: NDArray[np.int32]
    questions: Sequence[Question]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def targets(self) -> NDArray[Any]:
        """First and last token of each window's answer."""
        return self.text.targets

    @targets.setter
    def targets(self, _: NDArray[Any]) -> None:
        raise AttributeError("an encoded split does not change")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window."""
        return self.text.lengths

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns windows as one padded batch."""
        return self.text.collate(rows, pad_to=pad_to)

    def answer(self, window: int, first: int, last: int) -> str:
        """Returns the text from a token of a window's context to another, both included."""
        offset = int(self.text.offsets[window])
        start, end = self.characters[offset + first, 0], self.characters[offset + last, 1]
        # Some tokenizers count the space before a word to it.
        return self.questions[int(self.units[window])].context[start:end].strip()


class LongQuestions:
    """The longest question, and the first ones that leave no room for a context, of all splits.

    Args:
        preprocessor: The model's.
        asked: ``spec.training.maxSequenceLength``; by default windows grow as far as they can.
    """

    def __init__(self, preprocessor: TextPreprocessor, asked: int | None) -> None:
        self._room = _windows_of(asked or _most(preprocessor, asked), preprocessor).longest_question
        self.longest = 0
        """Tokens."""
        self.count = 0
        """Those that leave no room."""
        self.problems: list[Problem] = []
        """The first of them."""

    def add(self, path: Path, lines: Sequence[int], tokens: Sequence[int]) -> None:
        """Looks at a chunk of a file's questions."""
        self.longest = max(self.longest, *tokens)
        for line, count in zip(lines, tokens, strict=True):
            if count > self._room:
                self.count += 1
                if len(self.problems) < _SHOWN_QUESTIONS:
                    message = f"the question takes {count} tokens"
                    self.problems.append(Problem(str(path), message, line))


def window_length(
    pairs: NDArray[Any],
    questions: LongQuestions,
    preprocessor: TextPreprocessor,
    asked: int | None,
) -> int:
    """Returns the tokens of a window.

    By default the 99th percentile of the training rows, rounded up to 8, at most 384 or the
    model's; more, within that, where a question needs it.

    Args:
        pairs: Tokens of training rows, question and context together.
        questions: Of all splits.
        preprocessor: The model's.
        asked: ``spec.training.maxSequenceLength``.

    Raises:
        InputError: More is asked for than the model can take; or questions leave no room for a
            context.
    """
    most = _most(preprocessor, asked)
    length, _ = sequence_length(pairs, most, asked)
    while (
        not asked
        and length < most
        and _windows_of(length, preprocessor).longest_question < questions.longest
    ):
        length = min(length + LENGTH_STEP, most)
    room = _windows_of(length, preprocessor).longest_question
    if questions.count:
        raise InputError(
            f"{questions.count} questions are too long: a question is never cut, and beside one of "
            f"more than {max(room, 0)} tokens a window of {length} leaves no room for the context; "
            "shorten them, or raise spec.training.maxSequenceLength (the model takes "
            f"{preprocessor.max_length})",
            questions.problems,
        )
    return length


def _most(preprocessor: TextPreprocessor, asked: int | None) -> int:
    """Returns the tokens of the longest window."""
    return preprocessor.max_length if asked else min(preprocessor.max_length, LONGEST_WINDOW)


def _windows_of(length: int, preprocessor: TextPreprocessor) -> Windows:
    return Windows(length, preprocessor.tokenizer.num_special_tokens_to_add(pair=True))


def token_counts(preprocessor: TextPreprocessor, *texts: Sequence[str]) -> list[int]:
    """Returns the tokens of texts, or of pairs of texts with the special ones, none of them cut."""
    encoded = preprocessor.tokenizer(
        *texts, add_special_tokens=len(texts) > 1, return_attention_mask=False, verbose=False
    )
    return [len(row) for row in encoded[INPUT_IDS]]


def mapped_questions(
    chunks: Callable[[], Iterator[Sequence[Question]]],
    preprocessor: TextPreprocessor,
    length: int,
    *,
    pairs: bool,
    made_of: Sequence[object],
) -> EncodedQuestions:
    """Encodes questions into files; see ``feature_files``.

    Args:
        chunks: Yields the questions; not called where the same were encoded before.
        preprocessor: The model's.
        length: Tokens of a window.
        pairs: The model has an input that tells question and context apart.
        made_of: All that decides the questions.
    """

    def arrays() -> Iterator[dict[str, NDArray[Any]]]:
        asked = 0
        for chunk in chunks():
            found = _chunk_arrays(chunk, preprocessor, length, pairs=pairs)
            found["units"] += asked
            asked += len(chunk)
            yield found

    decided_by = ["questions", *made_of, preprocessor.identity, length, pairs]
    found = mapped_features(decided_by, arrays)
    return EncodedQuestions(
        text_of(found, preprocessor.tokenizer.pad_token_id or 0),
        found["units"],
        found["contexts"],
        found["characters"],
        StoredQuestions.of(found),
    )


def _chunk_arrays(
    questions: Sequence[Question], preprocessor: TextPreprocessor, length: int, *, pairs: bool
) -> dict[str, NDArray[Any]]:
    windows, owners = _windows(questions, preprocessor, length)
    contexts = [_context_of(window.sequence_ids) for window in windows]
    characters = [np.asarray(window.offsets, dtype=np.int32) for window in windows]
    targets = [
        answer_tokens(questions[owner], offsets, context)
        for owner, offsets, context in zip(owners, characters, contexts, strict=True)
    ]
    tokens = {
        INPUT_IDS: [window.ids for window in windows],
        TOKEN_TYPE_IDS: [window.type_ids for window in windows],
    }
    return {
        **text_arrays(tokens, np.asarray(targets, dtype=np.int64), pairs=pairs),
        **question_arrays(questions),
        "units": np.asarray(owners, dtype=np.int64),
        "contexts": np.asarray(contexts, dtype=np.int64),
        "characters": np.concatenate(characters),
    }


def answer_tokens(
    question: Question, offsets: NDArray[np.int32], context: tuple[int, int]
) -> tuple[int, int]:
    """Returns the first and the last token of the first answer; 0 and 0 where it is not whole.

    Args:
        question: With its answers.
        offsets: Where each token of the window begins and ends, ``[tokens, 2]``.
        context: The first token of the context, and that behind its last.
    """
    if not question.answers or context[0] == context[1]:
        return 0, 0
    answer = question.answers[0]
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    end = start + len(answer.text.strip())
    begins, ends = offsets[slice(*context)].T
    if start < begins[0] or end > ends[-1]:
        return 0, 0
    first = int(np.searchsorted(begins, start, side="right")) - 1
    last = int(np.searchsorted(ends, end))
    return context[0] + first, context[0] + max(first, last)


def _windows(
    questions: Sequence[Question], preprocessor: TextPreprocessor, length: int
) -> tuple[Sequence[Any], Sequence[int]]:
    """Returns the windows of all questions, and of each which question it belongs to."""
    tokenizer = preprocessor.tokenizer
    encoded = tokenizer(
        [each.question for each in questions],
        [each.context for each in questions],
        truncation="only_second",
        max_length=length,
        stride=_windows_of(length, preprocessor).overlap,
        return_overflowing_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    return encoded.encodings, encoded["overflow_to_sample_mapping"]


def _context_of(texts: Sequence[int | None]) -> tuple[int, int]:
    """Returns the first token of the context, and that behind its last."""
    if _CONTEXT not in texts:
        return 0, 0  # of characters that the tokenizer drops
    first = texts.index(_CONTEXT)
    return first, len(texts) - list(reversed(texts)).index(_CONTEXT)
