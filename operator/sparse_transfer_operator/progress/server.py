"""Takes one request and answers it: is it a pod's own report, and may it be shown?

Cheap refusals come first, and nothing of a body is read before its sender is known. Refusals are
short JSON that says nothing of what exists: another's experiment and none at all look the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from sparse_transfer_api.contract import progress_path
from sparse_transfer_api.status import ProgressStatus

from .allowances import Allowances, Rate
from .owners import PodOwner, PodOwners
from .reports import BadReport, read_report
from .tokens import NotNow, TokenReviewer

MAX_BODY = 16 * 1024
"""Bytes of a report; a real one takes about 500."""
REPORTS = Rate(per_second=1, burst=10)
"""Of one pod; a runner sends one in ten seconds, and a few more where activities are short."""
STANDBY_SECONDS = 1.0
"""After which a runner may try again that met a replica which does not lead: another may answer."""

_NAME = "([a-z0-9-]+)"
_PATH = re.compile(progress_path(_NAME, _NAME))
_LOG = logging.getLogger(__name__)


class Refusal(Exception):
    """An answer that is not a success.

    Args:
        status: Of HTTP.
        error: What is wrong, in words that may be told to anybody.
        wait_seconds: After which another try may succeed.
        headers: Further ones.
    """

    def __init__(
        self,
        status: int,
        error: str,
        wait_seconds: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error
        self.headers = dict(headers or {})
        if wait_seconds is not None:
            self.headers["Retry-After"] = str(max(1, round(wait_seconds)))

    @property
    def response(self) -> web.Response:
        """The answer."""
        return _closing(
            web.json_response({"error": self.error}, status=self.status, headers=self.headers)
        )


class Reception:
    """Answers requests.

    Args:
        reviewer: Tells whose tokens they are.
        owners: Tells whose pods they are.
        is_leader: Whether this replica leads; another one knows nothing.
        take: Receives a report that is a pod's own; returns whether it may be shown.
        answered: Called with the status of each answer.
        clock: Monotonic seconds.
        now: The time, with its zone.
    """

    def __init__(
        self,
        reviewer: TokenReviewer,
        owners: PodOwners,
        is_leader: Callable[[], bool],
        take: Callable[[PodOwner, ProgressStatus], bool],
        answered: Callable[[int], None],
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._reviewer = reviewer
        self._owners = owners
        self._is_leader = is_leader
        self._take = take
        self._answered = answered
        self._clock = clock
        self._now = now
        self._reports = Allowances(REPORTS)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Returns the answer to a request, whatever goes wrong."""
        response = await self._response(request)
        self._answered(response.status)
        return response

    async def _response(self, request: web.BaseRequest) -> web.Response:
        try:
            await self._receive(request)
        except Refusal as refusal:
            _LOG.debug("%s: %s", request.remote, refusal)
            return refusal.response
        except (ConnectionError, web.RequestPayloadError):
            return Refusal(400, "the request ended early").response
        except Exception:  # noqa: BLE001 - the top edge: everything becomes an answer
            _LOG.exception("a report of progress was not taken")
            return Refusal(500, "internal error").response
        return _closing(web.Response(status=204))

    async def _receive(self, request: web.BaseRequest) -> None:
        namespace, experiment = _addressed(request)
        if not self._is_leader():
            raise Refusal(503, "this replica does not lead", STANDBY_SECONDS)
        owner, pod_uid = await self._sender(request)
        if (owner.experiment.namespace, owner.experiment.name) != (namespace, experiment):
            raise _NOT_YOURS
        if wait := self._reports.wait(pod_uid, self._clock()):
            raise Refusal(429, "too many reports", wait)
        self._reports.spend(pod_uid, self._clock())
        try:
            report = read_report(await _body(request), self._now())
        except BadReport as error:
            raise Refusal(422, str(error)) from error
        if report.stage is not owner.stage or not self._take(owner, report):
            raise _NOT_YOURS

    async def _sender(self, request: web.BaseRequest) -> tuple[PodOwner, str]:
        """Returns what the pod works on that sends a request, and the pod's UID."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _UNKNOWN
        try:
            pod = await self._reviewer.identify(token, request.remote or "")
        except NotNow as error:
            if error.too_many:
                raise Refusal(429, "too many unknown tokens", error.wait_seconds) from error
            raise Refusal(503, "tokens cannot be reviewed", error.wait_seconds) from error
        if pod is None:
            raise _UNKNOWN
        owner = self._owners.owner(pod.uid)
        if owner is None or owner.experiment.namespace != pod.namespace:
            raise _NOT_YOURS
        return owner, pod.uid


_UNKNOWN = Refusal(
    401, "a token of a pod for this endpoint is needed", headers={"WWW-Authenticate": "Bearer"}
)
_NOT_YOURS = Refusal(403, "this pod does not run that stage of that experiment")


def _addressed(request: web.BaseRequest) -> tuple[str, str]:
    """Returns namespace and name of the experiment that a request is about."""
    found = _PATH.fullmatch(request.raw_path)
    if found is None:
        raise Refusal(404, "no such path")
    if request.method != "POST":
        raise Refusal(405, "only POST", headers={"Allow": "POST"})
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(415, "compressed bodies are not taken")
    if (request.content_length or 0) > MAX_BODY:
        raise _TOO_LARGE
    return found[1], found[2]


_TOO_LARGE = Refusal(413, f"at most {MAX_BODY} bytes")


async def _body(request: web.BaseRequest) -> bytes:
    """Returns a body whose length nobody has said, or not truly."""
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MAX_BODY:
            raise _TOO_LARGE
    return bytes(body)


def _closing(response: web.Response) -> web.Response:
    # One report, one connection: nobody holds one, and its whole life has one limit.
    response.force_close()
    response.headers["Server"] = "sparse-transfer-operator"
    return response
