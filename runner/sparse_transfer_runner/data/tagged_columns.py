"""Which columns hold a row's words and their tags.

Without ``spec.data.columns`` the words are in ``tokens`` (or ``words``), the tags in ``ner_tags``,
``tags``, ``labels``, ``pos_tags``, or else the only column whose name ends in ``_tags``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.spec import Columns
from sparse_transfer_api.suggest import did_you_mean, listed
from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import Findings, shown

TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "pos_tags")
_ANY_TAGS = "_tags"
_TEXT_FIELD, _LABEL_FIELD = "spec.data.columns.text", "spec.data.columns.label"


@dataclass(frozen=True)
class TaggedColumns:
    """The columns in use.

    Args:
        tokens: Lists of words.
        tags: Lists of their tags.
        other_tags: Columns that look like tags as well, and were not asked for.
    """

    tokens: str
    tags: str
    other_tags: tuple[str, ...] = ()


def choose_tagged_columns(
    asked: Columns, first: Chunk, path: Path, findings: Findings
) -> TaggedColumns | None:
    """Decides by the train split's first rows; what is wrong goes to findings, then None.

    Args:
        asked: The user's choice, which goes before the rule.
        first: The first rows of the train split.
        path: Its file.
        findings: Receives missing columns.
    """
    names = first.names()
    if not names:
        message = f"{shown(first.rows[0])} is no object; expected one with tokens and their tags"
        findings.add("no object", path, message, first.named_in)
        return None
    if asked.text and len(asked.text) > 1:
        message = f"{_TEXT_FIELD} names {len(asked.text)} columns; expected the one with tokens"
        findings.add("unknown column", path, message)
        return None
    tags = [name for name in TAGS if name in names]
    tags += [name for name in names if name.endswith(_ANY_TAGS) and name not in tags]
    wanted = (asked.text or ())[:1]
    chosen_tokens = _chosen(wanted, TOKENS, names, first, path, findings, _TEXT_FIELD)
    wanted = (asked.label,) if asked.label else ()
    chosen_tags = _chosen(wanted, tags or TAGS, names, first, path, findings, _LABEL_FIELD)
    if chosen_tokens is None or chosen_tags is None:
        return None
    others = () if asked.label else tuple(name for name in tags if name != chosen_tags)
    return TaggedColumns(chosen_tokens, chosen_tags, others)


def _chosen(
    asked: Sequence[str],
    usual: Sequence[str],
    names: Sequence[str],
    first: Chunk,
    path: Path,
    findings: Findings,
    field: str,
) -> str | None:
    """Returns the first column that is there of those asked for, else of the usual ones."""
    wanted = asked or usual
    found = next((name for name in wanted if name in names), None)
    if found is None:
        what = listed(map(shown, wanted))
        message = (
            f"no column {what}; the columns are {', '.join(map(shown, names[:16]))}"
            f"{did_you_mean(wanted[0], names)} (name another one in {field})"
        )
        findings.add("unknown column", path, message, first.named_in)
    return found
