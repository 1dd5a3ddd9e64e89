"""A status that the API server takes: cut to the bounds of the CRD's own schema.

What the status reports comes from elsewhere (messages of errors, names of files), so that no bound
can be promised; a refused status would hide everything else with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from .crd import status_schema
from .spec.types import PRESERVE
from .status import SparseTransferStatus

_CUT = "…"
_schema = cache(status_schema)


def fitted_status(status: SparseTransferStatus) -> dict[str, Any]:
    """Returns the status as JSON data, without nulls, long texts and lists cut at their end."""
    return dict(_fitted(status.to_json_dict(), _schema()))


def _fitted(value: Any, node: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        limit = node.get("maxLength", len(value))
        return value if len(value) <= limit else value[: limit - len(_CUT)] + _CUT
    if isinstance(value, list):
        kept = value[: node.get("maxItems", len(value))]
        return [_fitted(item, node.get("items", {})) for item in kept]
    if not isinstance(value, dict) or PRESERVE in node:
        return value
    below = node.get("additionalProperties", {})
    fields = node.get("properties", {})
    kept_names = list(value)[: node.get("maxProperties", len(value))]
    return {name: _fitted(value[name], fields.get(name, below)) for name in kept_names}
