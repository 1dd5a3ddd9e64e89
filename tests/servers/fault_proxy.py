"""A proxy before an S3 server that passes bytes unchanged, except where a fault is due.

Heads and bodies go through as they came (signatures cover them), answers as well. It runs in a
thread of the test and can be told at any time what to do next. As the forward proxy of a client it
sends every call to the same server, whatever its name, and tunnels ``CONNECT``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from tests.servers.faults import Delay, Fault, FlippedBit, Reply, Reset, Schedule, Stall, Truncation
from tests.servers.http_messages import BLOCK_BYTES, Answer, Head, Request, blocks, read_head
from tests.servers.processes import wait_until

_HEAD_LIMIT = 1 << 20
_GRACE_SECONDS = 0.1
"""For the rest of a body that the server answers before it has taken all of it."""

Rewrite = Callable[[Request], Request | Reply]
"""Changes a request before it is forwarded, or answers it."""
Retelling = Callable[[Answer], Answer]
"""Changes the head of the server's answer before it is passed on."""


@dataclass
class Call:
    """A call that came to the proxy.

    Args:
        request: Its head.
        fault: What it met.
        status: Of the server's answer or the proxy's; None where there was none.
    """

    request: Request
    fault: Fault | None
    status: int | None = None

    @property
    def operation(self) -> str:
        """S3's name of it."""
        return self.request.operation


class _Broken(Exception):
    """The connection is to end here, with a reset or in good order."""

    def __init__(self, *, hard: bool) -> None:
        self.hard = hard


