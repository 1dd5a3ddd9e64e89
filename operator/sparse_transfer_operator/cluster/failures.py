"""How requests to the API server fail, sorted by what can be done about it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ..bodies import count, mapping, text


class RequestFailed(Exception):
    """A request that came to nothing: passing trouble, unless a subclass says more.

    Args:
        reason: CamelCase, as the API server names it.
        message: What it said.
        status: Of HTTP; 0 without an answer.
        retry_after: Seconds that it asks to wait.
    """

    def __init__(
        self, reason: str, message: str, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.status = status
        self.retry_after = retry_after


class NotFound(RequestFailed):
    """The object is not there."""


class NotServed(RequestFailed):
    """The API server knows no such kind: whether an object exists cannot be told."""


class Conflict(RequestFailed):
    """The object is another one than was meant, or is there already."""


class Refused(RequestFailed):
    """The API server does not want what it was asked: the same again will not do."""


_REFUSALS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


def failure(status: int, body: Any, retry_after: str | None = None) -> RequestFailed:
    """Returns what an answer of 300 or more means.

    Args:
        status: Of HTTP.
        body: The answer, as far as it is JSON; a ``Status`` of Kubernetes normally.
        retry_after: That header's value.
    """
    document = body if isinstance(body, dict) else {}
    reason = text(document, "reason") or _phrase(status)
    message = text(document, "message") or f"answered with {status}"
    wait = float(count(mapping(document, "details"), "retryAfterSeconds")) or None
    if retry_after and retry_after.isdecimal():
        wait = float(retry_after)
    if status == HTTPStatus.NOT_FOUND:
        # Only an answer that names an object comes from where its kind is kept.
        named = text(mapping(document, "details"), "name")
        return (NotFound if named else NotServed)(reason, message, status, wait)
    if status == HTTPStatus.CONFLICT:
        return Conflict(reason, message, status, wait)
    kind = Refused if status in _REFUSALS else RequestFailed
    return kind(reason, message, status, wait)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.replace(" ", "").replace("-", "")
    except ValueError:
        return "Unknown"
