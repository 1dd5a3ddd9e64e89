"""One file from a web server to the disk, in spite of broken connections.

A broken transfer goes on where it stopped, when the server can say that it is still the same
version (``Range`` with ``If-Range``), else from the beginning. Memory is bounded by
what the client reads at once, some kilobytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from sparse_transfer_api.errors import Transient

from ..connections import Passing, Patience, transport_problem
from .answers import Version, require_success

_UNSATISFIABLE = 416
_EXPECTED = {"If-None-Match": 304, "If-Modified-Since": 304, "Range": _UNSATISFIABLE}
"""Answers without a body that a header may lead to."""


@dataclass(frozen=True)
class Transfer:
    """What is needed to ask for one file.

    Args:
        client: Follows redirects.
        url: Without credentials.
        title: The address for messages.
        credentials: User and password, for the address's own host.
        patience: With the server.
        raise_if_stopped: Called between chunks.
    """

    client: httpx2.Client
    url: str
    title: str
    credentials: tuple[str, str] | None
    patience: Patience
    raise_if_stopped: Callable[[], None]

    @contextmanager
    def opened(self, unlike: Version | None = None) -> Iterator[httpx2.Response]:
        """Yields the answer to a request for the file, its body still to be read.

        Args:
            unlike: A version that is not wanted: the answer may be 304.

        Raises:
            AccessError: It may not be read, or the server is not trusted.
            Transient: The server did not answer in spite of retries.
        """
        conditions = unlike.conditions() if unlike is not None else {}
        answer = self.patience.insist(lambda: self._asked(conditions), self.raise_if_stopped)
        try:
            yield answer
        finally:
            answer.close()

    def save(self, answer: httpx2.Response, version: Version, file: Path) -> None:
        """Writes the body of an answer to a file, with further requests where it breaks off.

        Raises:
            AccessError: It may no longer be read.
            Transient: It breaks off again and again, changes meanwhile, or the disk is full.
        """
        free = shutil.disk_usage(file.parent).free
        if (version.size_bytes or 0) > free:
            raise Transient(
                f"{file.parent}: no space for {self.title} ({version.size_bytes} bytes, {free} "
                "free); free some, or choose another cache (spec.storage.cache)"
            )
        file.touch()
        first = [answer]

        def attempt() -> None:
            if first:
                self._append(first.pop(), version, file)
                return
            more = self._continued(version, file)
            try:
                self._append(more, version, file)
            finally:
                more.close()

        self.patience.insist(attempt, self.raise_if_stopped, lambda: file.stat().st_size)

    def _continued(self, version: Version, file: Path) -> httpx2.Response:
        """Returns an answer whose body goes on where the file ends."""
        offset = file.stat().st_size
        headers = {}
        if offset and version.strong is not None:
            headers = {"Range": f"bytes={offset}-", "If-Range": version.strong}
        answer = self._asked(headers)
        try:
            if answer.status_code == _UNSATISFIABLE or not headers:
                _cut(file)
            if answer.status_code == _UNSATISFIABLE:
                raise Passing(f"{self.title}: the server cannot go on with it")
            if answer.status_code == 206:
                self._require_rest(answer, offset, version)
            else:
                _cut(file)
                self._require_same(answer, version)
        except BaseException:
            answer.close()
            raise
        return answer

    def _asked(self, headers: Mapping[str, str]) -> httpx2.Response:
        request = self.client.build_request(
            "GET", self.url, headers={"Accept-Encoding": "identity", **headers}
        )
        auth = httpx2.BasicAuth(*self.credentials) if self.credentials else None
        try:
            answer = self.client.send(request, stream=True, auth=auth)
        except httpx2.RequestError as error:
            raise transport_problem(self.title, error) from error
        expected = _EXPECTED.keys() & headers.keys()
        if answer.status_code in {_EXPECTED[name] for name in expected}:
            return answer
        try:
            require_success(self.title, answer, part="Range" in headers)
        except BaseException:
            answer.close()
            raise
        return answer

    def _append(self, answer: httpx2.Response, version: Version, file: Path) -> None:
        try:
            with file.open("ab") as target:
                # As the bytes come: chunks of a size of ours would be lost with the connection.
                for chunk in answer.iter_raw():
                    self.raise_if_stopped()
                    target.write(chunk)
        except httpx2.RequestError as error:
            raise transport_problem(self.title, error) from error
        size = file.stat().st_size
        if version.size_bytes not in (None, size):
            raise Passing(
                f"{self.title}: {size} of {version.size_bytes} bytes arrived, in spite of retries"
            )

    def _require_rest(self, answer: httpx2.Response, offset: int, version: Version) -> None:
        span = answer.headers.get("Content-Range", "")
        total = "*" if version.size_bytes is None else str(version.size_bytes)
        if not span.startswith(f"bytes {offset}-") or span.rpartition("/")[2] not in (total, "*"):
            raise Transient(f"{self.title}: the server sends another part than was asked for")

    def _require_same(self, answer: httpx2.Response, version: Version) -> None:
        if Version.of(answer).state != version.state:
            raise Transient(f"{self.title}: changed while it was fetched; fetch it again")


def _cut(file: Path) -> None:
    file.write_bytes(b"")
