"""Is a document plain JSON? YAML can hold more: dates, sets, cycles, keys that are no text.

What comes out is safe to walk and to show: a tree of bounded size, without nulls in mappings
(an empty ``training:`` is the same as none).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

MAX_DEPTH = 32
MAX_NODES = 20_000
"""A document of more is no experiment: YAML's references let a few lines grow to millions."""
_SHOWN = 60

Path = tuple[str | int, ...]
"""Where in a document: names of fields and positions in lists."""


def dotted(path: Path) -> str:
    """Returns a path as a user writes it, such as ``spec.benchmark.batchSizes[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text or "document"


def shown(value: Any) -> str:
    """Returns a value as a message quotes it: on one line, bounded, printable."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"
    if isinstance(value, str):
        cut = value[:_SHOWN] + ("…" if len(value) > _SHOWN else "")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in repr(cut))
    return repr(value)[:_SHOWN]


class _TooLargeError(Exception):
    pass


@dataclass
class _Plainer:
    problems: dict[Path, str] = field(default_factory=dict)
    nodes: int = 0
    above: list[int] = field(default_factory=list)

    def plain(self, value: Any, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooLargeError
        if isinstance(value, str | bool | int | float) or value is None:
            return value
        if not isinstance(value, Mapping | list):
            return self._refuse(path, f"found {_kind(value)}; put it in quotes, if it is text")
        if id(value) in self.above:
            return self._refuse(path, "found a reference to something that it is part of")
        if len(path) >= MAX_DEPTH:
            return self._refuse(path, f"found more than {MAX_DEPTH} levels of nesting")
        self.above.append(id(value))
        try:
            if isinstance(value, list):
                return [self.plain(item, (*path, index)) for index, item in enumerate(value)]
            return self._mapping(value, path)
        finally:
            self.above.pop()

    def _mapping(self, value: Mapping[Any, Any], path: Path) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                name = shown(key)
                self._refuse((*path, name), f"the name is {_kind(key)}; put it in quotes")
            elif item is not None:
                kept[key] = self.plain(item, (*path, key))
        return kept

    def _refuse(self, path: Path, message: str) -> None:
        self.problems.setdefault(path, message)


def plain_document(document: object) -> tuple[dict[str, Any], dict[Path, str]]:
    """Returns a copy of plain mappings, lists and scalars, and what could not become one."""
    plainer = _Plainer()
    try:
        copy = plainer.plain(document, ())
    except _TooLargeError:
        return {}, {(): f"found more than {MAX_NODES} values; that is no experiment"}
    if not isinstance(copy, dict):
        return {}, {(): f"found {shown(document)}; expected a mapping with spec"}
    return copy, plainer.problems


def _kind(value: object) -> str:
    """Returns what YAML made of something that is no JSON."""
    if isinstance(value, bool):
        return f"{shown(value)} (YAML reads on, off, yes and no so)"
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if value is None:
        return "empty"
    names = {int: "a number", float: "a number", bytes: "binary data", set: "a set"}
    return names.get(type(value), f"a {type(value).__name__}")
