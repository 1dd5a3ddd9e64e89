"""Experiments in memory: JSON of what is planned with, in two parts, and how new it is."""

from __future__ import annotations

import json

from sparse_transfer_api.contract import API_VERSION, KIND

from .bodies import Body, mapping, text

State = tuple[bytes, bytes]
"""Metadata and spec, and status."""
NOTHING: State = (b"", b"")

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KEPT_META = (
    *("name", "namespace", "uid", "generation"),
    *("creationTimestamp", "deletionTimestamp", "labels"),
)


def packed(body: Body) -> State:
    """Returns what is planned with of an experiment: a report of progress changes nothing here."""
    meta = mapping(body, "metadata")
    annotations = mapping(meta, "annotations")
    kept = {name: meta[name] for name in _KEPT_META if name in meta}
    kept["annotations"] = {name: annotations[name] for name in annotations if name != _LAST_APPLIED}
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": kept,
        "spec": body.get("spec"),
    }
    return _json(document), packed_status(mapping(body, "status"))


def packed_status(status: Body) -> bytes:
    """Returns a status without progress."""
    return _json({name: status[name] for name in status if name != "progress"})


def unpacked(state: State) -> Body:
    """Returns the body of an experiment, as far as it was kept."""
    spec, status = state
    return {**json.loads(spec), "status": json.loads(status)}


def version_of(meta: Body) -> int:
    """Returns a resource version: the API says that they are numbers that grow."""
    digits = text(meta, "resourceVersion")
    return int(digits) if digits.isdecimal() else 0


def newer(version: int, known: int) -> bool:
    """Returns whether a body counts; one without a usable version always does."""
    return not version or version > known


def _json(document: Body) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
