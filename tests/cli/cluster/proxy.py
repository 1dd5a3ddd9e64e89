"""A way to an API server that a test can cut and mend: bytes are passed on as they are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.servers.processes import free_port

_LOOPBACK = "127.0.0.1"
_PART = 65_536


class Proxy:
    """Passes connections on to a server.

    Args:
        server: The server's address, such as ``https://127.0.0.1:6443``.
    """

    def __init__(self, server: str) -> None:
        target = urlsplit(server)
        self._target = (str(target.hostname), int(target.port or 443))
        self._port = free_port()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.accepted = 0

    @property
    def address(self) -> str:
        """What takes the server's place in a kubeconfig."""
        return f"https://{_LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Lets connections through from now on."""
        listener = socket.create_server((_LOOPBACK, self._port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Cuts every connection, and refuses new ones."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Cuts every connection that is open."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(_PART):
            sink.sendall(part)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(server: str) -> Iterator[Proxy]:
    """Yields a running proxy to a server."""
    proxy = Proxy(server)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
