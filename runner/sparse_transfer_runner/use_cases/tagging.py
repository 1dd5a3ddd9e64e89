"""Words of a text, and entities in their tags: what a deployed tagger needs around its model.

Shipped as it stands with models that tag, so it needs no library beside Python's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category

OUTSIDE = "O"

_UNSPACED = (("\u3040", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"))
"""Kana and Han, which are written without spaces: each character is a word."""


def words(text: str) -> list[tuple[int, int]]:
    """Returns where each word of a text begins and ends, in characters.

    Spaces end a word; punctuation, symbols, and characters that are written without spaces are
    words of their own, as BERT's tokenizer has it.
    """
    found: list[tuple[int, int]] = []
    going_on = False
    for place, character in enumerate(text):
        alone = category(character)[0] in "PS" or any(
            first <= character <= last for first, last in _UNSPACED
        )
        if character.isspace():
            going_on = False
        elif going_on and not alone:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
            going_on = not alone
    return found


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
