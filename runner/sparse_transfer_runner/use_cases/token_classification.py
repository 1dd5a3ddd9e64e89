"""Token classification and named entity recognition: every word of a text has a tag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.records import Plan
from sparse_transfer_runner.data.selection import selected_rows
from sparse_transfer_runner.data.tagged_check import check_tagged
from sparse_transfer_runner.data.tags import OUTSIDE, entity_tags
from sparse_transfer_runner.data.text_rows import TextRows, read_text_rows

from . import tag_metrics, token_model
from .protocol import DataSummary, EncodedSplit, Preprocessor
from .scores import Resampling, Scored, Sums
from .tagged_text import EncodedTags, Pieces, load_word_tokenizer, mapped_tags, pieces_of
from .text_inputs import ATTENTION_MASK, INPUT_IDS, TextPreprocessor, sequence_length
from .text_use_case import TextUseCase, chosen_rows, rows_for_length, splits_in, tokenizer_of

if TYPE_CHECKING:
    from torch import nn

    from sparse_transfer_api.spec import SparseTransferSpec

PROBLEM_TYPE = "token_classification"


class TokenClassification(TextUseCase):
    """The use case behind ``nlp-token_classification`` and ``nlp-named_entity_recognition``.

    Args:
        name: Canonical name.
    """

    default_batch_size = 32
    program = "tag_words"

    def inspect(self, data: Path, spec: SparseTransferSpec) -> DataSummary:
        """Checks all of the data in constant memory; see ``data.tagged_check``."""
        if spec.data.problem_type is not None:
            problem = f"{spec.data.problem_type} is of whole texts; a word has one tag: remove it"
            raise InputError(
                f"{self.name} has no problem types", [Problem("spec.data.problemType", problem)]
            )
        checked = check_tagged(data, spec.data)
        return DataSummary(
            problem_type=PROBLEM_TYPE,
            columns={"text": (checked.columns.tokens,), "label": (checked.columns.tags,)},
            labels=checked.names,
            splits=splits_in(data, checked.splits),
            digest=checked.digest,
            warnings=checked.warnings,
            marks=checked.marks,
        )

    def preprocessor(self, model: Path, plan: Plan | None = None) -> TextPreprocessor:
        """Loads the tokenizer of a model folder, so that it takes words."""
        return load_word_tokenizer(model)

    def input_names(self, summary: DataSummary, preprocessor: Preprocessor) -> list[str]:
        """Returns the model's inputs."""
        return [INPUT_IDS, ATTENTION_MASK]

    def natural_length(
        self,
        data: Path,
        summary: DataSummary,
        preprocessor: Preprocessor,
        asked: int | None = None,
    ) -> tuple[int, float]:
        """Returns the sequence length by the design's rule, and the share of rows it truncates."""
        tokenizer = tokenizer_of(preprocessor)
        chunks = rows_for_length(data, summary)
        lengths = [
            len(row) for rows in chunks for row in pieces_of(tokenizer, _words(rows), None).tokens
        ]
        return sequence_length(np.asarray(lengths), tokenizer.max_length, asked)

    def load(self, data: Path, plan: Plan, split: str, preprocessor: Preprocessor) -> EncodedTags:
        """Reads and encodes a split: ``train``, ``val``, ``test`` or ``choice``."""
        tokenizer = tokenizer_of(preprocessor)
        info, rows = selected_rows(plan, split)
        length = plan.max_sequence_length or tokenizer.max_length
        places = _places(plan.labels)

        def encoded() -> Iterator[tuple[Pieces, list[list[int]]]]:
            file, text, label = data / info.file, plan.columns["text"], plan.columns["label"][0]
            for chunk in read_text_rows(file, text, label, rows, digest=info.digest):
                tags = [[places[tag] for tag in row] for row in chunk.labels]
                yield pieces_of(tokenizer, _words(chunk), length), tags

        return mapped_tags(
            encoded,
            tokenizer.tokenizer.pad_token_id or 0,
            made_of=[
                *chosen_rows(info, rows),
                *(plan.columns, plan.labels, tokenizer.identity, length),
            ],
        )

    def build(self, model: Path, plan: Plan) -> nn.Module:
        """Loads a model with a head for the plan's tags."""
        return token_model.build_tagger(model, plan.labels, plan.training.seed)

    def has_head(self, model: Path, labels: Sequence[str], problem_type: str) -> bool:
        """Whether a model folder already gives these tags."""
        return token_model.has_head(model, labels)

    def metric_names(self, problem_type: str, labels: Sequence[str]) -> Sequence[str]:
        """Returns the metrics that can be the primary one: F1 of entities first."""
        return tag_metrics.NAMES

    def primary_metric(self, plan: Plan) -> str:
        """Returns the default primary metric."""
        return tag_metrics.NAMES[0]

    def score(self, outputs: NDArray[Any], rows: EncodedSplit, plan: Plan) -> Scored:
        """Scores logits ``[rows, positions, tags]``; ``unseen_words`` is the share without answer.

        A word that no model sees counts as one with the tag ``O``, which is what the deployed
        program makes of it; where there is no such tag, as wrong.
        """
        split = _encoded(rows)
        found = _scored(split.answers(outputs, _unseen(plan)), split, plan)
        unseen = float(1 - split.seen.mean())
        return Scored(
            {**found.metrics, tag_metrics.UNSEEN_WORDS: unseen}, found.samples, found.resampling
        )

    def constant_metric(self, metric: str, rows: EncodedSplit, plan: Plan) -> float:
        """Returns a metric of one tag for every word: ``O``, or the most frequent one."""
        split = _encoded(rows)
        tags = {int(np.bincount(split.gold).argmax())}
        if OUTSIDE in plan.labels:
            tags.add(plan.labels.index(OUTSIDE))
        return max(
            _scored(np.full(len(split.gold), tag), split, plan).metrics[metric] for tag in tags
        )

    def same_answers(
        self, outputs: NDArray[Any], reference: NDArray[Any], rows: EncodedSplit, plan: Plan
    ) -> float:
        """Returns the share of words with the same tag."""
        split = _encoded(rows)
        answers = (split.answers(each, _unseen(plan)) for each in (outputs, reference))
        return float(np.equal(*answers).mean())