@dataclass
class FaultProxy:
    """A running proxy.

    Args:
        upstream: The server's address.
        schedule: What goes wrong, and when.
        rewrite: Applied to each request before anything else.
        retelling: Applied to each answer of the server before anything else.
    """

    upstream: str
    schedule: Schedule = field(default_factory=Schedule)
    rewrite: Rewrite | None = None
    retelling: Retelling | None = None
    endpoint: str = ""
    calls: list[Call] = field(default_factory=list, repr=False)
    _tasks: set[asyncio.Task[None] | None] = field(default_factory=set, repr=False)

    def count(self, operation: str) -> int:
        """Returns how many calls of that name came."""
        return sum(call.operation == operation for call in tuple(self.calls))

    def faulted(self) -> int:
        """Returns how many calls met a fault."""
        return sum(call.fault is not None for call in tuple(self.calls))

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Serves until told to stop."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        port = server.sockets[0].getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        started.set()
        try:
            await stop.wait()
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.upstream)
        hard = False
        # Nobody else holds on to the task of a connection once that has ended.
        self._tasks.add(asyncio.current_task())
        try:
            async with _connection(parts.hostname or "", parts.port or 80) as server:
                while (raw := await read_head(reader)) is not None:
                    if not await self._exchange(Request(raw), (reader, writer), server):
                        break
        except _Broken as broken:
            hard = broken.hard
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            hard = True  # when cancelled, at the proxy's end, nobody waits for this task any more
        finally:
            await _close(writer, hard=hard)
            self._tasks.discard(asyncio.current_task())

    async def _exchange(self, request: Request, client: _Streams, server: _Streams) -> bool:
        """Passes one call on and its answer back; returns whether the connection may go on."""
        rewritten = self.rewrite(request) if self.rewrite else request
        fault = rewritten if isinstance(rewritten, Reply) else self.schedule.fault_for(request)
        # Recorded before the client sees anything, who may look at the records right after.
        call = Call(request, fault)
        self.calls.append(call)
        if request.method == "CONNECT":
            await _tunnel(client, server)
            return False
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if fault == Reset():
            raise _Broken(hard=True)
        if isinstance(fault, Reply):
            call.status = fault.status
            return await _reply(request, fault, client)
        assert isinstance(rewritten, Request)
        server[1].write(rewritten.forwarded())
        flipped = isinstance(fault, FlippedBit) and fault.of_request
        sending = asyncio.create_task(_pass_on(client[0], rewritten, server[1], flipped))
        try:
            answer = await _answer(server[0], client[1])
            call.status = answer.status
            if self.retelling is not None:
                answer = self.retelling(answer)
            await _give_back(request, answer, fault, client[1], server[0])
        finally:
            going_on = await _settled(sending)
        return going_on and "close" not in answer.headers.get("connection", "")


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _answer(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> Answer:
    """Returns the head of the server's answer, after passing on what comes before it."""
    while (raw := await read_head(server)) is not None:
        answer = Answer(raw)
        if answer.status >= HTTPStatus.OK:
            return answer
        client.write(raw)  # 100 Continue
    raise _Broken(hard=True)


async def _settled(sending: asyncio.Task[None]) -> bool:
    """Returns whether all of a request's body was taken, once its answer has come."""
    await asyncio.wait({sending}, timeout=_GRACE_SECONDS)
    if not sending.done():
        sending.cancel()
        await asyncio.wait({sending})
    return not sending.cancelled() and sending.exception() is None


async def _pass_on(
    source: asyncio.StreamReader, head: Head, target: asyncio.StreamWriter, flipped: bool
) -> None:
    sent, middle = 0, (head.length or BLOCK_BYTES) // 2
    async with aclosing(blocks(source, head)) as body:
        async for block in body:
            if flipped and sent <= middle < sent + len(block):
                block = _with_flipped_bit(block, middle - sent)
            target.write(block)
            await target.drain()
            sent += len(block)


def _with_flipped_bit(block: bytes, position: int) -> bytes:
    return block[:position] + bytes([block[position] ^ 1]) + block[position + 1 :]


async def _give_back(
    request: Request,
    answer: Answer,
    fault: Fault | None,
    client: asyncio.StreamWriter,
    server: asyncio.StreamReader,
) -> None:
    if not answer.has_body(request.method) or answer.length == 0:
        if isinstance(fault, Reset | Truncation | Stall):
            raise _Broken(hard=True)
        client.write(answer.raw)
        await client.drain()
        return
    if fault == Reset(after=True):
        raise _Broken(hard=True)
    client.write(answer.raw)
    if isinstance(fault, Truncation | Stall):
        await _give_half(answer, fault, client, server)
    flipped = isinstance(fault, FlippedBit) and not fault.of_request
    await _pass_on(server, answer, client, flipped)


async def _give_half(
    answer: Answer,
    fault: Truncation | Stall,
    client: asyncio.StreamWriter,
    server: asyncio.StreamReader,
) -> None:
    left = (answer.length or BLOCK_BYTES) // 2
    async with aclosing(blocks(server, answer)) as body:
        async for block in body:
            client.write(block[:left])
            left -= len(block)
            if left <= 0:
                break
    await client.drain()
    if isinstance(fault, Stall):
        await asyncio.sleep(fault.seconds)
        raise _Broken(hard=True)
    raise _Broken(hard=False)


async def _reply(request: Request, reply: Reply, client: _Streams) -> bool:
    reader, writer = client
    awaited = "expect" not in request.headers  # else the body is not sent before a go-ahead
    if awaited:
        async with aclosing(blocks(reader, request)) as rest:
            async for _ in rest:
                pass
    body = b"" if request.method == "HEAD" else reply.body
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        f"Content-Type: {reply.content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if awaited else 'close'}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return awaited


async def _tunnel(client: _Streams, server: _Streams) -> None:
    client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while block := await source.read(BLOCK_BYTES):
            target.write(block)
            await target.drain()
        target.write_eof()

    await asyncio.gather(pump(client[0], server[1]), pump(server[0], client[1]))


@contextlib.asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[_Streams]:
    reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_LIMIT)
    try:
        yield reader, writer
    finally:
        await _close(writer, hard=True)


async def _close(writer: asyncio.StreamWriter, *, hard: bool) -> None:
    if hard:
        linger = struct.pack("ii", 1, 0)  # closing sends a reset
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextmanager
def fault_proxy(
    upstream: str, seed: int = 0, rewrite: Rewrite | None = None
) -> Iterator[FaultProxy]:
    """Runs a proxy on a free loopback port until the block ends.

    Args:
        upstream: The server's ``http://`` address.
        seed: Of the chances of its faults.
        rewrite: Applied to each request before anything else.
    """
    proxy = FaultProxy(upstream, Schedule(seed), rewrite)
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(_until_stopped(proxy, started, stop))

    thread = threading.Thread(target=run, name="fault-proxy", daemon=True)
    thread.start()
    wait_until(started.is_set, "the proxy's start")
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)
        assert not thread.is_alive(), "the proxy does not end"


async def _until_stopped(proxy: FaultProxy, started: threading.Event, stop: asyncio.Event) -> None:
    await proxy.serve(started, stop)
    own = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not own]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
