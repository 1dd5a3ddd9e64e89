"""Posts progress to the operator's endpoint, beside the work and never in its way.

A thread of its own sends the newest report there is; what came before it is dropped. Whatever goes
wrong there, the stage goes on: it is told once, and tried again less often.

The client is the standard library's: the endpoint is inside the cluster, so neither proxies nor
the machine's authorities have a say.
"""

from __future__ import annotations

import http.client
import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from sparse_transfer_api.contract import (
    ENV_PROGRESS_CA,
    ENV_PROGRESS_TOKEN,
    ENV_PROGRESS_URL,
    PROGRESS_TOKEN,
    progress_path,
)
from sparse_transfer_api.records import Progress
from sparse_transfer_api.spec.experiment import Metadata

_LOG = logging.getLogger(__name__)
_ANSWER_BYTES = 1024


@dataclass(frozen=True)
class Pace:
    """How often is posted, and how long anything may take; all in seconds.

    Args:
        interval: Between two posts while an activity goes on.
        shortest: Between two posts where activities begin and end; and after a failure, such as
            of a replica that does not lead: the next try may meet another one.
        longest: Between two tries while posts fail, each failure doubling the time.
        silence: Of the endpoint, at any step of a post.
        closing: To send the last report when the stage is over.
    """

    interval: float = 10
    shortest: float = 1
    longest: float = 60
    silence: float = 3
    closing: float = 2


class PostFailed(Exception):
    """A report was not taken.

    Args:
        message: What happened.
        wait_seconds: What the endpoint asks for.
    """

    def __init__(self, message: str, wait_seconds: float = 0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Destination:
    """Where reports go.

    Args:
        url: The endpoint's address, ``https://HOST:PORT``.
        path: Below it.
        trust: A context that trusts the endpoint's authority, and no other.
        token: File with this pod's token, which the kubelet renews.
        silence: Seconds without a sign of life.
    """

    url: SplitResult
    path: str
    trust: ssl.SSLContext
    token: Path
    silence: float

    def post(self, progress: Progress) -> None:
        """Sends a report.

        Raises:
            PostFailed: It was not taken.
        """
        body = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
        connection = http.client.HTTPSConnection(
            self.url.hostname or "", self.url.port, timeout=self.silence, context=self.trust
        )
        try:
            token = self.token.read_text("ascii").strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", self.url.path.rstrip("/") + self.path, body, headers)
            answer = connection.getresponse()
            said = answer.read(_ANSWER_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PostFailed(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise PostFailed(f"{answer.status} {said}", _seconds(answer.getheader("Retry-After")))


class ProgressPoster:
    """Posts the newest report, from a thread of its own.

    Args:
        post: Sends a report.
        pace: How often.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        post: Callable[[Progress], None],
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._post = post
        self._pace = pace
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: Progress | None = None
        self._urgent = False
        self._posted = float("-inf")
        self._failures = 0
        self._not_before = float("-inf")
        self._until: float | None = None
        # A post may hang for longer than the stage wants to wait for it.
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
        self._thread.start()

    def __call__(self, progress: Progress) -> None:
        """Takes in a report; returns at once."""
        with self._changed:
            self._newest = progress
            self._urgent = self._urgent or _is_milestone(progress)
            self._changed.notify()

    def close(self) -> None:
        """Sends what is left, within a bounded time."""
        with self._changed:
            self._until = self._clock() + self._pace.closing
            self._changed.notify()
        self._thread.join(self._pace.closing)

    def _work(self) -> None:
        while (progress := self._next()) is not None:
            try:
                self._post(progress)
            except PostFailed as error:
                self._fail(progress, error)
            else:
                self._failures = 0

    def _next(self) -> Progress | None:
        """Waits until there is something to post; returns None when there will not be."""
        with self._changed:
            while (wait := self._wait()) > 0:
                if self._until is not None and self._clock() + wait > self._until:
                    return None
                self._changed.wait(None if wait == float("inf") else wait)
            progress, self._newest, self._urgent = self._newest, None, False
            self._posted = self._clock()
            return progress

    def _wait(self) -> float:
        """Returns after how many seconds there is something to post."""
        if self._newest is None:
            return float("inf")
        due = self._not_before
        if self._until is None:
            apart = self._pace.shortest if self._urgent or self._failures else self._pace.interval
            due = max(due, self._posted + apart)
        return due - self._clock()

    def _fail(self, progress: Progress, error: PostFailed) -> None:
        level = logging.DEBUG if self._failures else logging.WARNING
        _LOG.log(level, "progress could not be posted, which the stage does not mind: %s", error)
        pause = max(self._pace.shortest * 2**self._failures, error.wait_seconds)
        with self._changed:
            self._failures += 1
            self._not_before = self._clock() + min(pause, self._pace.longest)
            self._newest = self._newest or progress


@contextmanager
def posting(
    environment: Mapping[str, str], experiment: Metadata, pace: Pace | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Gives a sink for progress, which is sent until the block ends and a little longer.

    Args:
        environment: With the endpoint's address and authority; nothing is sent without them.
        experiment: Whose progress it is.
        pace: How often.
    """
    pace = pace or Pace()
    destination = _destination(environment, experiment, pace)
    if destination is None:
        yield lambda _: None
        return
    poster = ProgressPoster(destination.post, pace)
    try:
        yield poster
    finally:
        poster.close()


def _destination(
    environment: Mapping[str, str], experiment: Metadata, pace: Pace
) -> Destination | None:
    url, authority = environment.get(ENV_PROGRESS_URL), environment.get(ENV_PROGRESS_CA)
    if not url or not authority:
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.port == 0:
            raise ValueError("not an https:// address")
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        trust.load_verify_locations(cadata=authority)
    except (OSError, ValueError) as error:
        _LOG.warning(
            "%s or %s cannot be used, progress is not posted: %s",
            *(ENV_PROGRESS_URL, ENV_PROGRESS_CA, error),
        )
        return None
    token = Path(environment.get(ENV_PROGRESS_TOKEN, PROGRESS_TOKEN))
    path = progress_path(experiment.namespace, experiment.name)
    return Destination(parts, path, trust, token, pace.silence)


def _is_milestone(progress: Progress) -> bool:
    """Tells whether an activity begins or ends with a report."""
    return progress.step in (None, 0, progress.total_steps)


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:  # a date is allowed, and not worth reading
        return 0
    return seconds if math.isfinite(seconds) else 0
