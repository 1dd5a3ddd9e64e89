"""Collecting what is wrong with the data: everything is counted, a bounded part is shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import InputError, Problem

MAX_SHOWN = 100
"""Problems in one report; more would not be read."""

MAX_SHOWN_OF_A_KIND = 20
"""Problems of one kind in one file, so that a broken column does not hide all else."""

_MAX_VALUE = 60


class Findings:
    """The problems found so far, in the order of their discovery."""

    def __init__(self) -> None:
        self._shown: list[Problem] = []
        self._counts: Counter[tuple[str, Path]] = Counter()

    @property
    def total(self) -> int:
        """How many problems were found, shown or not."""
        return self._counts.total()

    def add(self, kind: str, where: Path, message: str, line: int | None = None) -> None:
        """Notes a problem.

        Args:
            kind: What is alike, such as ``empty text``; bounds what is shown and sums up the rest.
            where: The file or folder.
            message: What is wrong, with the value, and what was expected.
            line: 1-based.
        """
        if self._counts[kind, where] < MAX_SHOWN_OF_A_KIND:
            self._shown.append(Problem(str(where), message, line))
        self._counts[kind, where] += 1

    def count(self, kind: str, where: Path, times: int) -> None:
        """Counts further problems of a kind that need not be shown."""
        self._counts[kind, where] += times

    def problems(self) -> list[Problem]:
        """Returns the shown problems, and one line for each kind of which more were found."""
        more = [
            Problem(str(where), f"{kind}: {count} times, the first {MAX_SHOWN_OF_A_KIND} are shown")
            for (kind, where), count in self._counts.items()
            if count > MAX_SHOWN_OF_A_KIND
        ]
        return [*self._shown[: MAX_SHOWN - len(more)], *more]

    def raise_if_any(self, what: str) -> None:
        """Ends with every problem found.

        Args:
            what: What was checked, as the subject of the message.

        Raises:
            InputError: There are problems.
        """
        if not self.total:
            return
        problems = self.problems()
        cut = f" ({len(problems)} shown)" if len(problems) < self.total else ""
        noun = "problem" if self.total == 1 else "problems"
        raise InputError(f"{what}: {self.total} {noun} found{cut}", problems)


def shown(value: Any) -> str:
    """Returns a value as it is quoted in a message: bounded, whatever the user's data holds."""
    text = repr(value[: _MAX_VALUE * 2] if isinstance(value, str | list) else value)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
