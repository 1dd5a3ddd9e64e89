"""Words of a text, and entities in their tags: what a deployed tagger needs around its model.

Shipped as it stands with models that tag, so it needs no library beside Python's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from unicodedata import category

OUTSIDE = "O"

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, which are written without spaces: each character is a word."""

_PART = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")

KEPT_BEFORE = "@#"
"""Names and topics begin with them."""

_INITIALS = re.compile(r"(?:[^\W\d_]\.){2,}")
"""Letters with stops, such as U.S., of which the last stop is a part."""

_POSSESSIVE = re.compile(r"['\u2019][sS]")

_REFERENCE = re.compile(r"&(?:[A-Za-z]\w*|#\d+);", re.ASCII)
"""A character as HTML writes it, such as &lt; which tagged messages have for one word."""

_WHOLE = (_INITIALS, _POSSESSIVE, _REFERENCE)


def words(text: str, before: str = KEPT_BEFORE, after: str = "") -> list[tuple[int, int]]:
    """Returns where each word of a text begins and ends, in characters.

    Words are what tagged data has for words. Spaces end them. Punctuation and symbols around a
    word are words of their own, those of one kind in a row one together; within a word, as in a
    date or an address, and where there is nothing else, as in a smiley, they belong to it. An
    apostrophe with an s is a word of its own, so that no name has it, and so are characters that
    are written without spaces.

    Args:
        text: Any.
        before: Marks that a word may begin with: the last one before it is a part of it.
        after: Marks that a word may end with: likewise the first one after it.
    """
    found: list[tuple[int, int]] = []
    for part in _PART.finditer(text):
        found += _within(text, *part.span(), before, after)
    return found


def text_and_words(
    given: str, before: str = KEPT_BEFORE, after: str = ""
) -> tuple[str, list[tuple[int, int]]]:
    """Returns a text, and where each of its words begins and ends, in characters.

    Args:
        given: A text; or the words of one, as a JSON list of strings, which are joined by spaces.
        before: See ``words``.
        after: Likewise.
    """
    try:
        parts = json.loads(given) if given.startswith("[") else None
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return given, words(given, before, after)
    ends = list(accumulate(len(part) + 1 for part in parts))
    return " ".join(parts), [
        (end - 1 - len(part), end - 1) for part, end in zip(parts, ends, strict=True)
    ]


def _within(text: str, start: int, end: int, before: str, after: str) -> list[tuple[int, int]]:
    """Returns the words between two places that have no space between them."""
    first, last = start, end
    while first < end and is_mark(text[first]):
        first += 1
    if first == end or any(each.fullmatch(text, start, end) for each in _WHOLE):
        return [(start, end)]
    while is_mark(text[last - 1]):
        last -= 1
    if first > start and text[first - 1] in before:
        first -= 1
    if initials := _INITIALS.fullmatch(text, first, min(last + 1, end)):
        last = initials.end()
    elif last < end and text[last] in after:
        last += 1
    ends = [first, last]
    if last - first > 2 and _POSSESSIVE.fullmatch(text, last - 2, last):
        ends.insert(1, last - 2)
    return [*_runs(text, start, first), *pairwise(ends), *_runs(text, last, end)]


def _runs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Returns where the same character goes on."""
    ends = [place for place in range(start + 1, end) if text[place] != text[place - 1]]
    return list(pairwise([start, *ends, end])) if end > start else []


def is_mark(character: str) -> bool:
    """Whether a character is punctuation or a symbol."""
    return category(character)[0] in "PS"


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns type, first and last word of each entity.

    Read leniently, as ``conlleval`` and seqeval's default mode read them: an entity ends where the
    next word does not go on with it, and a word that is inside or at the end of something begins an
    entity where there is none to go on with.

    Args:
        tags: Of consecutive words: ``O``, or ``B-``, ``I-``, ``E-`` or ``S-`` and a type.
    """
    found: list[tuple[str, int, int]] = []
    going_on = False
    for place, tag in enumerate(tags):
        if tag == OUTSIDE:
            going_on = False
            continue
        prefix, _, kind = tag.partition("-")
        if going_on and prefix in ("I", "E") and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1], place)
        else:
            found.append((kind, place, place))
        going_on = prefix in ("B", "I")
    return found
