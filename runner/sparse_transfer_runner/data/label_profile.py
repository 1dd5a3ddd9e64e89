"""What occurs in the label column of the train split: counts, first lines, distinct values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sparse_transfer_runner.data.findings import MAX_SHOWN_OF_A_KIND
from sparse_transfer_runner.data.labels import Kind, kind_of

MAX_VALUES = 10_000
"""Distinct values that are kept of each kind, and one block's more: memory stays bounded."""

_PLAIN: Mapping[type, Kind] = {bool: "boolean", int: "integer", str: "text"}
"""Types whose values are all of one kind, but for blank text."""


class LabelProfile:
    """What was seen so far; give it the whole column by ``add``."""

    def __init__(self) -> None:
        self.counts: defaultdict[Kind, int] = defaultdict(int)
        """Rows of each kind."""
        self.examples: defaultdict[Kind, list[tuple[int, Any]]] = defaultdict(list)
        """The first rows of each kind, with their lines."""
        self.values: defaultdict[Kind, set[Any]] = defaultdict(set)
        """Distinct values of each kind; of lists, of their elements."""
        self.odd_lists: list[tuple[int, Any]] = []
        """The first lists whose elements are not all of the first element's kind."""
        self.odd_list_count = 0
        self._element: Kind | None = None

    def add(self, values: Sequence[Any], lines: Sequence[int]) -> None:
        """Takes note of consecutive rows' labels."""
        kind = self._one_plain_kind(values)
        if kind:
            self._note(kind, values, lines)
            return
        rows: defaultdict[Kind, list[tuple[int, Any]]] = defaultdict(list)
        for line, value in zip(lines, values, strict=True):
            rows[kind_of(value)].append((line, value))
        for found, pairs in rows.items():
            self._note(found, [value for _, value in pairs], [line for line, _ in pairs])

    def _one_plain_kind(self, values: Sequence[Any]) -> Kind | None:
        types = set(map(type, values))
        kind = _PLAIN.get(types.pop()) if len(types) == 1 else None
        if kind == "text":
            # Blank text is null, and so never among the values already seen.
            new = set(values) - self.values["text"]
            return kind if all(map(str.strip, new)) else None
        return kind

    def _note(self, kind: Kind, values: Sequence[Any], lines: Sequence[int]) -> None:
        self.counts[kind] += len(values)
        missing = MAX_SHOWN_OF_A_KIND - len(self.examples[kind])
        if missing > 0:
            self.examples[kind] += islice(zip(lines, values, strict=True), missing)
        if kind == "list":
            self._note_lists(values, lines)
        elif kind not in ("null", "object"):
            self._keep(kind, values)

    def _note_lists(self, values: Sequence[list[Any]], lines: Sequence[int]) -> None:
        for line, value in zip(lines, values, strict=True):
            kinds = set(map(kind_of, value))
            if not self._element and kinds in ({"integer"}, {"text"}):
                (self._element,) = kinds
            if kinds <= {self._element}:
                self._keep("list", value)
            else:
                self.odd_list_count += 1
                if len(self.odd_lists) < MAX_SHOWN_OF_A_KIND:
                    self.odd_lists.append((line, value))

    def _keep(self, kind: Kind, values: Iterable[Any]) -> None:
        if len(self.values[kind]) <= MAX_VALUES:
            self.values[kind].update(values)
