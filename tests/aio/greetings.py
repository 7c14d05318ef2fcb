"""Small handshakes, and servers of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from attrs import define, field

from ptipc.aio.accepting import HALF_OPEN, Serving, serve_handshakes
from ptipc.aio.streams import SocketStream
from ptipc.core.errors import RemoteProtocolError
from ptipc.core.handshake import Handshake, Script
from tests.aio.connections import (
    listening,
    settle,
)

__all__ = ["Admission", "Greeting", "Served", "Wordy", "greeted", "served"]


class Greeting(Handshake):
    """The client says its name, in a line; it is greeted, and that is all."""

    def __init__(self) -> None:
        self.name = b""
        super().__init__()

    def _run(self) -> Script:
        try:
            self.name = yield from self._reader.until(b"\n", 16)
        except RemoteProtocolError:
            self._send(b"goodbye\n")
            raise
        self._send(b"hello " + self.name + b"\n")


class Admission(Greeting):
    """The same, but somebody has to decide whether the client may come in."""

    def admit(self) -> None:
        self._resume()

    def _run(self) -> Script:
        yield from super()._run()
        yield 0
        self._send(b"come in\n")


class Wordy(Handshake):
    """Says more than a connection holds, and then waits for one octet."""

    def _run(self) -> Script:
        self._send(bytes(8 << 20))
        yield from self._reader.exactly(1)


@define(eq=False)
class Served:
    """Handshakes that are served, and those that are ready."""

    address: tuple[str, int]
    serving: Serving
    ready: asyncio.Queue[tuple[SocketStream, Handshake]] = field(factory=asyncio.Queue)

    async def client(self) -> SocketStream:
        """A new connection."""
        connection = SocketStream(socket.socket())
        try:
            await asyncio.get_running_loop().sock_connect(connection.network, self.address)
        except BaseException:
            await connection.aclose()
            raise
        return connection


@contextlib.asynccontextmanager
async def served(
    make_machine: Callable[[], Handshake],
    timeout: float | None = None,
    half_open: int = HALF_OPEN,
) -> AsyncIterator[Served]:
    ready: asyncio.Queue[tuple[SocketStream, Handshake]] = asyncio.Queue()
    listener = listening()
    address = listener.getsockname()
    serving = serve_handshakes(
        listener,
        make_machine,
        lambda stream, machine: ready.put_nowait((stream, machine)),
        timeout,
        half_open=half_open,
    )
    try:
        yield Served(address, serving, ready)
    finally:
        serving.close()
        await settle()


async def greeted(s: Served, name: bytes) -> None:
    """One whole handshake."""
    client = await s.client()
    await client.send(name + b"\n")
    assert await client.receive() == b"hello " + name + b"\n"
    stream, machine = await s.ready.get()
    assert isinstance(machine, Greeting)
    assert machine.name == name
    await stream.aclose()
    await client.aclose()
