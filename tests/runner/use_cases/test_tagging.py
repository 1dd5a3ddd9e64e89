"""Words of a text, as a deployed tagger takes them apart."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.data.word_marks import MarkCount
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
    "a &lt; b &#39;": ["a", "&lt;", "b", "&#39;"],
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


MARKS = {
    "a price is a word": (["$5", "'re", "."], "#$@", "", '"$7.50".', ['"', "$7.50", '"', "."]),
    "a sign is a word": (["$", "5", "."], "#@", "", "$7.50", ["$", "7.50"]),
    "names are cut": (["@", "ada", "#", "x"], "", "", "@bob #y", ["@", "bob", "#", "y"]),
    "names mostly are not": (["@ada", "#x", "@"], "#@", "", "@bob #y", ["@bob", "#y"]),
    "shares are words": (["5%", "%", "6%", ","], "#@", "%", "(7%),", ["(", "7%", ")", ","]),
    "stops are words of their own": (["Inc.", "."], "#@", "", "Ltd.", ["Ltd", "."]),
    "marks among themselves": (["...", ":)", "?!"], "#@", "", "well...", ["well", "..."]),
    "of several marks the innermost": (["5)%", "C++"], "#@", "", "7%", ["7", "%"]),
    "apostrophes say nothing": (["'n", "n'"], "#@", "", "'a'", ["'", "a", "'"]),
}


@pytest.mark.parametrize(("data", "before", "after", "text", "expected"), MARKS.values(), ids=MARKS)
def test_marks_belong_to_words_where_they_do_in_the_data(
    data: list[str], before: str, after: str, text: str, expected: list[str]
) -> None:
    count = MarkCount()
    count.add(data)
    marks = count.found()

    assert (marks.before, marks.after) == (before, after)
    found = words(text, marks.before, marks.after)
    assert [text[start:end] for start, end in found] == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)))
def test_any_words_can_be_counted(data: list[str]) -> None:
    count = MarkCount()
    count.add(data)
    marks = count.found()
    text = " ".join(data)

    found = words(text, marks.before, marks.after)

    assert "".join(text[start:end] for start, end in found) == "".join(text.split())


@pytest.mark.parametrize("parts", [[], ["a"], ["U.S.,", "", "a b", "\u6771\u4eac"]])
def test_words_that_are_given_are_left_as_they_are(parts: list[str]) -> None:
    text, spans = text_and_words(json.dumps(parts))

    assert text == " ".join(parts)
    assert [text[start:end] for start, end in spans] == parts


@pytest.mark.parametrize("text", ["[sic] a", "[1, 2]", '["a"', '"a"', '{"a": 1}'])
def test_what_is_no_list_of_strings_is_a_text(text: str) -> None:
    assert text_and_words(text) == (text, words(text))
