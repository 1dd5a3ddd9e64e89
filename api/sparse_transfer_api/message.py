"""Messages as long as the status takes them."""

from __future__ import annotations

MAX_MESSAGE = 1024
"""Characters, as the status's schema allows: so what is read back equals what was written."""


def bounded(text: str) -> str:
    """Returns a message of at most ``MAX_MESSAGE`` characters, its end cut."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
