"""A network that is watched: how many connections are made, and what goes over them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from attrs import define, field

from ptipc.aio import DatagramListener, Datagrams, Stream, StreamListener, SystemNetwork
from ptipc.core.codecs import Address
from ptipc.osdep import State


@define(eq=False)
class Watched:
    """The network of the operating system, watched."""

    state: State | None = None
    streams: list[WatchedStream] = field(factory=list, init=False)
    """The connections that were dialled, in order."""
    trouble: Callable[[WatchedStream], object] = lambda stream: None
    """Called with each connection before it is handed out; it may raise, or set ``cut_at``."""
    _network: SystemNetwork = field(factory=SystemNetwork, init=False)

    async def dial(self, target: Address) -> Stream:
        stream = WatchedStream(await self._network.dial(target))
        self.streams.append(stream)
        try:
            self.trouble(stream)
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def listen(self, address: Address) -> StreamListener:
        return await self._network.listen(address)

    async def datagrams(self, target: Address) -> Datagrams:
        return await self._network.datagrams(target)

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        return await self._network.listen_datagrams(address)


@define(eq=False)
class WatchedStream:
    """A connection of a watched network."""

    inner: Stream
    sent: bytes = b""
    received: bytes = b""
    cut_at: int | None = None
    """After how many received octets it breaks; None: never."""
    closed: bool = False

    @property
    def network(self) -> socket.socket | None:
        return self.inner.network

    @property
    def peer(self) -> Address | None:
        return self.inner.peer

    @property
    def local(self) -> Address | None:
        return self.inner.local

    @property
    def half_close(self) -> bool:
        return self.inner.half_close

    async def receive(self, limit: int = 65536) -> bytes:
        if self.cut_at is not None and len(self.received) >= self.cut_at:
            raise ConnectionResetError("cut")
        data = await self.inner.receive(limit)
        self.received += data
        return data

    async def send(self, data: bytes) -> None:
        self.sent += data
        await self.inner.send(data)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()
