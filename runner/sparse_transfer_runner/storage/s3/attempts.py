"""Requests made again where botocore itself does not: what breaks after an answer has begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from .errors import is_conflict

ATTEMPTS = 8
"""Tries for a body that breaks off or stalls; requests have botocore's own."""

_BREAKS = (
    FlexibleChecksumError,
    HTTPError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
"""What can happen after a request was answered, while its body arrives."""

Result = TypeVar("Result")


def persistently(attempt: Callable[[], Result]) -> Result:
    """Returns what an attempt gives, made again while bodies break off or writers collide."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, _BREAKS) or is_conflict(error)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.2, max=10),
        reraise=True,
    )(attempt)
