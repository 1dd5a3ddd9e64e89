"""What was expected, in words, from the models' own schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..schema import Schema
from ..suggest import did_you_mean, listed, without_separators
from .plain import Path, dotted, shown
from .types import EXPECTED

_NAMED = 8
"""Fields of a mapping that a message names before it says 'and others'."""

_PER_CENT = 100
_LARGEST_RATIO = 2


def explain_wrong(value: Any, node: Schema, hint: str = "") -> str:
    """Returns the message about a wrong value.

    Args:
        value: What was found.
        node: The schema of its place.
        hint: What else is known about the mistake, with its own separator.
    """
    return f"found {shown(value)}; expected {describe(node)}{hint or _hint(value, node)}"


def explain_missing(node: Schema) -> str:
    """Returns the message about a required field that is absent."""
    return f"missing; expected {describe(node)}"


def explain_unknown(meant: str | None, siblings: Mapping[str, Any]) -> str:
    """Returns the message about a field that does not exist.

    Args:
        meant: The path of what was probably meant.
        siblings: The fields that exist there.
    """
    if meant is not None:
        return f"unknown field; did you mean {meant}?"
    return f"unknown field; expected {_fields(siblings)}"


def describe(node: Schema) -> str:
    """Returns what a schema allows, in words."""
    if EXPECTED in node:
        return str(node[EXPECTED])
    if "enum" in node:
        return listed(node["enum"])
    kind = node.get("type")
    if kind == "array":
        return f"a list{_between(node, 'Items')}, each {describe(node['items'])}"
    if kind == "object":
        return _describe_mapping(node)
    if kind == "string":
        bounds = _between(node, "Length")
        return "a time" if "format" in node else f"text{bounds}{' characters' if bounds else ''}"
    if kind == "boolean":
        return "true or false"
    number = "a whole number" if kind == "integer" else "a number"
    return f"{number} from {node['minimum']} to {node['maximum']}" if "minimum" in node else number


def _describe_mapping(node: Schema) -> str:
    if "properties" in node:
        required = node.get("required", [])
        if required:
            return f"a mapping with {' and '.join(required)}"
        return f"a mapping of {_fields(node['properties'])}"
    return "a mapping of names to " + describe(node.get("additionalProperties", {}))


def _fields(names: Mapping[str, Any]) -> str:
    first = list(names)[:_NAMED]
    return listed([*first, "others"]) if len(names) > _NAMED else listed(first)


def _between(node: Schema, what: str) -> str:
    low, high = node.get(f"min{what}", 0), node.get(f"max{what}")
    if high is None:
        return ""
    return f" of {low} to {high}" if low else f" of at most {high}"


def _hint(value: Any, node: Schema) -> str:
    """Returns what to do about the commonest slips of YAML."""
    if isinstance(value, str):
        if not value.isprintable():
            return ""
        if len(node.get("enum", ())) > 1:
            return did_you_mean(value, [str(name) for name in node["enum"]])
        if node.get("type") in ("number", "integer", "boolean") and _is_scalar(value):
            return "; write it without quotes"
        if node.get("type") == "array":
            return f"; did you mean [{value[:40]}]?"
        for field in node.get("required", ())[:1]:
            return f"; did you mean {{{field}: {value[:40]}}}?"
    elif isinstance(value, bool | int | float) and node.get("type") == "string":
        return "; put it in quotes"
    elif isinstance(value, int | float) and node.get("maximum", _PER_CENT) < value <= _PER_CENT:
        # Ratios are written as numbers up to 1 here, and as per cent in many other places.
        return f"; did you mean {value / _PER_CENT:g}?" if node["maximum"] <= _LARGEST_RATIO else ""
    return ""


def _is_scalar(text: str) -> bool:
    return re.fullmatch(r"[-+.\deE]+|true|false", text.strip()) is not None


def schema_at(root: Schema, path: Path) -> Schema:
    """Returns the schema of a place; an empty one below what is passed on unchecked."""
    node = root
    for part in path:
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            below = node.get("additionalProperties", {})
            below = below if isinstance(below, dict) else {}
            node = node.get("properties", {}).get(part, below)
    return node


def places_of(name: str, root: Schema) -> list[str]:
    """Returns the paths of all fields of this name, separators and case aside."""
    plain = without_separators(name)
    return [dotted(path) for path in _paths(root, ()) if without_separators(str(path[-1])) == plain]


def _paths(node: Schema, path: Path) -> Iterator[Path]:
    for name, child in node.get("properties", {}).items():
        yield (*path, name)
        yield from _paths(child, (*path, name))
