"""HTTP connections: their time limits, how often one tries, and what their failures mean.

The client is httpx2: huggingface_hub, which the hub's source needs, brings it along, so that both
sources meet proxies (``HTTPS_PROXY``, ``NO_PROXY``) and certificates (``SSL_CERT_FILE``,
``SSL_CERT_DIR``) in the same way. urllib3, which boto3 brings, knows neither by itself.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, Transient

_POLL_SECONDS = 0.5
_LONGEST_WISH_SECONDS = 120
"""A server that wants us to wait longer (``Retry-After``) is better asked by the next attempt."""

Result = TypeVar("Result")


class Passing(Transient):
    """Trouble after which another try is made.

    Args:
        message: For the user, should no try succeed.
        wait_seconds: What the server asks for.
    """

    def __init__(self, message: str, wait_seconds: float = 0) -> None:
        super().__init__(message)
        self.wait_seconds = min(wait_seconds, _LONGEST_WISH_SECONDS)


@dataclass(frozen=True)
class Patience:
    """How long one waits for a server.

    Args:
        tries: In a row without any progress.
        longest_wait_seconds: Between two tries; a random time up to this, growing with each.
        connect_seconds: For a connection.
        silence_seconds: Without a byte.
    """

    tries: int = 5
    longest_wait_seconds: float = 20
    connect_seconds: float = 10
    silence_seconds: float = 60

    @property
    def timeout(self) -> httpx2.Timeout:
        """The client's limits."""
        return httpx2.Timeout(self.silence_seconds, connect=self.connect_seconds)

    def insist(
        self,
        attempt: Callable[[], Result],
        raise_if_stopped: Callable[[], None],
        progress: Callable[[], int] = lambda: 0,
    ) -> Result:
        """Tries until it works, or until too many tries in a row led nowhere.

        Args:
            attempt: Raises ``Passing`` where another try may help.
            raise_if_stopped: Called while waiting.
            progress: How far the tries have come; more than before starts the count anew.

        Raises:
            Passing: Of the last try.
        """
        reached, fruitless = progress(), 0
        growing = wait_random_exponential(multiplier=0.5, max=self.longest_wait_seconds)

        def hopeless(_: RetryCallState) -> bool:
            nonlocal reached, fruitless
            now = progress()
            fruitless = 1 if now > reached else fruitless + 1
            reached = now
            return fruitless >= self.tries

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_seconds if isinstance(error, Passing) else 0
            return max(asked, growing(state))

        def sleep(seconds: float) -> None:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                raise_if_stopped()
                time.sleep(min(left, _POLL_SECONDS))

        retrying = Retrying(
            retry=retry_if_exception_type(Passing),
            stop=hopeless,
            wait=pause,
            sleep=sleep,
            reraise=True,
        )
        return retrying(attempt)


def new_client(patience: Patience, *hooks: Callable[[httpx2.Request], None]) -> httpx2.Client:
    """Returns a client that follows redirects.

    Args:
        patience: Its time limits.
        *hooks: Called with each request before it is sent, also after redirects.

    Raises:
        AccessError: The environment's certificates or proxies cannot be used.
    """
    try:
        return httpx2.Client(
            timeout=patience.timeout,
            follow_redirects=True,
            event_hooks={"request": list(hooks)},
        )
    except (OSError, ValueError, httpx2.InvalidURL) as error:
        raise AccessError(
            f"SSL_CERT_FILE, SSL_CERT_DIR or a proxy's variable cannot be used: {error}"
        ) from error


def transport_problem(where: str, error: httpx2.RequestError) -> SparseTransferError:
    """Returns what a failed connection means.

    Args:
        where: The address, without credentials.
        error: What the client raised.
    """
    untrusted = _cause(error, ssl.SSLCertVerificationError)
    if untrusted is not None:
        return AccessError(
            f"{where}: its certificate is not trusted ({untrusted.verify_message}); where an "
            "authority of your own has signed it, name a PEM file with that in SSL_CERT_FILE"
        )
    if isinstance(error, httpx2.ProxyError) and str(error)[:3] in ("401", "403", "407"):
        return AccessError(
            f"{where}: the proxy refuses ({error}); check HTTPS_PROXY and its credentials, or "
            "name the host in NO_PROXY"
        )
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return InputError(f"{where}: not an address that can be asked for ({error})")
    if isinstance(error, httpx2.TooManyRedirects):
        return AccessError(f"{where}: redirects lead in a circle")
    reason = str(error) or type(error).__name__
    return Passing(f"{where}: cannot be reached just now ({reason}), in spite of retries")


_Cause = TypeVar("_Cause", bound=BaseException)


def _cause(error: BaseException | None, kind: type[_Cause]) -> _Cause | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
