"""What a label is: its kind, and the name of its class. CSV fields are read as what they look like.

Numbers without a fraction are integers, however they are written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

Kind = Literal["integer", "number", "text", "boolean", "list", "null", "object"]

_KINDS: Mapping[type, Kind] = {
    bool: "boolean",
    int: "integer",
    list: "list",
    dict: "object",
    type(None): "null",
}
_INTEGER = re.compile(r"-?(0|[1-9]\d*)$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


def from_csv(text: str) -> Any:
    """Returns the value that a CSV field stands for: None, an integer, a number or text.

    ``007`` and ``+1`` stay text: as numbers they would lose their spelling.
    """
    plain = text.strip()
    if not plain:
        return None
    if _INTEGER.match(plain):
        return int(plain)
    if _NUMBER.match(plain) and not re.match(r"[+-]?0\d", plain) and math.isfinite(float(plain)):
        return float(plain)
    return plain


def kind_of(value: Any) -> Kind:
    """Returns what a label is; blank text and what is no finite number count as null."""
    if isinstance(value, str):
        return "text" if value.strip() else "null"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "null"
        return "integer" if value.is_integer() else "number"
    return _KINDS[type(value)]


def name_of(value: Any) -> str:
    """Returns the class name of a label: ``1`` for 1 and 1.0, ``true`` for True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def names_of(value: Any) -> list[str]:
    """Returns the class names of a label with several; a single value counts as a list of one."""
    return [name_of(item) for item in value] if isinstance(value, list) else [name_of(value)]


def sorted_names(values: Iterable[Any]) -> list[str]:
    """Returns class names in the order of the model's outputs.

    Numbers are sorted as numbers; as soon as there is text, all are sorted by code point.
    """
    distinct = list(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        return list(dict.fromkeys(name_of(value) for value in sorted(distinct)))
    return sorted({name_of(value) for value in distinct})