def _encoded(rows: EncodedSplit) -> EncodedTags:
    if not isinstance(rows, EncodedTags):
        raise TypeError(f"tags are scored on EncodedTags, not {type(rows)}")
    return rows


def _words(rows: TextRows) -> Sequence[Sequence[str]]:
    """Returns the words of rows whose text column holds lists."""
    (column,) = rows.texts
    return cast(Any, column)


def _places(names: Sequence[str]) -> Mapping[str | int, int]:
    """Returns the output that stands for a tag, by its name and by the number it has in the data.

    Tags without names are called by their numbers, of which some may be missing.
    """
    named: dict[str | int, int] = {name: place for place, name in enumerate(names)}
    numbers = map(int, names) if all(map(str.isdecimal, names)) else range(len(names))
    return {**named, **{number: place for place, number in enumerate(numbers)}}


def _unseen(plan: Plan) -> int:
    """Returns the place of the tag that words without an answer get."""
    return plan.labels.index(OUTSIDE) if OUTSIDE in plan.labels else tag_metrics.NOTHING


def _scored(answers: NDArray[Any], split: EncodedTags, plan: Plan) -> Scored:
    terms = tag_metrics.sentence_terms(
        split.by_row(answers), split.by_row(split.gold), entity_tags(plan.labels)
    )
    total = tag_metrics.scores(terms.sum(axis=0, keepdims=True))
    metrics = {name: float(values[0]) for name, values in total.items()}

    def resampling(name: str) -> Resampling:
        return Sums(terms, lambda sums: tag_metrics.scores(sums)[name])

    return Scored(metrics, len(split), resampling)
