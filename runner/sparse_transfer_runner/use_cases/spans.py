"""The best answer to each question, searched over all spans of all its windows at once.

The search is exact: for each end the best start that is near enough is known, for all windows at
once, so that no list of the n best is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.records import AnswerRule

from .question_inputs import EncodedQuestions

_WINDOWS_AT_ONCE = 2048
"""Bounds the memory of the search."""


@dataclass(frozen=True)
class Spans:
    """The best span of each window.

    Args:
        scores: float32 ``[windows]``: start's logit + end's; -inf where there is none.
        firsts: int64 ``[windows]``: the first token.
        lasts: int64 ``[windows]``: the last one.
    """

    scores: NDArray[np.float32]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]


def best_spans(outputs: NDArray[np.float32], contexts: NDArray[np.int64], max_tokens: int) -> Spans:
    """Returns the span with the highest score in each window.

    Args:
        outputs: Logits of start and end, ``[windows, tokens, 2]``.
        contexts: The first token of each window's context, and that behind its last.
        max_tokens: Of a span.
    """
    parts = [
        _best(outputs[at : at + _WINDOWS_AT_ONCE], contexts[at : at + _WINDOWS_AT_ONCE], max_tokens)
        for at in range(0, len(outputs), _WINDOWS_AT_ONCE)
    ]
    return Spans(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.firsts for part in parts]),
        np.concatenate([part.lasts for part in parts]),
    )


def _best(outputs: NDArray[np.float32], contexts: NDArray[np.int64], max_tokens: int) -> Spans:
    windows, tokens = outputs.shape[:2]
    rows, places = np.arange(windows), np.arange(tokens)
    inside = (places >= contexts[:, :1]) & (places < contexts[:, 1:])
    starts = np.where(inside, outputs[..., 0], -np.inf).astype(np.float32)
    ends = np.where(inside, outputs[..., 1], -np.inf).astype(np.float32)
    scores = _highest_before(starts, min(max_tokens, tokens)) + ends
    lasts = scores.argmax(axis=1)
    near = (places <= lasts[:, None]) & (places > lasts[:, None] - max_tokens)
    firsts = np.where(near, starts, -np.inf).argmax(axis=1)
    return Spans(scores[rows, lasts], firsts, lasts)


def _highest_before(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Returns the highest of so many values up to each place of a row, itself counted."""
    highest, covered = values.copy(), 1
    while covered < width:
        step = min(covered, width - covered)
        highest[:, step:] = np.maximum(highest[:, step:], highest[:, :-step])
        covered += step
    return highest


def answers(outputs: NDArray[np.float32], rows: EncodedQuestions, rule: AnswerRule) -> list[str]:
    """Returns the answer to each question; an empty text where there is none.

    Of several windows the best span counts, and the lowest score of there being none: one window
    that is sure of its answer is enough (Rajpurkar et al., 2018; Devlin et al., 2018).

    Args:
        outputs: Logits of start and end, ``[windows, tokens, 2]``.
        rows: The windows.
        rule: What an answer may be.
    """
    spans = best_spans(outputs, rows.contexts, rule.max_tokens)
    firsts = np.flatnonzero(np.diff(rows.units, prepend=-1))
    none = np.minimum.reduceat(outputs[:, 0].sum(axis=1), firsts)
    # Windows by question, that with the best span first.
    order = np.lexsort((-spans.scores, rows.units))
    found = []
    for window, without in zip(order[firsts], none, strict=True):
        score = spans.scores[window]
        if np.isneginf(score) or (rule.may_be_none and without > score):
            found.append("")
        else:
            found.append(rows.answer(window, spans.firsts[window], spans.lasts[window]))
    return found
