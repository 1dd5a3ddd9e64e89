"""Checking rows of words with tags, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_transfer_api.suggest import did_you_mean
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.half_characters import half_character
from sparse_transfer_runner.data.tags import Beginnings, split_tag
from sparse_transfer_runner.data.word_marks import MarkCount

MAX_TAGS = 10_000
"""Distinct tags that are kept, and one more; nothing is learned from more."""

_SHOWN_NAMES = 10
_PLAIN = ({int}, {str})


@dataclass
class Seen:
    """How often something occurred, and where first."""

    count: int = 0
    line: int | None = None

    def add(self, times: int, line: int) -> None:
        """Notes so many occurrences in a line."""
        self.count += times
        self.line = self.line or line


class TagCheck:
    """Checks one split; give it all rows by ``row``.

    Args:
        path: The split's file.
        findings: Receives what is wrong.
        stated: The names of integer tags, and the only ones, where a file states them.
        known: The tags of train; None while train itself is checked.
    """

    def __init__(
        self,
        path: Path,
        findings: Findings,
        stated: tuple[str, ...] | None,
        known: tuple[str, ...] | None,
    ) -> None:
        self._path = path
        self._findings = findings
        self._stated = stated
        names = stated or known
        self._names = frozenset(names) if names is not None else None
        self._listed = names or ()
        self._good: dict[Any, str] = {}
        self._prefixed: set[Any] = set()
        self.seen: set[str] = set()
        """Names of the tags that occurred."""
        self.kinds: dict[type, int] = {}
        """Whether tags were integers or text, with the line of the first."""
        self.blank = Seen()
        """Tokens without a visible character."""
        self.beginnings = Beginnings(self._name)
        self.marks = MarkCount()
        """What words begin and end with; counted in train alone."""
        self._counts_marks = known is None

    def row(self, tokens: Any, tags: Any, line: int) -> None:
        """Checks one row."""
        if not self._lists(tokens, tags, line):
            return
        self._check_tokens(tokens, line)
        if not self._all_good(tags):
            before = self._findings.total
            for place, tag in enumerate(tags, start=1):
                self._look_at(tag, place, line)
            if self._findings.total > before:
                return
        if not self._prefixed.isdisjoint(tags):
            self.beginnings.add(tags, line)

    def _all_good(self, tags: list[Any]) -> bool:
        """Whether all tags are known to be right, found with little work a tag."""
        try:
            known = self._good.keys() >= set(tags)
        except TypeError:
            return False
        # What equals text is text; what equals an integer may be a boolean or a fraction.
        return known and (int not in self.kinds or set(map(type, tags)) in _PLAIN)

    def _lists(self, tokens: Any, tags: Any, line: int) -> bool:
        for what, value in (("tokens", tokens), ("tags", tags)):
            if not isinstance(value, list):
                message = f"{what} {shown(value)}: no list; expected one entry for every word"
                self._findings.add(f"{what} are no list", self._path, message, line)
                return False
        if not tokens and not tags:
            message = "no tokens in this row; expected at least one"
            self._findings.add("empty row", self._path, message, line)
            return False
        if len(tokens) != len(tags):
            message = (
                f"{len(tokens)} tokens and {len(tags)} tags, starting {shown(tokens[:4])} and "
                f"{shown(tags[:4])}; expected as many tags as tokens"
            )
            self._findings.add("different length", self._path, message, line)
            return False
        return True

    def _check_tokens(self, tokens: list[Any], line: int) -> None:
        try:
            # The unbound method refuses what is no str, which saves looking at types.
            if (
                all(tokens)
                and not any(map(str.isspace, tokens))
                and half_character("".join(tokens)) is None
            ):
                if self._counts_marks:
                    self.marks.add(tokens)
                return
        except TypeError:
            pass  # the tokens are looked at one by one below
        for place, token in enumerate(tokens, start=1):
            if not isinstance(token, str):
                message = f"token {place} is {shown(token)}; expected a string"
                self._findings.add("token is no text", self._path, message, line)
                return
            if half := half_character(token):
                message = (
                    f"token {place} holds half a character ({shown(half)}); expected whole ones"
                )
                self._findings.add("half a character", self._path, message, line)
                return
        self.blank.add(sum(not token.strip() for token in tokens), line)

    def _look_at(self, tag: Any, place: int, line: int) -> None:
        """Finds out a tag's name, or what is wrong with it."""
        kind = type(tag)
        if kind not in (int, str):
            message = f"tag {place} is {shown(tag)}; expected a string or an integer"
            self._findings.add("tag of another kind", self._path, message, line)
            return
        self.kinds.setdefault(kind, line)
        if tag in self._good:
            return
        problem = self._number_problem(tag) if kind is int else self._text_problem(tag)
        if problem:
            self._findings.add(problem[0], self._path, f"tag {place} is {problem[1]}", line)
        elif len(self._good) <= MAX_TAGS:
            self._good[tag] = name = self._name(tag)
            self.seen.add(name)
            if split_tag(name)[0]:
                self._prefixed.add(tag)

    def _name(self, tag: int | str) -> str:
        if isinstance(tag, str):
            return tag
        return self._stated[tag] if self._stated is not None else str(tag)

    def _number_problem(self, tag: int) -> tuple[str, str] | None:
        if tag < 0:
            return "negative tag", f"{tag}; expected 0 or more"
        if self._stated is not None and tag >= len(self._stated):
            last = len(self._stated) - 1
            return "tag without a name", f"{tag}; there are names for 0 to {last} only"
        return None if self._stated is not None else self._unknown(str(tag))

    def _text_problem(self, tag: str) -> tuple[str, str] | None:
        if not tag.strip():
            return "empty tag", f"empty ({shown(tag)}); expected a name, such as O"
        if half_character(tag):
            return "half a character", f"{shown(tag)}, with half a character; expected whole ones"
        return self._unknown(tag)

    def _unknown(self, name: str) -> tuple[str, str] | None:
        if self._names is None or name in self._names:
            return None
        listed = ", ".join(map(shown, self._listed[:_SHOWN_NAMES]))
        more = ", …" if len(self._listed) > _SHOWN_NAMES else ""
        where = (
            "is not among the names beside the data"
            if self._stated is not None
            else "does not occur in train (labels.txt, one name a line, would allow it)"
        )
        return (
            "unknown tag",
            f"{shown(name)}, which {where}; expected one of {listed}{more}"
            f"{did_you_mean(name, self._listed)}",
        )
