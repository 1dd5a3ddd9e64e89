"""Nearest valid values, for error messages that help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_CUTOFF = 0.6
"""Of difflib's similarity; below it a suggestion reads as a guess."""
_SHORTEST_BEGINNING = 3


def nearest(value: str, valid: Iterable[str]) -> str | None:
    """Returns the valid value most like ``value``, or None where nothing is alike.

    Case and the separators ``-``, ``_`` and space do not count. Where nothing is alike as a whole,
    the shortest valid value that begins with ``value`` will do.
    """
    plain = {without_separators(candidate): candidate for candidate in reversed(list(valid))}
    wanted = without_separators(value)
    found = difflib.get_close_matches(wanted, plain, n=1, cutoff=_CUTOFF)
    if not found and len(wanted) >= _SHORTEST_BEGINNING:
        found = sorted((name for name in plain if name.startswith(wanted)), key=len)[:1]
    return plain[found[0]] if found else None


def did_you_mean(value: str, valid: Iterable[str]) -> str:
    """Returns ``"; did you mean X?"``, or nothing where no valid value is alike."""
    found = nearest(value, valid)
    return f"; did you mean {found}?" if found is not None else ""


def listed(values: Iterable[object]) -> str:
    """Returns values as English text, such as ``"a, b or c"``."""
    names = [str(value) for value in values]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def without_separators(value: str) -> str:
    """Returns a name as it is compared: lower case, without ``-``, ``_`` and spaces."""
    return re.sub(r"[-_\s]", "", value.casefold())
