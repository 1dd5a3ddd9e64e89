"""A stage's result in the 4096 bytes that the kubelet keeps of a container's last words.

Whole where that fits. Else the large parts are packed (JSON, zlib, base64, under ``packed``); else
they are made smaller: engines at the headline's point alone, then without artifacts, then left out,
since the manifest has them all. At last message, headline and digests are cut as well. What was cut
is listed under ``omitted``, and all else is exactly what it was.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from .contract import MAX_STAGE_RESULT_BYTES

Json = dict[str, Any]

_LARGE = ("results", "artifacts", "resolved")
_PACKED = "packed"
_OMITTED = "omitted"
_MAX_WHOLE = 1 << 63
"""Whole numbers of the API server are of 64 bits, one of them the sign."""
_MAX_UNPACKED_BYTES = 1 << 20
"""What 4096 bytes of ours never reach: a longer text is not unpacked."""


def message_of(document: Json) -> bytes:
    """Returns a stage result's JSON in at most ``MAX_STAGE_RESULT_BYTES``.

    Raises:
        ValueError: It is too long even without everything that can be left out.
    """
    smallest = document
    for smallest in _ever_smaller(document):
        for body in (_encoded(smallest), _encoded(_packed(smallest))):
            if len(body) <= MAX_STAGE_RESULT_BYTES:
                return body
    return _cut(smallest)


def document_of(message: bytes | str) -> Json:
    """Returns the JSON that ``message_of`` was given, but for what its ``omitted`` lists.

    Raises:
        ValueError: It is no such message.
    """
    document = _object(message)
    packed = document.pop(_PACKED, None)
    if packed is None:
        return document
    try:
        large = _unpacked(packed)
    except (TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"no stage result: {_PACKED} cannot be unpacked ({error})") from error
    return {**document, **{name: large[name] for name in _LARGE if name in large}}


def refuse_unstorable(value: Any) -> None:
    """Refuses numbers that the API server takes in no status, such as one that became infinite.

    Raises:
        ValueError: There is one.
    """
    if isinstance(value, Mapping):
        for each in value.values():
            refuse_unstorable(each)
    elif isinstance(value, list | tuple):
        for each in value:
            refuse_unstorable(each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"no stage result: {value} is no number")
    elif isinstance(value, int) and not -_MAX_WHOLE <= value < _MAX_WHOLE:
        raise ValueError("no stage result: a whole number is too large")


def _ever_smaller(document: Json) -> Iterator[Json]:
    """Yields the document, then with ever less of its large parts."""
    yield document
    results = document.get("results")
    if results is not None:
        head = results["headline"]
        point = (head["batch"], head.get("sequence"))
        engines = results.get("engines", [])
        kept = [each for each in engines if (each["batch"], each.get("sequence")) == point]
        if len(kept) < len(engines):
            smaller = {**document, "results": {**results, "engines": kept}}
            document = _without_claim(smaller, "results.engines")
            yield document
    if document.get("artifacts"):
        document = _without(document, "artifacts")
        yield document
    for name in ("resolved", "results"):
        if name in document:
            document = _without(document, name)
            yield document


def _cut(document: Json) -> bytes:
    """Returns the message of a document without large parts, cut until it fits."""
    text = str(document.get("message", ""))
    if text:
        document = _without_claim(document, "message")
    while (excess := len(body := _encoded(document)) - MAX_STAGE_RESULT_BYTES) > 0:
        if text:
            # A character takes one to six bytes in JSON, so that a few rounds will do.
            text = text[: max(0, len(text) - excess - len("…".encode()))]
            document = {**document, "message": f"{text}…" if text else ""}
        elif document.get("headline"):
            document = _without(document, "headline")
        elif document.get("digests"):
            document = _without(document, "digests")
        else:
            stage = document.get("stage")
            raise ValueError(f"{stage}: reason or manifest URI is too long for a stage result")
    return body


def _without(document: Json, name: str) -> Json:
    return _without_claim({key: value for key, value in document.items() if key != name}, name)


def _without_claim(document: Json, name: str) -> Json:
    return {**document, _OMITTED: [*document.get(_OMITTED, ()), name]}


def _packed(document: Json) -> Json:
    large = {name: document[name] for name in _LARGE if name in document}
    small = {name: value for name, value in document.items() if name not in large}
    return {**small, _PACKED: base64.b64encode(zlib.compress(_encoded(large), 9)).decode()}


def _unpacked(packed: str) -> Json:
    stream = zlib.decompressobj()
    body = stream.decompress(base64.b64decode(packed, validate=True), _MAX_UNPACKED_BYTES)
    if not stream.eof:
        raise ValueError(f"more than {_MAX_UNPACKED_BYTES} bytes, or cut off")
    return _object(body)


def _object(text: bytes | str) -> Json:
    """Returns the JSON object in a text, which may be anybody's."""
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("no stage result: nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no stage result: not a JSON object")
    return found


def _no_number(constant: str) -> None:
    raise ValueError(f"no stage result: {constant} is not JSON")


def _encoded(document: Json) -> bytes:
    # File names may bring bytes that UTF-8 cannot hold.
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
