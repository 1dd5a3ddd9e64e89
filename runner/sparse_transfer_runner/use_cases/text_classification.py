"""Text classification and sentiment analysis: a text or a pair; one label, several, or a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.records import Plan
from sparse_transfer_runner.data.labels import name_of
from sparse_transfer_runner.data.selection import selected_rows
from sparse_transfer_runner.data.text_check import check_text
from sparse_transfer_runner.data.text_rows import TextRows, read_text_rows

from . import metrics, text_model
from .classification_scores import Metrics, constant_metric, same_answers, scored
from .protocol import DataSummary, EncodedSplit, Preprocessor
from .scores import Scored
from .text_inputs import (
    ATTENTION_MASK,
    INPUT_IDS,
    TOKEN_TYPE_IDS,
    EncodedText,
    mapped_text,
    sequence_length,
)
from .text_use_case import TextUseCase, chosen_rows, rows_for_length, splits_in, tokenizer_of

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec


class TextClassification(TextUseCase):
    """The use case behind ``nlp-text_classification`` and ``nlp-sentiment_analysis``.

    Args:
        name: Canonical name.
    """

    default_batch_size = 32
    program = "classify_texts"

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks all of the data in constant memory; see ``data.text_check``."""
        checked = check_text(data, spec.data)
        columns = checked.columns
        return DataSummary(
            problem_type=checked.rule.problem_type,
            columns={"text": columns.text, "label": (columns.label,)},
            labels=checked.rule.names or (columns.label,),
            splits=splits_in(data, checked.splits),
            digest=checked.digest,
            warnings=checked.warnings,
        )

    def input_names(self, summary: DataSummary, preprocessor: Preprocessor) -> list[str]:
        """Returns the model's inputs; token types only where there are two texts to tell apart."""
        names = [INPUT_IDS, ATTENTION_MASK]
        if len(summary.columns["text"]) > 1 and tokenizer_of(preprocessor).knows_pairs:
            names.append(TOKEN_TYPE_IDS)
        return names

    def natural_length(
        self,
        data: Path,
        summary: DataSummary,
        preprocessor: Preprocessor,
        asked: int | None = None,
    ) -> tuple[int, float]:
        """Returns the sequence length by the design's rule, and the share of rows it truncates."""
        tokenizer = tokenizer_of(preprocessor)
        lengths = [
            len(row)
            for rows in rows_for_length(data, summary)
            for row in tokenizer.encode(rows.texts, None)[INPUT_IDS]
        ]
        return sequence_length(np.asarray(lengths), tokenizer.max_length, asked)

    def load(self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor) -> EncodedText:
        """Reads and encodes a split: ``train``, ``val``, ``test`` or ``choice``."""
        tokenizer = tokenizer_of(preprocessor)
        info, rows = selected_rows(plan, split)
        label = plan.columns["label"][0]
        length = plan.max_sequence_length or tokenizer.max_length

        def encoded() -> Iterator[tuple[Mapping[str, Any], NDArray[Any]]]:
            file, text = data / info.file, plan.columns["text"]
            for chunk in read_text_rows(file, text, label, rows, digest=info.digest):
                yield tokenizer.encode(chunk.texts, length), _targets(chunk, plan)

        return mapped_text(
            encoded,
            tokenizer.tokenizer.pad_token_id or 0,
            pairs=TOKEN_TYPE_IDS in plan.inputs,
            made_of=[
                *chosen_rows(info, rows),
                *(plan.columns, plan.labels, plan.problem_type),
                *(tokenizer.identity, length),
            ],
        )

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads a model with a head for the plan's labels."""
        return text_model.build_classifier(
            model, plan.labels, plan.problem_type, plan.training.seed
        )

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model folder already answers with these labels."""
        return text_model.has_head(model, labels, problem_type)

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one, the default first."""
        return metrics.NAMES[problem_type]

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric."""
        return metrics.NAMES[plan.problem_type][0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores logits ``[rows, labels]``."""
        return scored(outputs, rows.targets, _metrics(plan))

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns a metric of the best answer that ignores its input."""
        kind = plan.problem_type
        return constant_metric(rows.targets, len(plan.labels), kind, _metrics(plan), metric)

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of rows with the same answer."""
        return same_answers(outputs, reference, plan.problem_type)


def _metrics(plan: Plan) -> Metrics:
    return lambda logits, targets: metrics.score(plan.problem_type, logits, targets)


def _targets(rows: TextRows, plan: Plan) -> NDArray[Any]:
    """Returns labels as the model's targets, in the shape that the problem type asks for."""
    if plan.problem_type == metrics.REGRESSION:
        return np.asarray(rows.labels, dtype=np.float32)
    index = {name: position for position, name in enumerate(plan.labels)}
    if plan.problem_type == metrics.SINGLE_LABEL:
        return np.asarray([index[name_of(label)] for label in rows.labels], dtype=np.int64)
    targets = np.zeros((len(rows.labels), len(index)), dtype=np.float32)
    for row, label in enumerate(rows.labels):
        for item in label if isinstance(label, list) else [label]:
            targets[row, index[name_of(item)]] = 1.0
    return targets
