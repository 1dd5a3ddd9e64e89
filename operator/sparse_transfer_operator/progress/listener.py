"""Connections of strangers: how many, how long, and with which certificate.

The accept loop is our own, since a server of asyncio or aiohttp limits neither connections nor
those that never say anything. Every limit holds from the first packet on, the handshake included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from .server import Refusal

_LOG = logging.getLogger(__name__)
_BACKLOG = 128
_ACCEPT_AGAIN_SECONDS = 0.5
_SHUTDOWN_SECONDS = 1.0
_LINE_BYTES = 2048
_HEADER_BYTES = 8192
_HEADERS = 32

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Args:
        connections: At once; each takes about 300 KiB, most of it the buffer of TLS.
        per_address: At once of one address, which may be a node's with all its pods.
        handshake_seconds: Until both sides have agreed on keys.
        seconds: From the handshake on, whatever is said.
        linger_seconds: In which the rest of a refused body is thrown away, so that its sender
            reads why; part of ``seconds``.
    """

    connections: int = 256
    per_address: int = 32
    handshake_seconds: float = 5
    seconds: float = 15
    linger_seconds: float = 2


class Listener:
    """A TLS server for one request in each connection.

    Args:
        answer: Answers a request; raises nothing.
        context: Returns what new connections show; asked at each.
        limits: What connections may take.
    """

    def __init__(
        self,
        answer: Answer,
        context: Callable[[], ssl.SSLContext],
        limits: Limits | None = None,
    ) -> None:
        self._answer = answer
        self._context = context
        self._limits = limits or Limits()
        self._addresses: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, listening: socket.socket) -> None:
        """Serves until it is cancelled; then all connections end at once.

        Args:
            listening: Such as ``listening_socket`` returns; it is closed in the end.
        """
        manager = web.Server(self._answer)
        try:
            while True:
                connection, peer = await _accepted(listening)
                address = str(peer[0])
                if self._is_full(address):
                    connection.close()
                    continue
                self._addresses[address] += 1
                task = asyncio.create_task(self._serve(connection, manager))
                self._tasks.add(task)
                task.add_done_callback(partial(self._ended, address))
        finally:
            listening.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_full(self, address: str) -> bool:
        return (
            len(self._tasks) >= self._limits.connections
            or self._addresses[address] >= self._limits.per_address
        )

    def _ended(self, address: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    async def _serve(self, connection: socket.socket, manager: web.Server) -> None:
        """Serves one connection, from its handshake to its end."""
        loop = asyncio.get_running_loop()
        protocol = _Connection(manager, loop, self._limits)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except OSError as error:  # of TLS as well: plain HTTP, an old version, or silence
            _LOG.debug("no handshake: %r", error)
            return
        try:
            async with asyncio.timeout(self._limits.seconds):
                await protocol.ended.wait()
        except TimeoutError:
            _LOG.debug("a connection took too long")
        finally:
            # Of a connection that has ended, a transport of TLS knows nothing any more.
            if not protocol.ended.is_set():
                transport.abort()


class _Connection(web.RequestHandler):
    """HTTP on one connection, whose own refusals look like ours."""

    def __init__(
        self, manager: web.Server, loop: asyncio.AbstractEventLoop, limits: Limits
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # as its own AppRunner passes it
            auto_decompress=False,
            lingering_time=limits.linger_seconds,
            max_line_size=_LINE_BYTES,
            max_field_size=_HEADER_BYTES,
            max_headers=_HEADERS,
        )
        self.ended = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.ended.set()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # aiohttp's would log a traceback for each line of garbage, and repeat the line.
        _LOG.debug("no HTTP request from %s: %r", request.remote, exc)
        return Refusal(400, "not a request").response


def listening_socket(address: str | None, port: int) -> socket.socket:
    """Returns a socket that listens.

    Args:
        address: Of an interface; None for all of them, those of IPv6 included where there are any.
        port: The port.

    Raises:
        OSError: It is taken, or may not be used.
    """
    if address is None and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # built with IPv6, but the machine has none
            return _listening(("", port), socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in (address or "") else socket.AF_INET
    return _listening((address or "", port), family)


def _listening(
    address: tuple[str, int], family: socket.AddressFamily, *, dualstack_ipv6: bool = False
) -> socket.socket:
    listening = socket.create_server(
        address, family=family, backlog=_BACKLOG, dualstack_ipv6=dualstack_ipv6
    )
    listening.setblocking(False)
    return listening


async def _accepted(listening: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
    """Waits for the next connection."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, peer = await loop.sock_accept(listening)
        except ConnectionError:
            continue  # whoever it was has gone
        except OSError as error:
            _LOG.warning("no connection can be accepted just now: %s", error)
            await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
            continue
        return connection, (str(peer[0]), int(peer[1]))
