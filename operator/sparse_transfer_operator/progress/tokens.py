"""Whose token it is: asked of the API server, and remembered for a while by the token's hash.

Pods hold tokens that the kubelet had made for this endpoint only (their audience) and for that pod
only. A token is never kept, logged or read here: what it means the API server says (TokenReview).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..bodies import mapping, text
from ..cluster.connection import Connection
from ..cluster.failures import RequestFailed
from .allowances import Allowance, Allowances, Rate

REVIEWS = Rate(per_second=50, burst=100)
"""Of all together: a thousand stages ask 17 times a second in the long run."""
REFUSALS = Rate(per_second=0.2, burst=10)
"""Of one address; above, unknown tokens from there are not even asked about."""
GOOD_SECONDS = 60.0
BAD_SECONDS = 10.0
MOST_REMEMBERED = 4096
"""Of good tokens, and of bad ones as well, which therefore cannot push good ones out."""

AT_ONCE = 4
"""Reviews that wait for their answer: a slow API server leaves connections for the Lease."""

_TRY_AGAIN_SECONDS = 5.0
_TELL_SECONDS = 60.0
_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCOUNT = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PodIdentity:
    """Whom a token speaks for.

    Args:
        namespace: Of the service account, and so of the pod.
        name: The pod's.
        uid: The pod's.
    """

    namespace: str
    name: str
    uid: str


class NotNow(Exception):
    """It cannot be told just now whose token it is.

    Args:
        wait_seconds: After which it may be asked again.
        too_many: Whoever asks has asked too often.
    """

    def __init__(self, wait_seconds: float, *, too_many: bool = False) -> None:
        super().__init__(f"ask again in {wait_seconds:.0f} s")
        self.wait_seconds = wait_seconds
        self.too_many = too_many


class TokenReviewer:
    """Tells whose tokens they are.

    Args:
        connection: To the API server.
        audience: That tokens must be made for.
        clock: Monotonic seconds.
    """

    def __init__(self, connection: Connection, audience: str, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._audience = audience
        self._clock = clock
        self._good: _Memory[PodIdentity] = _Memory(GOOD_SECONDS)
        self._bad: _Memory[bool] = _Memory(BAD_SECONDS)
        self._running: dict[bytes, asyncio.Task[PodIdentity | None]] = {}
        self._reviews = Allowance(REVIEWS, clock())
        self._refusals = Allowances(REFUSALS)
        self._told = float("-inf")

    async def identify(self, token: str, address: str) -> PodIdentity | None:
        """Returns whom a token speaks for.

        Args:
            token: As it came.
            address: Where it came from.

        Returns:
            None for a token that is not good for this endpoint, or is not a pod's.

        Raises:
            NotNow: The API server does not answer, or too much has been asked of it.
        """
        digest, now = hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._clock()
        if (known := self._good.find(digest, now)) is not None:
            return known
        if wait := self._refusals.wait(address, now):
            raise NotNow(wait, too_many=True)
        identity = None
        if not self._bad.find(digest, now):
            identity = await self._reviewed_once(token, digest)
        if identity is None:
            self._refusals.spend(address, self._clock())
        return identity

    async def _reviewed_once(self, token: str, digest: bytes) -> PodIdentity | None:
        """Asks about a token, once for all who wait for the same answer."""
        review = self._running.get(digest)
        if review is None:
            if len(self._running) >= AT_ONCE:
                raise NotNow(_TRY_AGAIN_SECONDS)
            if wait := self._reviews.wait(self._clock()):
                raise NotNow(wait)
            self._reviews.spend(self._clock())
            review = asyncio.create_task(self._reviewed(token, digest))
            self._running[digest] = review
            review.add_done_callback(lambda done: self._end(digest, done))
        return await asyncio.shield(review)

    def _end(self, digest: bytes, review: asyncio.Task[PodIdentity | None]) -> None:
        del self._running[digest]
        if not review.cancelled():
            review.exception()  # where nobody waits any more, nobody else looks at it

    async def _reviewed(self, token: str, digest: bytes) -> PodIdentity | None:
        spec = {"token": token, "audiences": [self._audience]}
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            answer = await self._connection.request("POST", _PATH, body=document)
        except RequestFailed as error:
            self._tell(error)
            raise NotNow(error.retry_after or _TRY_AGAIN_SECONDS) from error
        identity = _pod(mapping(answer, "status"), self._audience)
        now = self._clock()
        if identity is None:
            self._bad.keep(digest, True, now)
        else:
            self._good.keep(digest, identity, now)
        return identity

    def _tell(self, error: RequestFailed) -> None:
        if self._clock() - self._told >= _TELL_SECONDS:
            self._told = self._clock()
            _LOG.warning("tokens of runners cannot be reviewed, progress is lost: %s", error)


def _pod(status: Mapping[str, Any], audience: str) -> PodIdentity | None:
    """Returns the pod that a review's status speaks of.

    An authenticator that knows nothing of audiences leaves them out; it vouches for nothing here.
    """
    user = mapping(status, "user")
    account = text(user, "username")
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    if not account.startswith(_ACCOUNT):
        return None
    namespace = account.removeprefix(_ACCOUNT).partition(":")[0]
    name, uid = (_only(mapping(user, "extra"), key) for key in (_POD_NAME, _POD_UID))
    return PodIdentity(namespace, name, uid) if name and uid else None


def _only(extra: Mapping[str, Any], key: str) -> str:
    match extra.get(key):
        case [str(value)]:
            return value
    return ""


_Value = TypeVar("_Value")


class _Memory(Generic[_Value]):
    """Keeps values for a time, and the newest only.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, _Value]] = OrderedDict()

    def find(self, digest: bytes, now: float) -> _Value | None:
        """Returns what is still kept."""
        until, value = self._kept.get(digest, (now, None))
        return value if now < until else None

    def keep(self, digest: bytes, value: _Value, now: float) -> None:
        """Keeps a value; the oldest goes when there are too many."""
        self._kept[digest] = (now + self._seconds, value)
        self._kept.move_to_end(digest)
        if len(self._kept) > MOST_REMEMBERED:
            self._kept.popitem(last=False)
