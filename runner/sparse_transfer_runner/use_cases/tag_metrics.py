"""Metrics of tagged words: precision, recall and F1 of entities as seqeval has them, and accuracy.

F1 is micro-averaged over entities, which are right where their type and both ends are (Tjong Kim
Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003). Which words make up an
entity is ``data.tags``'s to say; where every word counts by itself, F1 is their accuracy.

All are functions of sums over sentences, so a bootstrap over sentences needs only the terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tagging import entities

NAMES = ("f1", "precision", "recall", "accuracy")
"""The primary metric first."""

UNSEEN_WORDS = "unseen_words"
"""The share of words that no model answers for; reported, and nothing to choose by."""

NOTHING = -1
"""The place of a tag that no model gave: of a word it did not see where there is no ``O``."""


def sentence_terms(
    predicted: Sequence[NDArray[Any]], gold: Sequence[NDArray[Any]], read_as: Sequence[str]
) -> NDArray[np.float64]:
    """Returns each sentence's terms, ``[sentences, 5]``.

    Entities that are found, said and true; words that are right, and all words.

    Args:
        predicted: Of each sentence the place of each word's tag, or ``NOTHING``.
        gold: The same for the true tags.
        read_as: Of each tag what ``data.tags.entity_tags`` says.
    """
    # A word without an answer breaks what it stands in, and says nothing.
    tags = [*read_as, "O"]
    terms = np.zeros((len(gold), 5))
    for row, (said, true) in enumerate(zip(predicted, gold, strict=True)):
        found, wanted = (set(entities([tags[place] for place in each])) for each in (said, true))
        terms[row] = (
            *(len(found & wanted), len(found), len(wanted)),
            *(np.count_nonzero(said == true), len(true)),
        )
    return terms


def scores(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Returns every metric by name, ``[resamples]``, from sums of terms, ``[resamples, 5]``.

    What is undefined, nothing being said or nothing true, is 0, as seqeval has it.
    """
    correct, said, true, right, words = np.asarray(sums, dtype=np.float64).T
    return {
        "f1": _ratio(2 * correct, said + true),
        "precision": _ratio(correct, said),
        "recall": _ratio(correct, true),
        "accuracy": _ratio(right, words),
    }


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    # What is divided by 0 here is 0 itself.
    result: NDArray[np.float64] = part / np.maximum(whole, 1)
    return result
