"""Exact match and F1 of answers, as SQuAD's official evaluation computes them.

Written here: the ready-made ones either download their code when they are called, or give a mean
without the scores of single questions, which the bootstrap draws from.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sparse_transfer_runner.data.squad import Question

from .scores import Scored, Sums

NAMES = ("f1", "exact_match")
"""The primary metric first."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CANDIDATES = 5
"""Frequent answers that are tried as the one that ignores the question."""


def normalized(text: str) -> str:
    """Returns a text in lower case without punctuation, articles and superfluous white space."""
    plain = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(answer: str, right: str) -> float:
    """Returns 1 where two normalized answers are the same, else 0."""
    return float(answer == right)


def f1(answer: str, right: str) -> float:
    """Returns the harmonic mean of precision and recall of words, of two normalized answers.

    Where one of them is no answer, it is 1 if both are.
    """
    said, true = answer.split(), right.split()
    if not said or not true:
        return float(said == true)
    same = sum((Counter(said) & Counter(true)).values())
    return 2 * same / (len(said) + len(true))


def right_answers(question: Question) -> list[str]:
    """Returns the normalized right answers; an empty one alone where there is none."""
    found = [normalized(answer.text) for answer in question.answers]
    return [text for text in found if text] or [""]


def scored(texts: Sequence[str], questions: Sequence[Question]) -> Scored:
    """Scores answers; of several right ones that counts which is nearest.

    Args:
        texts: The answer to each question; empty for none.
        questions: With their right answers.
    """
    by_name = {"f1": f1, "exact_match": exact_match}
    plain = [normalized(text) for text in texts]
    right = [right_answers(question) for question in questions]

    def sums(name: str) -> Sums:
        values = [
            max(by_name[name](text, wanted) for wanted in all_wanted)
            for text, all_wanted in zip(plain, right, strict=True)
        ]
        terms = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
        return Sums(terms, lambda totals: totals[:, 0] / totals[:, 1])

    found = {name: sums(name) for name in NAMES}
    metrics = {name: each.value() for name, each in found.items()}
    return Scored(metrics, len(questions), found.__getitem__)


def constant_metric(questions: Sequence[Question], name: str, *, may_be_none: bool) -> float:
    """Returns the metric of the best answer that ignores its question.

    Args:
        questions: With their right answers.
        name: Of the metric.
        may_be_none: Whether giving no answer is a choice.
    """
    counts = Counter(right_answers(question)[0] for question in questions)
    frequent = [text for text, _ in counts.most_common(_CANDIDATES + 1) if text][:_CANDIDATES]
    candidates = [*frequent, *([""] if may_be_none else [])]
    return max(
        (scored([text] * len(questions), questions).metrics[name] for text in candidates),
        default=0.0,
    )
