r"""Halves of characters beyond U+FFFF, as a broken JSON escape such as ``\ud83d`` leaves them.

Python's strings hold them; UTF-8 has no bytes for them, and tokenizers refuse them.
"""

from __future__ import annotations


def half_character(text: str) -> str | None:
    """Returns the first half of a character that stands alone in a text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return None
