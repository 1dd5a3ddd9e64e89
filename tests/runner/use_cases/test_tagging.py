"""Words of a text, as a deployed tagger takes them apart."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.use_cases.tagging import words

TEXTS = {
    "It's 9.5 km": ["It", "'", "s", "9", ".", "5", "km"],
    "  @ada\tLovelace!\n": ["@", "ada", "Lovelace", "!"],
    "naïve cafe\u0301 हिन्दी": ["naïve", "cafe\u0301", "हिन्दी"],
    "東京 is かな": ["東", "京", "is", "か", "な"],
    "🙂good": ["🙂", "good"],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_spaces_end_a_word_and_punctuation_is_one_of_its_own(
    text: str, expected: list[str]
) -> None:
    assert [text[start:end] for start, end in words(text)] == expected


@given(text=st.text(max_size=30))
def test_words_lie_in_order_and_leave_nothing_out_but_spaces(text: str) -> None:
    found = words(text)

    assert all(first[1] <= second[0] for first, second in pairwise(found))
    assert "".join(text[start:end] for start, end in found) == "".join(text.split())
