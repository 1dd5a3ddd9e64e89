"""Holding the labels of val and test to what train decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sparse_transfer_api.suggest import did_you_mean
from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.label_rule import EXPECTED, MULTI_LABEL, REGRESSION, LabelRule
from sparse_transfer_runner.data.labels import kind_of, name_of

_SHOWN_NAMES = 10


class LabelCheck:
    """Checks the label column of one split; give it the whole column by ``add``.

    Args:
        rule: What train decided.
        path: The split's file.
        findings: Receives labels that train does not know, and labels of the wrong kind.
    """

    def __init__(self, rule: LabelRule, path: Path, findings: Findings) -> None:
        self._rule = rule
        self._path = path
        self._findings = findings
        self._names = frozenset(rule.names)
        self._known: set[tuple[type, Any]] = set()
        self.seen: set[str] = set()
        """Class names that occurred; empty for regression."""

    def add(self, values: Sequence[Any], lines: Sequence[int]) -> None:
        """Checks consecutive rows' labels."""
        if self._all_good(values):
            return
        for line, value in zip(lines, values, strict=True):
            problem = self._problem(value)
            if problem:
                self._findings.add(problem[0], self._path, problem[1], line)

    def _all_good(self, values: Sequence[Any]) -> bool:
        """Whether all labels are right, found with little work a row; False means: look closer."""
        types = set(map(type, values))
        if self._rule.problem_type == REGRESSION:
            return types <= {int, float} and all(map(math.isfinite, values))
        if self._rule.problem_type == MULTI_LABEL and types == {list}:
            values = list(chain.from_iterable(values))
            types = set(map(type, values))
        # Within one of these types equal values have equal names; 1, 1.0 and True are equal too.
        if not types:
            return True
        if types not in ({int}, {str}):
            return False
        (kind,) = types
        new = {(kind, value) for value in set(values)} - self._known
        if any(self._problem(value) for _, value in new):
            return False
        self._known |= new
        self.seen |= {name_of(value) for _, value in new}
        return True

    def _problem(self, value: Any) -> tuple[str, str] | None:
        """Returns kind and message of what is wrong with a label, or None."""
        kind = kind_of(value)
        expected = EXPECTED[self._rule.problem_type]
        if kind == "null":
            return "empty label", f"empty label ({shown(value)}); expected {expected}"
        if self._rule.problem_type == REGRESSION:
            wrong = kind not in self._rule.kinds
        else:
            wrong = kind == "object" or (kind == "list") > (self._rule.problem_type == MULTI_LABEL)
        if wrong:
            return "label of another kind", f"label {shown(value)} ({kind}); expected {expected}"
        return None if self._rule.problem_type == REGRESSION else self._unknown(value)

    def _unknown(self, value: Any) -> tuple[str, str] | None:
        names = [name_of(item) for item in (value if isinstance(value, list) else [value])]
        unknown = next((name for name in names if name not in self._names), None)
        if unknown is None:
            self.seen.update(names)
            return None
        listed = ", ".join(map(shown, self._rule.names[:_SHOWN_NAMES]))
        more = ", …" if len(self._rule.names) > _SHOWN_NAMES else ""
        return (
            "label not in train",
            f"label {shown(unknown)} does not occur in train; expected one of {listed}{more}"
            f"{did_you_mean(unknown, self._rule.names)}",
        )
