"""Answers of the API server as they come over the wire: a JSON document, or lines for as long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from kubernetes.client import ApiException

Document = Mapping[str, Any]

CONNECT_SECONDS = 10
ANSWER_SECONDS = 30
TIMEOUT = (CONNECT_SECONDS, ANSWER_SECONDS)
"""Of a call that is answered at once."""

_REFUSED = 300
"""HTTP status codes from here on are no answers."""


def document_of(answer: Any) -> Document:
    """Returns the document that an answer holds.

    Args:
        answer: Of a call with ``_preload_content=False``: the library's own reading drops the
            bodies of some codes, such as 201.

    Raises:
        ApiException: The API server refuses.
    """
    body = answer.data
    if answer.status >= _REFUSED:
        raise ApiException(http_resp=answer)
    found: Document = json.loads(body)
    return found


def lines_of(answer: Any) -> Iterator[bytes]:
    """Yields the lines of a body as they come, the last one too where nothing ends it.

    Args:
        answer: Of a call with ``_preload_content=False``; it is closed at the end.

    Raises:
        ApiException: The API server refuses.
    """
    with closing(answer):
        if answer.status >= _REFUSED:
            raise ApiException(http_resp=answer)
        rest = b""
        for part in answer.stream(amt=None, decode_content=False):
            *whole, rest = (rest + part).split(b"\n")
            yield from whole
        if rest:
            yield rest


def events_of(answer: Any) -> Iterator[tuple[str, Document]]:
    """Yields the events of a watch's answer: what happened, and the object.

    Raises:
        ApiException: The API server refuses, at once or on the way.
    """
    for line in lines_of(answer):
        event = json.loads(line)
        if event["type"] == "ERROR":
            problem = event["object"]
            raise ApiException(problem.get("code"), body=json.dumps(problem))
        yield event["type"], event["object"]
