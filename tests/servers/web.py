"""A web server with TLS on loopback, whose pages can be made to fail, and a proxy before it."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "localhost"


@dataclass(frozen=True)
class Status:
    """An answer of that status, without a body."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class Silence:
    """Nothing is said after so many bytes of the body, until the client has gone."""

    after_bytes: int


@dataclass(frozen=True)
class Change:
    """From here on there is something else."""

    content: bytes
    etag: str


Trouble = Status | Cut | Silence | Change


@dataclass
class Page:
    """What is at one path.

    Args:
        content: The body.
        etag: Of the content.
        modified: Its date.
        headers: Further ones.
        ranges: Parts of it can be asked for.
        length: Its length is said.
        credentials: ``user:password`` that it asks for.
        troubles: What happens to the next requests, one each.
    """

    content: bytes = b""
    etag: str | None = None
    modified: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True
    credentials: str | None = None
    troubles: deque[Trouble] = field(default_factory=deque)


@dataclass(frozen=True)
class Request:
    """A request that came."""

    path: str
    headers: Mapping[str, str]


@dataclass
class WebServer:
    """A running server.

    Args:
        authority: The PEM file of who has signed its certificate.
        port: Where it listens.
        pages: By path, with the query.
        requests: In the order in which they came.
        sent: Bytes of bodies.
    """

    authority: Path
    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sent: int = 0

    def url(self, path: str) -> str:
        return f"https://{HOST}:{self.port}{path}"

    def add(self, path: str, page: Page) -> str:
        """Puts a page there, and returns its address."""
        self.pages[path] = page
        return self.url(path)

    def asked(self, path: str) -> list[Request]:
        """Returns the requests for a path."""
        return [request for request in self.requests if request.path == path]


@contextmanager
def web_server(folder: Path, *, encrypted: bool = True) -> Iterator[WebServer]:
    """Runs a server on a free port, with a certificate that only its own authority vouches for."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    server = WebServer(folder / "authority.pem")
    with _Server((HOST, 0), _handler(server)) as http:
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(HOST).configure_cert(context)
            http.socket = context.wrap_socket(
                http.socket, server_side=True, do_handshake_on_connect=False
            )
        server.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # clients go away, and refuse certificates


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"web": server})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer

    def do_GET(self) -> None:
        self.web.requests.append(Request(self.path, dict(self.headers)))
        page = self.web.pages.get(self.path)
        trouble = page.troubles.popleft() if page and page.troubles else None
        with contextlib.suppress(OSError):
            if page is not None and isinstance(trouble, Change):
                page.content, page.etag = trouble.content, trouble.etag
            if page is None:
                self._answer(Status(404))
            elif isinstance(trouble, Status):
                self._answer(trouble)
            elif (status := self._without_body(page)) is not None:
                self._answer(status)
            else:
                self._give(page, trouble if isinstance(trouble, Cut | Silence) else None)

    def _without_body(self, page: Page) -> Status | None:
        if page.credentials is not None:
            expected = base64.b64encode(page.credentials.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                return Status(401, {"WWW-Authenticate": "Basic"})
        known = (("If-None-Match", page.etag), ("If-Modified-Since", page.modified))
        unchanged = any(value and self.headers.get(name) == value for name, value in known)
        return Status(304) if unchanged else None

    def _answer(self, status: Status) -> None:
        self.send_response(status.code)
        for name, value in status.headers.items():
            self.send_header(name, value)
        if status.code != 304:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, page: Page, trouble: Cut | Silence | None) -> None:
        start = self._start(page)
        body, whole = page.content[start:], len(page.content)
        self.send_response(206 if start else 200)
        headers = {"ETag": page.etag, "Last-Modified": page.modified, **page.headers}
        if start:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        if page.length:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.close_connection = trouble is not None or not page.length
        self.end_headers()
        part = body if trouble is None else body[: trouble.after_bytes]
        self.wfile.write(part)
        self.web.sent += len(part)
        if isinstance(trouble, Silence):
            self.rfile.read(1)  # ends when the client gives up

    def _start(self, page: Page) -> int:
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range") in (page.etag or page.modified, None)
        if not asked or not page.ranges or not same:
            return 0
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Proxy:
    """A running proxy.

    Args:
        url: Its address.
        tunnels: Where it was asked to lead.
        refuses: Every tunnel is refused.
    """

    url: str = ""
    tunnels: list[str] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def connect_proxy() -> Iterator[Proxy]:
    """Runs a proxy that only tunnels (``CONNECT``)."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            proxy.tunnels.append(self.path)
            if proxy.refuses:
                self.send_error(407)
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as far:
                self.send_response(200)
                self.end_headers()
                _relay(self.connection, far)

        def log_message(self, *_: object) -> None:
            pass

    with _Server((HOST, 0), Handler) as http:
        proxy.url = f"http://{HOST}:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            http.shutdown()
            thread.join()


def _relay(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    with contextlib.suppress(OSError):
        while True:
            for side in select.select(list(other), [], [], 10)[0]:
                data = side.recv(1 << 16)
                if not data:
                    return
                other[side].sendall(data)
