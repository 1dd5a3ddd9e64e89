"""Trouble that passes: requests made again for about a minute before they count as failed.

botocore makes a request again by itself, but within seconds, out of a budget that all threads of a
client share, and not once the body of an answer has begun. A store that restarts takes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from .errors import is_answer, root_of

ATTEMPTS = 10
"""With the waits between them about a minute, where nobody answers at all."""
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20

_BREAKS = (
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
)
"""What happens between here and the store."""
_PASSING = (
    "ConditionalRequestConflict",
    "RequestTimeout",
    "SlowDown",
    "ThrottlingException",
    "TooManyRequests",
)
"""Answers that a store wants the same request after; so are those from 500 on."""

Result = TypeVar("Result")


def persistently(attempt: Callable[[], Result]) -> Result:
    """Returns what an attempt gives, made again while what goes wrong is passing trouble."""
    return Retrying(
        retry=retry_if_exception(_passes),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
        reraise=True,
    )(attempt)


def _passes(error: BaseException) -> bool:
    cause = root_of(error)
    if isinstance(cause, ClientError):
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or is_answer(cause, _PASSING)
    # Nobody vouches for a certificate later than now.
    return isinstance(cause, _BREAKS) and not isinstance(cause, SSLError)
