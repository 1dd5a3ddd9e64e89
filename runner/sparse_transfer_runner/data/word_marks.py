"""Which punctuation and symbols belong to the words of tagged data: ``$5`` is one word, or two.

Data differ in it, and a text that a deployed tagger gets has to be taken apart as its data was. A
mark belongs to the words beside it where the data has more words with it than marks by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sparse_transfer_api.records import WordMarks
from sparse_transfer_runner.use_cases.tagging import KEPT_BEFORE, is_mark, words

_APOSTROPHES = "'\u2019"
"""They say nothing: data that cuts contractions has words such as 're, which are no beginnings."""


class MarkCount:
    """Counts marks at the beginnings and ends of words, and by themselves."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()

    def add(self, tokens: Iterable[str]) -> None:
        """Notes words, none of them empty."""
        for token in tokens:
            if not (token[0].isalnum() and token[-1].isalnum()):
                self._look_at(token)

    def found(self) -> WordMarks:
        """Returns the marks that belong to words."""
        return WordMarks(
            before=self._belonging(self._before, KEPT_BEFORE), after=self._belonging(self._after)
        )

    def _look_at(self, token: str) -> None:
        first, last = token[0], token[-1]
        if token == first * len(token):
            self._alone[first] += is_mark(first)
        # Of several marks, none but the innermost could be kept.
        elif len(words(token, before="")) > 1:
            self._before[first] += is_mark(first) and not is_mark(token[1])
            self._after[last] += is_mark(last) and not is_mark(token[-2])

    def _belonging(self, counted: Counter[str], usual: str = "") -> str:
        marks = {mark for mark, count in counted.items() if count > self._alone[mark]}
        marks |= {mark for mark in usual if counted[mark] == self._alone[mark]}
        return "".join(sorted(marks.difference(_APOSTROPHES)))
