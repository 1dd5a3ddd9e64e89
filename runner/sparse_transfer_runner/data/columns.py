"""Which columns are text and which is the label.

Without ``spec.data.columns`` the rule is: ``label`` is the label; ``sentence1`` and ``sentence2``
where both exist are the text, else the first one or two other columns. Columns that do not hold
text are passed over: by name (``id``, ``idx``, ``index``…), or because the first rows hold
identifiers, numbers, one of a few short values over and over, or mostly nothing. A column that is
called ``text`` or ``sentence`` is taken at its word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.spec import Columns
from sparse_transfer_api.suggest import did_you_mean, listed
from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import Findings, shown

DEFAULT_LABEL = "label"
_PAIR = ("sentence1", "sentence2")
_MAX_TEXTS = 2

_ID_NAME = re.compile(
    r"((.*[_\- ])?(ids?|idx|index|guid|uuid|uid|key|hash|md5|sha\d*|row)|unnamed[: _]*\d*)?",
    re.IGNORECASE,
)
"""An index that was written without a name is a column without one."""
_TEXT_NAME = re.compile(r"(text|sentence)s?[_ ]?\d*", re.IGNORECASE)
_ID_VALUE = re.compile(r"^[\w\-.:/]*\d[\w\-.:/]*$")
"""One word with a digit in it, such as ``train-17`` or a UUID."""

_CATEGORY_MIN_ROWS = 50
_CATEGORY_SHARE = 0.02
"""A column with fewer different values than this share of its rows is a category…"""
_CATEGORY_LENGTH = 32
"""…as long as no value is longer than this many characters."""


@dataclass(frozen=True)
class TextColumns:
    """The columns in use.

    Args:
        text: One column, or the two of a pair.
        label: The label's column.
        passed_over: Columns in neither role.
    """

    text: tuple[str, ...]
    label: str
    passed_over: tuple[str, ...] = ()


def choose_columns(
    asked: Columns, first: Chunk, path: Path, findings: Findings
) -> TextColumns | None:
    """Decides by the train split's first rows; what is wrong goes to findings, then None.

    Args:
        asked: The user's choice, which goes before the rule.
        first: The first rows of the train split.
        path: Its file.
        findings: Receives unknown columns, ids taken for text, and missing text.
    """
    names = first.names()
    label = asked.label or DEFAULT_LABEL
    if not names:
        message = f"{shown(first.rows[0])} is no object; expected one with text and {label}"
        findings.add("no object", path, message, first.named_in)
        return None
    wanted = [label, *(asked.text or ())]
    missing = [name for name in dict.fromkeys(wanted) if name not in names]
    for name in missing:
        findings.add("unknown column", path, unknown_column(name, names, label), first.named_in)
    if missing:
        return None
    others = [name for name in names if name != label]
    if asked.text:
        text = tuple(asked.text)
        _refuse_ids(text, label, first, path, findings)
    else:
        text = _chosen_text(others, first)
        if not text:
            findings.add("no text column", path, _no_text(others), first.named_in)
            return None
    return TextColumns(text, label, tuple(name for name in others if name not in text))


def unknown_column(name: str, names: Sequence[str], label: str) -> str:
    """Returns the message for a column that is not there."""
    field = "spec.data.columns.label" if name == label else "spec.data.columns.text"
    return (
        f"no column {shown(name)}; the columns are {', '.join(map(shown, names[:16]))}"
        f"{did_you_mean(name, names)} (name another one in {field})"
    )


def _chosen_text(others: Sequence[str], first: Chunk) -> tuple[str, ...]:
    if all(name in others for name in _PAIR):
        return _PAIR
    texts = [
        name
        for name in others
        if _TEXT_NAME.fullmatch(name)
        or (not _ID_NAME.fullmatch(name) and _holds_text(_texts(first, name), len(first.rows)))
    ]
    return tuple(texts[:_MAX_TEXTS])


def _texts(first: Chunk, name: str) -> list[str]:
    values = (row.get(name) for row in first.rows if isinstance(row, dict))
    return [value for value in values if isinstance(value, str) and value.strip()]


def _holds_text(values: Sequence[str], rows: int) -> bool:
    return 2 * len(values) >= rows and not _are_ids(values) and not _are_categories(values)


def _are_ids(values: Sequence[str]) -> bool:
    return len(values) > 1 and all(_ID_VALUE.match(value.strip()) for value in values)


def _are_categories(values: Sequence[str]) -> bool:
    return (
        len(values) >= _CATEGORY_MIN_ROWS
        and len(set(values)) <= _CATEGORY_SHARE * len(values)
        and max(map(len, values)) <= _CATEGORY_LENGTH
    )


def _refuse_ids(
    text: Sequence[str], label: str, first: Chunk, path: Path, findings: Findings
) -> None:
    for name in text:
        values = _texts(first, name)
        if name == label:
            findings.add(
                "label as text",
                path,
                f"column {shown(name)} is both text and label; name another one in "
                "spec.data.columns.text",
                first.named_in,
            )
        elif _ID_NAME.fullmatch(name) and _are_ids(values):
            findings.add(
                "ids as text",
                path,
                f"column {shown(name)} holds identifiers, such as {shown(values[0])}; expected "
                "text: name another one in spec.data.columns.text",
                first.named_in,
            )


def _no_text(others: Sequence[str]) -> str:
    if not others:
        return "no column beside the label; expected one or two with text"
    verb = "hold" if len(others) > 1 else "holds"
    return (
        f"no text column: {listed(map(shown, others[:8]))} {verb} identifiers, numbers, categories "
        "or mostly nothing; expected text, or name the columns in spec.data.columns.text"
    )
