"""Question answering: the part of a context that answers a question, or that there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import AnswerRule, Plan
from sparse_transfer_runner.catalog.checked import CheckedModel
from sparse_transfer_runner.data.selection import selected_rows
from sparse_transfer_runner.data.squad import Question
from sparse_transfer_runner.data.squad_check import check_questions
from sparse_transfer_runner.data.squad_rows import read_questions

from . import answer_scores, question_model
from .protocol import DataSummary, EncodedSplit, Preprocessor
from .question_inputs import (
    EncodedQuestions,
    LongQuestions,
    mapped_questions,
    token_counts,
    window_length,
)
from .scores import Scored
from .spans import answers
from .text_inputs import (
    ATTENTION_MASK,
    INPUT_IDS,
    TOKEN_TYPE_IDS,
    TextPreprocessor,
)
from .text_use_case import TextUseCase, chosen_rows, splits_in, tokenizer_of

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec

PROBLEM_TYPE = "question_answering"

_LENGTH_QUESTIONS = 50_000
"""Questions from which the length of windows is taken; more would hardly change it."""


class QuestionAnswering(TextUseCase):
    """The use case behind ``nlp-question_answering``.

    Args:
        name: Canonical name.
    """

    default_batch_size = 16
    default_length = 384
    program = "answer_questions"

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks all of the data in constant memory; see ``data.squad_check``."""
        checked = check_questions(data, spec.data)
        return DataSummary(
            problem_type=PROBLEM_TYPE,
            columns={"text": ("question", "context"), "label": ("answers",)},
            labels=question_model.LABELS,
            splits=splits_in(data, checked.splits),
            digest=checked.digest,
            warnings=checked.warnings,
            answers=checked.rule,
        )

    def check(self, model: Path, *, trusted: bool) -> CheckedModel:
        """Checks a model folder; see ``catalog.hugging_face``, and that it can answer questions."""
        checked = super().check(model, trusted=trusted)
        question_model.require_answerer(model)
        return checked

    def preprocessor(self, model: Path, plan: Plan | None = None) -> TextPreprocessor:
        """Loads the tokenizer of a model folder.

        Raises:
            InputError: There is none, it cannot be read, or it cannot tell where a token stands.
        """
        loaded = super().preprocessor(model, plan)
        if not loaded.tokenizer.is_fast:
            raise InputError(
                f"{model}: its tokenizer cannot tell where in a text a token stands; expected one "
                "with tokenizer.json"
            )
        return loaded

    def input_names(self, summary: DataSummary, preprocessor: Preprocessor) -> list[str]:
        """Returns the model's inputs, token types where it tells texts of a pair apart by them."""
        names = [INPUT_IDS, ATTENTION_MASK]
        return [*names, TOKEN_TYPE_IDS] if tokenizer_of(preprocessor).knows_pairs else names

    def natural_length(
        self,
        data: Path,
        summary: DataSummary,
        preprocessor: Preprocessor,
        asked: int | None = None,
    ) -> tuple[int, float]:
        """Returns the tokens of a window, and 0: windows slide, so that nothing is cut."""
        tokenizer = tokenizer_of(preprocessor)
        pairs: list[int] = []
        questions = LongQuestions(tokenizer, asked)
        for split in summary.splits:
            file, seen = data / split.file, 0
            step = max(1, split.samples // _LENGTH_QUESTIONS)
            for chunk in read_questions(file, np.arange(split.samples)):
                asking = [each.question for _, each in chunk]
                counts = token_counts(tokenizer, asking)
                questions.add(file, [line for line, _ in chunk], counts)
                if split.name == "train":
                    some = slice(-seen % step, None, step)
                    contexts = [each.context for _, each in chunk[some]]
                    pairs += token_counts(tokenizer, asking[some], contexts) if contexts else []
                seen += len(chunk)
        return window_length(np.asarray(pairs), questions, tokenizer, asked), 0.0

    def load(
        self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor
    ) -> EncodedQuestions:
        """Reads and encodes a split: ``train``, ``val``, ``test`` or ``choice``."""
        info, rows = selected_rows(plan, split)

        def chunks() -> Iterator[list[Question]]:
            for chunk in read_questions(data / info.file, rows, digest=info.digest):
                yield [question for _, question in chunk]

        length = plan.max_sequence_length or self.default_length
        pairs = TOKEN_TYPE_IDS in plan.inputs
        return mapped_questions(
            chunks,
            tokenizer_of(preprocessor),
            length,
            pairs=pairs,
            made_of=chosen_rows(info, rows),
        )

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads a model with a head that finds start and end of an answer."""
        return question_model.build_answerer(model, plan.training.seed)

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model folder already answers questions."""
        return question_model.has_head(model)

    def is_head(self, parameter: str) -> bool:
        """Whether a parameter belongs to the head."""
        return question_model.is_head(parameter)

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first."""
        return answer_scores.NAMES

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric."""
        return answer_scores.NAMES[0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores logits ``[windows, tokens, 2]``; the samples are questions, not windows."""
        found = _windows(rows)
        return answer_scores.scored(answers(outputs, found, _rule(plan)), found.questions)

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns a metric of the best answer that ignores its question."""
        may_be_none = _rule(plan).may_be_none
        return answer_scores.constant_metric(
            _windows(rows).questions, metric, may_be_none=may_be_none
        )

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of questions with the same answer."""
        found, rule = _windows(rows), _rule(plan)
        pairs = zip(answers(outputs, found, rule), answers(reference, found, rule), strict=True)
        return float(np.mean([ours == theirs for ours, theirs in pairs]))


def _windows(rows: EncodedSplit) -> EncodedQuestions:
    if not isinstance(rows, EncodedQuestions):
        raise TypeError(f"questions are scored on EncodedQuestions, not on {type(rows)}")
    return rows


def _rule(plan: Plan) -> AnswerRule:
    if plan.answers is None:
        raise ValueError("a plan for question answering says what an answer may be")
    return plan.answers
