"""What can go wrong between a client and a store, and when it does."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape

from tests.servers.http_messages import Request


@dataclass(frozen=True)
class Reply:
    """The proxy answers by itself; the server never sees the call."""

    status: int
    body: bytes = b""
    content_type: str = "application/xml"


@dataclass(frozen=True)
class Reset:
    """The connection breaks: before the server is asked, or after it has done what was asked."""

    after: bool = False


@dataclass(frozen=True)
class Truncation:
    """Half of the answer's body arrives, then the connection ends in good order."""


@dataclass(frozen=True)
class Stall:
    """Half of the answer's body arrives, then nothing for so many seconds, then it breaks."""

    seconds: float


@dataclass(frozen=True)
class Delay:
    """The call waits for so many seconds, and then goes well."""

    seconds: float


@dataclass(frozen=True)
class FlippedBit:
    """One bit in the middle of the body differs on arrival, of the request or of the answer."""

    of_request: bool = False


Fault = Reply | Reset | Truncation | Stall | Delay | FlippedBit


def refusal(status: int, code: str, message: str = "refused by the proxy") -> Reply:
    """Returns an error as S3 words it."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>"
        "<RequestId>0123456789ABCDEF</RequestId></Error>"
    )
    return Reply(status, body.encode())


INTERNAL_ERROR = refusal(500, "InternalError", "We encountered an internal error.")
SLOW_DOWN = refusal(503, "SlowDown", "Please reduce your request rate.")
ACCESS_DENIED = refusal(403, "AccessDenied", "Access Denied")

PASSING: tuple[Fault, ...] = (
    Reset(),
    Reset(after=True),
    INTERNAL_ERROR,
    SLOW_DOWN,
    Truncation(),
    Stall(0.3),
    Delay(0.1),
)
"""What happens to every store now and then, and is to be got over."""


@dataclass
class Rule:
    """Which calls meet which faults.

    Args:
        faults: One of them, chosen by chance.
        share: Of the calls that fit.
        operations: Names of calls, such as ``PutObject``; all by default.
        key: Pattern of the keys, as file names have it.
        times: How often at most; None for no limit.
    """

    faults: Sequence[Fault]
    share: float = 1.0
    operations: Sequence[str] = ()
    key: str = "*"
    times: int | None = None

    def fits(self, request: Request) -> bool:
        """Returns whether the call is one of those that may meet a fault."""
        return (
            self.times != 0
            and (not self.operations or request.operation in self.operations)
            and fnmatchcase(request.key, self.key)
        )


@dataclass
class Schedule:
    """The rules in force, the first that fits and fires deciding; may be changed at any time.

    Args:
        seed: Of the chances.
    """

    seed: int = 0
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._lock = threading.Lock()

    def seed_with(self, seed: int) -> None:
        """Starts the chances afresh."""
        with self._lock:
            self._chance = random.Random(seed)

    def set(self, *rules: Rule) -> None:
        """Puts these rules in the place of those before."""
        with self._lock:
            self.rules = list(rules)

    def fault_for(self, request: Request) -> Fault | None:
        """Returns what the call meets."""
        with self._lock:
            for rule in self.rules:
                if rule.fits(request) and self._chance.random() < rule.share:
                    if rule.times is not None:
                        rule.times -= 1
                    return self._chance.choice(rule.faults)
        return None
