"""Real connections on loopback, and the event loops in which they are tried."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import pytest
import uvloop
from attrs import define

from ptipc.aio.engine import running_engine
from ptipc.aio.streams import SocketStream, Stream, relay

__all__ = [
    "MUCH",
    "WAYS",
    "Relayed",
    "Run",
    "Wrap",
    "connected",
    "descriptors",
    "engine_is_at_rest",
    "fill",
    "flipped",
    "listening",
    "passes_much",
    "receive_all",
    "receive_exactly",
    "relayed",
    "reset",
    "run_in",
    "same",
    "send_and_end",
    "settle",
]

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

WAYS = ("asyncio", "uvloop", "portable")
"""With an engine in the event loop of Python or in uvloop, and as where there is no epoll."""


def descriptors() -> int:
    """How many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def run_in(way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A function that runs a test's coroutine in one of the ways, and sees that nothing is left."""
    if way == "portable":
        monkeypatch.delattr(select, "epoll")

    def run(test: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if way == "uvloop" else asyncio.new_event_loop
        factory().close()  # the first one opens descriptors that stay
        before = descriptors()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(within_a_minute(test))
        assert descriptors() == before

    yield run


async def within_a_minute(test: Coroutine[Any, Any, None]) -> None:
    """A test that hangs shall fail; the time is not what is tested."""
    async with asyncio.timeout(60):
        await test
    assert asyncio.all_tasks() == {asyncio.current_task()}


def listening() -> socket.socket:
    """A socket that listens on loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


def connected(buffer: int | None = None) -> tuple[SocketStream, SocketStream]:
    """The two ends of a TCP connection; ``buffer`` is how large the kernel's buffers are."""
    with listening() as listener, contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket())
        for end in (client, listener):
            if buffer is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        stack.pop_all()
        return SocketStream(client), SocketStream(server)


def reset(stream: SocketStream) -> None:
    """Close a connection so that the peer is told that it broke."""
    stream.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.network.close()


async def settle() -> None:
    """Let the event loop do all it can do for now: loopback delivers before ``send`` returns."""
    for _ in range(50):
        await asyncio.sleep(0)


# --- relays ---------------------------------------------------------------------------------------

MUCH = bytes(range(256)) * 32768  # 8 MiB, more than a connection's buffers ever hold


def same(data: bytes) -> bytes:
    return data


def flipped(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)


@define
class Relayed:
    """A relay between a client and a server, which are ours."""

    client: SocketStream
    server: SocketStream
    task: asyncio.Task[None]
    ends: tuple[SocketStream, SocketStream]


Wrap = Callable[[SocketStream], Stream]


@contextlib.asynccontextmanager
async def relayed(
    left: Wrap = lambda stream: stream,
    right: Wrap = lambda stream: stream,
    *,
    buffer: int | None = None,
) -> AsyncIterator[Relayed]:
    """Start a relay; in the end it has to be over, and what it was given closed."""
    client, here = connected(buffer)
    there, server = connected(buffer)
    task = asyncio.create_task(relay(left(here), right(there)))
    await asyncio.sleep(0)
    try:
        yield Relayed(client, server, task, (here, there))
        await asyncio.wait([task])
        assert here.closed
        assert there.closed
    finally:
        task.cancel()
        await client.aclose()
        await server.aclose()


async def receive_all(stream: Stream) -> bytes:
    received = bytearray()
    while data := await stream.receive():
        received += data
    return bytes(received)


async def receive_exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += await stream.receive(count - len(received))
    return received


async def fill(stream: SocketStream) -> int:
    """Send until nobody takes any more for now; say how many octets that were."""
    total = 0
    patience = 0
    while patience < 50:
        try:
            total += stream.network.send(MUCH[:65536])
            patience = 0
        except BlockingIOError:
            patience += 1
            await asyncio.sleep(0)
    return total


async def send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


def engine_is_at_rest() -> bool:
    """Whether there is nothing for the engine to do: it does not run in circles."""
    engine = running_engine()
    assert engine is not None
    return select.select([engine.fileno()], [], [], 0)[0] == []


async def passes_much() -> None:
    async with relayed(buffer=65536) as r:
        sending = asyncio.create_task(send_and_end(r.client, MUCH))
        await settle()  # until all is full
        assert await receive_all(r.server) == MUCH
        await sending
        await r.server.send_eof()
        await r.task
