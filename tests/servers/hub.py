"""A small hub on loopback: what huggingface_hub asks for, answered as the real one does.

Repositories with commits and branches, private and gated ones; large files come from another path,
as from the real hub's store. Listings have pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_BYTES = 10_000
"""From here on a file is large."""
_PAGE = 3
_PREFIXES = {"datasets": "dataset", "models": "model"}


@dataclass(frozen=True)
class Refusal:
    """An answer other than what was asked for."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of a file."""

    after_bytes: int


@dataclass(frozen=True)
class Other:
    """Another content of the same size."""


Trouble = Refusal | Cut | Other


@dataclass
class Repository:
    """A model or a data set.

    Args:
        commits: Files by path, by commit.
        branches: The commit of each.
        private: Only known tokens see it.
        gated: Only known tokens read its files.
        disabled: Nobody reads it.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    disabled: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Adds a commit to a branch, and returns its name."""
        content = json.dumps({path: blob.hex() for path, blob in files.items()})
        name = hashlib.sha1(f"{len(self.commits)}{content}".encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Hub:
    """A running hub.

    Args:
        url: Its address.
        repositories: By kind and name.
        rights: The repositories that a token's account may see; a key is a valid token.
        troubles: What happens to the next requests whose path holds the key.
        requests: Method and path of each.
        gone: Connections are closed without an answer.
    """

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    rights: dict[str, set[str]] = field(default_factory=dict)
    troubles: dict[str, deque[Trouble]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    gone: bool = False

    def add(self, name: str, files: dict[str, bytes], kind: str = "model") -> Repository:
        """Puts a repository there, with one commit."""
        repository = self.repositories.setdefault((kind, name), Repository())
        repository.commit(files)
        return repository

    def fetched(self) -> Counter[str]:
        """Returns how often each file's content was asked for."""
        return Counter(
            path.partition(mark)[2].partition("/")[2]
            for method, path in self.requests
            for mark in ("/resolve/", "/large/")
            if method == "GET" and mark in path
        )

    def asked(self) -> int:
        """Returns how many requests came."""
        return len(self.requests)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Runs a hub on a free port."""
    hub = Hub()
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})) as http:
        hub.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.hub.gone:
            self.close_connection = True
            return
        self.hub.requests.append((self.command, self.path))
        trouble = self._trouble()
        with contextlib.suppress(OSError):
            try:
                if isinstance(trouble, Refusal):
                    raise _Refused(trouble)
                self._route(trouble)
            except _Refused as refused:
                self._refuse(refused.refusal)

    def _trouble(self) -> Trouble | None:
        for part, waiting in self.hub.troubles.items():
            if part in f"{self.command} {self.path}" and waiting:
                return waiting.popleft()
        return None

    def _route(self, trouble: Trouble | None) -> None:
        parts = urlsplit(self.path)
        steps = parts.path.lstrip("/").split("/")
        if steps[0] == "large":
            assert self._token() is None
            self._send_file(self._large(steps[1]), {}, trouble)
        elif steps[0] == "api":
            self._api(_PREFIXES[steps[1]], steps[2:], parse_qs(parts.query))
        else:
            kind = _PREFIXES.get(steps[0], "model")
            rest = steps[1:] if steps[0] in _PREFIXES else steps
            place = rest.index("resolve")
            name, revision = "/".join(rest[:place]), unquote(rest[place + 1])
            path = unquote("/".join(rest[place + 2 :]))
            self._resolve(self._repository(kind, name), name, revision, path, trouble)

    def _api(self, kind: str, steps: list[str], query: dict[str, list[str]]) -> None:
        marks = [place for place, step in enumerate(steps) if step in ("revision", "tree")]
        place = marks[0] if marks else len(steps)
        name = "/".join(steps[:place])
        repository = self._repository(kind, name)
        revision = unquote(steps[place + 1]) if marks else "main"
        commit = self._commit(repository, revision)
        if steps[place : place + 1] == ["tree"]:
            self._list(repository.commits[commit], int(query.get("cursor", ["0"])[0]))
        else:
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            self._send_json({"id": name, "sha": commit, "siblings": siblings}, {})

    def _list(self, files: dict[str, bytes], start: int) -> None:
        entries = [_listed(path, content) for path, content in sorted(files.items())]
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries += [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
        headers = {}
        if start + _PAGE < len(entries):
            here = self.path.partition("?")[0]
            link = f"{self.hub.url}{here}?recursive=True&cursor={start + _PAGE}"
            headers["Link"] = f'<{link}>; rel="next"'
        self._send_json(entries[start : start + _PAGE], headers)

    def _resolve(
        self,
        repository: Repository,
        name: str,
        revision: str,
        path: str,
        trouble: Trouble | None,
    ) -> None:
        if repository.gated and name not in self._rights():
            status = 403 if self._token() else 401
            raise _Refused(Refusal(status, "GatedRepo", f"Access to {name} is restricted."))
        commit = self._commit(repository, revision)
        content = repository.commits[commit].get(path)
        if content is None:
            raise _Refused(Refusal(404, "EntryNotFound", "Entry not found"))
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_git_digest(content)}"'}
        if len(content) < LARGE_BYTES:
            self._send_file(content, headers, trouble)
            return
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # Another origin, as the real store is: credentials do not follow.
        store = self.hub.url.replace("127.0.0.1", "localhost")
        self._send(302, b"", {**headers, "Location": f"{store}/large/{digest}/{path}"})

    def _large(self, digest: str) -> bytes:
        return next(
            content
            for repository in self.hub.repositories.values()
            for files in repository.commits.values()
            for content in files.values()
            if hashlib.sha256(content).hexdigest() == digest
        )

    def _repository(self, kind: str, name: str) -> Repository:
        repository = self.hub.repositories.get((kind, name))
        token = self._token()
        if token is not None and token not in self.hub.rights:
            raise _Refused(Refusal(401, "", "Invalid credentials in Authorization header"))
        hidden = repository is None or (repository.private and name not in self._rights())
        if repository is None or hidden:
            status = 401 if token is None else 404
            raise _Refused(Refusal(status, "RepoNotFound", "Repository not found"))
        if repository.disabled:
            raise _Refused(Refusal(403, "", "Access to this resource is disabled."))
        return repository

    def _commit(self, repository: Repository, revision: str) -> str:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise _Refused(Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}"))
        return commit

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _rights(self) -> set[str]:
        return self.hub.rights.get(self._token() or "", set())

    def _refuse(self, refusal: Refusal) -> None:
        headers = dict(refusal.headers)
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        if refusal.message:
            headers["X-Error-Message"] = refusal.message
        self._send(refusal.status, refusal.body, headers)

    def _send_json(self, content: Any, headers: Mapping[str, str]) -> None:
        body = json.dumps(content).encode()
        self._send(200, body, {"Content-Type": "application/json", **headers})

    def _send_file(
        self, content: bytes, headers: Mapping[str, str], trouble: Trouble | None
    ) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if start:
            spans = f"bytes {start}-{len(content) - 1}/{len(content)}"
            headers = {**headers, "Content-Range": spans}
        body = content[start:]
        if isinstance(trouble, Other):
            body = bytes(255 - byte for byte in body)
        end = trouble.after_bytes if isinstance(trouble, Cut) else None
        self._send(206 if start else 200, body, headers, end)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str], end: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.close_connection = end is not None
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:end])

    def log_message(self, *_: object) -> None:
        pass


def _listed(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _git_digest(content)}
    if len(content) >= LARGE_BYTES:
        digest = hashlib.sha256(content).hexdigest()
        entry |= {
            "oid": "f" * 40,  # of the pointer that stands for it
            "lfs": {"oid": digest, "size": len(content), "pointerSize": 134},
        }
    return entry


def _git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
