"""A small HTTP server of files that counts its calls, and can be made to stop half-way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_WAIT_SECONDS = 30


@dataclass
class FileServer:
    """A running server.

    Args:
        files: Content by path, such as ``/a``.
        url: Its address, without a slash at the end.
        calls: How often each path was asked for.
        half_way: Set as soon as half of an answer was sent that waits for ``go_on``.
        go_on: Answers stop half-way until it is set.
    """

    files: Mapping[str, bytes]
    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    half_way: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[FileServer]:
    """Serves files on a free port of loopback, without stops at first."""
    server = FileServer(files)
    server.go_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.calls[self.path] += 1
            content = server.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2
            try:
                self.wfile.write(content[:half])
                self.wfile.flush()
                server.half_way.set()
                assert server.go_on.wait(_WAIT_SECONDS)
                self.wfile.write(content[half:])
            except OSError:
                pass  # the client was killed

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            http.shutdown()
            thread.join()
