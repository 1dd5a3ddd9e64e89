"""Reading bodies of the API server: what is missing or of the wrong kind is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

Body = Mapping[str, Any]


def mapping(parent: Body, name: str) -> Body:
    """Returns a mapping in a mapping, empty where there is none."""
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def mappings(parent: Body, name: str) -> Iterator[Body]:
    """Yields the mappings of a list in a mapping."""
    value = parent.get(name)
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, Mapping))


def text(parent: Body, name: str) -> str:
    """Returns a text in a mapping, empty where there is none."""
    value = parent.get(name)
    return value if isinstance(value, str) else ""


def shared(parent: Body, name: str) -> str:
    """Returns a text in a mapping that many objects have: there is one copy of it in memory."""
    return sys.intern(text(parent, name))


def count(parent: Body, name: str) -> int:
    """Returns a count in a mapping, 0 where there is none."""
    value = parent.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def number(parent: Body, name: str) -> float | None:
    """Returns a number in a mapping."""
    value = parent.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def time(parent: Body, name: str) -> datetime | None:
    """Returns a time in a mapping, in UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text(parent, name))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
