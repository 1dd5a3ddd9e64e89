"""What tags mean: which words make up an entity, read as seqeval reads it.

Three ways of tagging are told apart by the names of the tags alone:

- ``entities``: every tag is ``O`` or a prefix and a type, such as ``B-person``. IOB1, IOB2 (BIO),
  BIOES, BILOU and BMES are read alike: leniently, as ``conlleval`` did, so that an entity which
  begins with ``I-`` counts too. No choice of one scheme is needed, and none can be wrong.
- ``runs``: there is an ``O`` and no prefixes: neighbouring words of one tag are one entity.
- ``words``: neither, as parts of speech are tagged: every word counts by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

from sparse_transfer_runner.data.findings import shown

OUTSIDE = "O"
"""The tag of words that belong to nothing."""

_PREFIXED = re.compile(r"([BIESLUMW])(-.+)")
_AS_BIOES = {"L": "E", "U": "S", "M": "I", "W": "S"}
"""What BILOU (last, unit) and BMES and BMEWO (middle, whole) say in BIOES, which seqeval knows."""

_LIKE_PREFIXED = re.compile(r"([bi])(?:[-_:./](.+))?", re.IGNORECASE)


class Tagging(StrEnum):
    """How tags make up entities."""

    ENTITIES = "entities"
    RUNS = "runs"
    WORDS = "words"


def tagging_of(names: Sequence[str]) -> Tagging:
    """Returns how tags with these names are read."""
    inside = [name for name in names if name != OUTSIDE]
    if inside and all(map(_PREFIXED.fullmatch, inside)):
        return Tagging.ENTITIES
    return Tagging.RUNS if OUTSIDE in names else Tagging.WORDS


def entity_tags(names: Sequence[str]) -> list[str]:
    """Returns for each tag the BIOES tag by which its entities are counted.

    Args:
        names: All tags, in the order of the model's outputs.
    """
    tagging = tagging_of(names)
    if tagging == Tagging.ENTITIES:
        return [OUTSIDE if name == OUTSIDE else _as_bioes(name) for name in names]
    prefix = "I" if tagging == Tagging.RUNS else "S"
    return [OUTSIDE if name == OUTSIDE else f"{prefix}-{name}" for name in names]


def split_tag(tag: str) -> tuple[str, str]:
    """Returns prefix and type of a tag; no prefix where it has none."""
    found = _PREFIXED.fullmatch(tag)
    return (found[1], found[2][1:]) if found else ("", tag)


def parts_counted_apart(names: Sequence[str]) -> str | None:
    """Returns why tags that look like beginnings and insides of entities are not read as such.

    One name without a prefix is enough, as a stray ``X`` or ``[CLS]`` is; and so is another way of
    writing prefixes, as ``B_person`` or ``b-person``.

    Args:
        names: All tags.

    Returns:
        What is in the way, or None where tags are read as entities or do not look like any.
    """
    if tagging_of(names) == Tagging.ENTITIES:
        return None
    prefixed = [name for name in names if split_tag(name)[0]]
    if prefixed and OUTSIDE in names:
        bare = next(name for name in names if name != OUTSIDE and not split_tag(name)[0])
        return f"{shown(bare)} has no prefix where {shown(prefixed[0])} has one"
    alike: dict[str | None, dict[str, str]] = {}
    for name in names:
        if found := _LIKE_PREFIXED.fullmatch(name):
            alike.setdefault(found[2], {})[found[1].upper()] = name
    both = next((each for each in alike.values() if len(each) > 1), None)
    return f"{shown(both['B'])} and {shown(both['I'])}" if both else None


def _as_bioes(name: str) -> str:
    prefix, kind = split_tag(name)
    return f"{_AS_BIOES.get(prefix, prefix)}-{kind}"


class Beginnings:
    """Whether entities that begin with ``I-`` are a habit (IOB1) or slips (in IOB2); give it all.

    IOB1 has ``B-`` only between neighbours of one type, IOB2 at every beginning. Where data has
    both, some of it was tagged in a way that its authors did not mean.

    Args:
        name: Returns the name of a tag as it is in the data.
    """

    def __init__(self, name: Callable[[Any], str]) -> None:
        self._name = name
        self._known: set[tuple[Any, Any]] = set()
        self._inside: set[tuple[Any, Any]] = set()
        self._needless = False
        self.first: tuple[int, str] | None = None
        """Line and tag of the first ``I-`` that begins an entity."""
        self.inside = 0
        """Entities that begin with ``I-``."""

    def add(self, tags: Sequence[Any], line: int) -> None:
        """Looks at one row's tags."""
        # What follows what is looked at once; a row costs no more than the set of its pairs.
        pairs = set(pairwise((None, *tags)))
        for pair in pairs - self._known:
            self._learn(pair)
        if not pairs.isdisjoint(self._inside):
            slips = [pair[1] for pair in pairwise((None, *tags)) if pair in self._inside]
            self.inside += len(slips)
            self.first = self.first or (line, self._name(slips[0]))

    def _learn(self, pair: tuple[Any, Any]) -> None:
        before = ("", "") if pair[0] is None else split_tag(self._name(pair[0]))
        prefix, kind = split_tag(self._name(pair[1]))
        follows = before[0] in ("B", "I") and before[1] == kind
        self._known.add(pair)
        if prefix == "I" and not follows:
            self._inside.add(pair)
        self._needless |= prefix == "B" and not follows

    @property
    def mixed(self) -> bool:
        """Whether both habits occur, so that those with ``I-`` are slips."""
        return self.inside > 0 and self._needless
