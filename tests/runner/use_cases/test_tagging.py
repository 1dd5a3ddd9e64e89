"""Words of a text, as a deployed tagger takes them apart."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.use_cases.tagging import text_and_words, words

TEXTS = {
    "It's 9.5 km": ["It", "'s", "9.5", "km"],
    "  @ada\tLovelace!\n": ["@ada", "Lovelace", "!"],
    "\"Ada's\" don't... :)": ['"', "Ada", "'s", '"', "don't", "...", ":)"],
    "in the U.S. (or U.K.), J. Smith.": [
        *("in", "the", "U.S.", "(", "or", "U.K.", ")", ","),
        *("J", ".", "Smith", "."),
    ],
    "$5 (#5): http://x.org/a_b?c=d.": ["$", "5", "(", "#5", ")", ":", "http://x.org/a_b?c=d", "."],
    "naïve cafe\u0301 हिन्दी": ["naïve", "cafe\u0301", "हिन्दी"],
    "東京 is かな": ["東", "京", "is", "か", "な"],
    "🙂good": ["🙂", "good"],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_spaces_end_a_word_and_punctuation_around_it_is_one_of_its_own(
    text: str, expected: list[str]
) -> None:
    assert [text[start:end] for start, end in words(text)] == expected


@given(text=st.text(max_size=30))
def test_words_lie_in_order_and_leave_nothing_out_but_spaces(text: str) -> None:
    found = words(text)

    assert all(first[1] <= second[0] for first, second in pairwise(found))
    assert "".join(text[start:end] for start, end in found) == "".join(text.split())


@pytest.mark.parametrize("parts", [[], ["a"], ["U.S.,", "", "a b", "\u6771\u4eac"]])
def test_words_that_are_given_are_left_as_they_are(parts: list[str]) -> None:
    text, spans = text_and_words(json.dumps(parts))

    assert text == " ".join(parts)
    assert [text[start:end] for start, end in spans] == parts


@pytest.mark.parametrize("text", ["[sic] a", "[1, 2]", '["a"', '"a"', '{"a": 1}'])
def test_what_is_no_list_of_strings_is_a_text(text: str) -> None:
    assert text_and_words(text) == (text, words(text))
