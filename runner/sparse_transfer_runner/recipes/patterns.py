"""SparseML's way to name parameters: exact names, ``re:`` expressions, and two tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable

ALL = "__ALL__"
ALL_PRUNABLE = "__ALL_PRUNABLE__"
_TOKENS = frozenset({ALL, ALL_PRUNABLE})
_REGEX = "re:"


def check_pattern(pattern: str) -> str:
    """Returns the pattern, if it is one.

    Raises:
        ValueError: It is empty, or its regular expression does not compile.
    """
    if not pattern:
        raise ValueError("an empty name matches nothing")
    if pattern.startswith(_REGEX):
        try:
            re.compile(pattern.removeprefix(_REGEX))
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether any pattern names the parameter (or module).

    A ``re:`` expression is matched from the start of the name, as SparseML does. Both tokens match
    every name: for ``__ALL_PRUNABLE__`` the caller asks about prunable weights only.

    Args:
        patterns: Exact names, ``re:`` expressions, ``__ALL__`` or ``__ALL_PRUNABLE__``.
        name: Full name, such as ``bert.encoder.layer.0.output.dense.weight``.
    """
    return any(_matches(pattern, name) for pattern in patterns)


def unmatched(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Returns the patterns that name none of ``names``: most likely mistakes."""
    listed = list(names)
    return tuple(p for p in patterns if not any(_matches(p, name) for name in listed))


def _matches(pattern: str, name: str) -> bool:
    if pattern in _TOKENS:
        return True
    if pattern.startswith(_REGEX):
        return re.match(pattern.removeprefix(_REGEX), name) is not None
    return pattern == name
