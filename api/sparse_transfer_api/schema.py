"""JSON schemas of the models without references: for the CRD, for messages and for documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]


@cache
def inlined(model: type[BaseModel]) -> Schema:
    """Returns a model's JSON schema with every reference replaced by what it refers to.

    An optional field's schema is that of its value: absence is the only null. The models must not
    be recursive. Default values are kept under ``default``. The result is shared: do not change it.
    """
    schema = model.model_json_schema(by_alias=True)
    return _resolved(schema, schema.get("$defs", {}))


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    merged: Schema = {}
    for part in _parts(node, definitions):
        merged.update(part)
    found: Schema = {}
    for key, value in merged.items():
        if key in ("$defs", "title", "propertyNames"):
            continue
        if key == "properties":
            found[key] = {name: _resolved(child, definitions) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            found[key] = _resolved(value, definitions)
        elif key == "const":
            found["enum"] = [value]
        elif isinstance(value, float) and value.is_integer():
            found[key] = int(value)
        else:
            found[key] = value
    return found


def _parts(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what has to be merged into one schema: what is referred to first, what is said last.

    Raises:
        ValueError: The node allows several types, which a structural schema cannot express.
    """
    own = {key: value for key, value in node.items() if key not in ("$ref", "allOf", "anyOf")}
    choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    referred = [*node.get("allOf", ()), *choices]
    if "$ref" in node:
        referred.append(definitions[node["$ref"].rpartition("/")[2]])
    if len(choices) > 1:
        raise ValueError(f"a type for each field is needed, there are {len(choices)} in {node}")
    return [_resolved(part, definitions) for part in referred] + [own]


def description_with_default(node: Mapping[str, Any]) -> str:
    """Returns a field's description, which ends with its default value where it has one."""
    text = str(node.get("description", ""))
    default = node.get("default")
    if default is None or default == []:
        return text
    shown = default if isinstance(default, str) else json.dumps(default)
    return f"{text} Default: {shown}.".strip()
