"""What the hub's refusals mean: as far as it tells them apart, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import get_token
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, HFValidationError

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError
from sparse_transfer_runner.storage import WAYS_OUT

from ..addresses import HubAddress
from ..connections import Passing, transport_problem
from ..protocol import Missing
from .client import endpoint

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_NO_HUB = "does not answer as a hub does; check HF_ENDPOINT, and proxies on the way"


@contextmanager
def explained(address: HubAddress) -> Iterator[None]:
    """Turns what huggingface_hub raises into errors that say what to do.

    Raises:
        Missing: There is no such repository, revision or file.
        AccessError: It may not be read, or there is no hub.
        InputError: The hub knows no such names.
        Passing: Another try may succeed.
    """
    try:
        yield
    except SparseTransferError:
        raise
    except (httpx2.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
        problem = _problem(address, error)
        if problem is None:
            raise
        raise problem from error


def _problem(address: HubAddress, error: Exception) -> SparseTransferError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError):
            return _refusal(address, cause)
        if isinstance(cause, httpx2.RequestError):
            return _unreachable(address, cause)
        if isinstance(cause, FileMetadataError):
            return AccessError(f"{address}: {_place()} {_NO_HUB} ({cause})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, HFValidationError):
        return InputError(f"{address}: not a name that the hub can have ({error})")
    if isinstance(error, OSError):
        # Without a number it is not the system's, but the library's: fewer bytes than announced.
        return None if error.errno is not None else Passing(f"{address}: {error}")
    return AccessError(f"{address}: {_place()} {_NO_HUB}")


def _unreachable(address: HubAddress, error: httpx2.RequestError) -> SparseTransferError:
    problem = transport_problem(f"{address}: {_place()}", error)
    return Passing(f"{problem}; {WAYS_OUT}") if isinstance(problem, Passing) else problem


def _refusal(address: HubAddress, error: HfHubHTTPError) -> SparseTransferError:
    answer = error.response
    status = answer.status_code
    said = f"{address}: {status}"
    code = answer.headers.get("X-Error-Code", "")
    page = f"{_place()}/{'datasets/' if address.kind == 'dataset' else ''}{address.repository}"
    if status in _PASSING:
        asked = answer.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdecimal() else 0
        return Passing(f"{said}: {_place()} is busy or broken, in spite of retries", wait)
    if code == "GatedRepo":
        account = "your account" if get_token() else "an account, and set HF_TOKEN to its token"
        return AccessError(f"{said}: its owner asks for consent; give it at {page} with {account}")
    if code == "RevisionNotFound":
        return Missing(f"{said}: it has no revision {address.revision}; see {page}/tree/main")
    if code == "EntryNotFound":
        return Missing(f"{said}: a file of it is gone; see {page}")
    if code == "RepoNotFound" or status in (401, 404):
        return _unknown(address, status, answer.headers.get("X-Error-Message", ""))
    told = error.server_message or answer.reason_phrase
    return AccessError(f"{said}: may not be read ({told}); check the rights of HF_TOKEN")


def _unknown(address: HubAddress, status: int, told: str) -> SparseTransferError:
    said = f"{address}: {status}"
    if get_token() is None:
        return AccessError(
            f"{said}: does not exist, or is private: the hub does not say which without a token; "
            "correct the name, or set HF_TOKEN"
        )
    if status == 401:
        return AccessError(f"{said}: the hub refuses the token in HF_TOKEN ({told}); renew it")
    return Missing(
        f"{said}: there is no such {address.kind}, or the account of HF_TOKEN may not see it"
    )


def _place() -> str:
    return endpoint() or "https://huggingface.co"
