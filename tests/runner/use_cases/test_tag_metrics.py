"""Metrics of tags are seqeval's, whole and from sums over sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from sparse_transfer_runner.data.tags import entity_tags
from sparse_transfer_runner.use_cases.tag_metrics import NOTHING, scores, sentence_terms
from sparse_transfer_runner.use_cases.tagging import entities

NAMES = ["B-x", "B-y", "E-x", "E-y", "I-x", "I-y", "O", "S-x", "S-y"]
ROUNDING = 1e-14
"""seqeval takes F1 from precision and recall, which costs the last digit."""

sentences = st.lists(
    st.lists(st.tuples(*[st.integers(0, len(NAMES) - 1)] * 2), min_size=1, max_size=8),
    min_size=1,
    max_size=6,
)


def measured(
    said: Sequence[Sequence[int]], true: Sequence[Sequence[int]], names: list[str]
) -> dict[str, float]:
    arrays = [[np.asarray(row) for row in side] for side in (said, true)]
    terms = sentence_terms(*arrays, entity_tags(names))
    found = scores(terms.sum(axis=0, keepdims=True))
    return {name: float(values[0]) for name, values in found.items()}


@given(rows=sentences)
def test_sums_over_sentences_give_seqevals_figures(
    rows: list[list[tuple[int, int]]],
) -> None:
    said, true = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    tags_said, tags_true = ([[NAMES[tag] for tag in row] for row in side] for side in (said, true))

    assert measured(said, true, NAMES) == pytest.approx(
        {
            "f1": f1_score(tags_true, tags_said, zero_division=0),
            "precision": precision_score(tags_true, tags_said, zero_division=0),
            "recall": recall_score(tags_true, tags_said, zero_division=0),
            "accuracy": accuracy_score(tags_true, tags_said),
        },
        rel=ROUNDING,
    )


@given(rows=sentences, seed=st.integers(0, 99))
def test_a_resample_is_scored_as_if_it_were_the_data(
    rows: list[list[tuple[int, int]]], seed: int
) -> None:
    said, true = ([np.array([pair[side] for pair in row]) for row in rows] for side in (0, 1))
    drawn = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    counts = np.bincount(drawn, minlength=len(rows)).astype(float)

    resampled = scores(counts[None] @ sentence_terms(said, true, entity_tags(NAMES)))
    tags_said, tags_true = (
        [[NAMES[tag] for tag in side[row]] for row in drawn] for side in (said, true)
    )

    expected = f1_score(tags_true, tags_said, zero_division=0)
    assert float(resampled["f1"][0]) == pytest.approx(expected, rel=ROUNDING)


@given(tags=st.lists(st.sampled_from(NAMES), max_size=10))
def test_the_deployed_programs_find_the_entities_that_seqeval_finds(tags: list[str]) -> None:
    assert entities(tags) == get_entities(tags)


CASES = {
    "nothing said": ([[2, 2, 2]], [[0, 1, 2]], ["B-x", "I-x", "O"], (0, 0, 0, 1 / 3)),
    "a wrong end": ([[0, 2, 2]], [[0, 1, 2]], ["B-x", "I-x", "O"], (0, 0, 0, 2 / 3)),
    "one of two": ([[0, 2, 2]], [[0, 2, 0]], ["B-x", "I-x", "O"], (2 / 3, 1, 1 / 2, 2 / 3)),
    "runs": ([[1, 1, 0, 1]], [[1, 1, 0, 0]], ["O", "x"], (2 / 3, 1 / 2, 1, 3 / 4)),
    "words": ([[0, 1, 1, 0]], [[0, 1, 0, 0]], ["NOUN", "VERB"], (3 / 4,) * 4),
    "words without an answer": (
        [[0, NOTHING, 1, NOTHING]],
        [[0, 1, 1, 0]],
        ["NOUN", "VERB"],
        (2 / 3, 1, 1 / 2, 1 / 2),
    ),
}


@pytest.mark.parametrize(("said", "true", "names", "expected"), CASES.values(), ids=CASES)
def test_f1_is_of_entities_and_accuracy_of_words(
    said: list[list[int]], true: list[list[int]], names: list[str], expected: tuple[float, ...]
) -> None:
    assert tuple(measured(said, true, names).values()) == pytest.approx(expected)
