"""The tester's end of a connection, with everything that happens on it written down."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

from ptipc.conformance.recording import Recorder, in_hex
from ptipc.core.codecs import Address
from ptipc.core.handshake import Handshake

__all__ = ["Link", "UdpLink", "connect", "pipe"]


class Link(asyncio.Protocol):
    """A connection: what has come and was not yet taken, and whether more will come."""

    def __init__(
        self,
        recorder: Recorder,
        channel: str,
        name: str = "",
        accepted: Callable[[Link], object] | None = None,
    ) -> None:
        self.recorder = recorder
        self.channel = channel
        self.name = name
        self.data = bytearray()
        self.ended = ""
        """How the other side ended: ``eof`` or ``reset``; empty: it has not."""
        self.on_data: Callable[[Link], object] | None = None
        """Called when something has come, or when the other side has ended."""
        self._accepted = accepted
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._tell()

    def eof_received(self) -> bool:
        self.ended = self.ended or "eof"
        self._tell()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = self.ended or ("eof" if exc is None else "reset")
        self._room.set()
        self._tell()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def _tell(self) -> None:
        self._changed.set()
        if self.on_data is not None:
            self.on_data(self)

    # --- what the tester does

    @property
    def peer(self) -> Address:
        """Where the other side is."""
        return self._address("peername")

    @property
    def local(self) -> Address:
        """Where this side is."""
        return self._address("sockname")

    def _address(self, which: str) -> Address:
        assert self._transport is not None
        found = self._transport.get_extra_info(which)
        return Address(str(found[0]), int(found[1])) if found else Address("0.0.0.0", 0)

    def write(self, data: bytes) -> None:
        """Send octets, without a word about it in the transcript."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def room(self) -> None:
        """Wait until the other side has taken enough that more can be sent."""
        await self._room.wait()

    async def send(self, data: bytes, pieces: int = 0, every: float = 0.0) -> None:
        """Send octets, ``pieces`` at a time if that is not 0, ``every`` so many seconds."""
        self.recorder.note("tester", self.channel, "sent", in_hex(data), name=self.name)
        step = pieces or len(data) or 1
        for at in range(0, len(data), step):
            if at:
                await asyncio.sleep(every)
            self.write(data[at : at + step])
            await self.room()

    async def until(self, enough: Callable[[], bool], within: float) -> bool:
        """Wait until there is enough, or the other side has ended; False if time ran out."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(within):
                while not enough() and not self.ended:
                    self._changed.clear()
                    await self._changed.wait()
        return enough() or bool(self.ended)

    def take(self, count: int | None = None) -> bytes:
        """Take what has come, ``count`` octets of it or all, and write it down."""
        data = bytes(self.data[:count])
        del self.data[:count]
        if data:
            self.recorder.note("target", self.channel, "received", in_hex(data), name=self.name)
        return data

    def write_eof(self) -> None:
        """Say that no more will be sent."""
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError):
                self._transport.write_eof()

    def close(self) -> None:
        """Close both directions."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with a reset."""
        if self._transport is None:
            return
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abort(self) -> None:
        """Close at once, whatever has not been sent."""
        if self._transport is not None:
            self._transport.abort()

    async def drive(self, machine: Handshake, within: float) -> None:
        """Run a handshake until it is done or it is our turn.

        Raises what the machine raises, and TimeoutError.
        """
        self.write(machine.data_to_send())
        async with asyncio.timeout(within):
            while not machine.done and machine.bytes_needed:
                await self.until(lambda: bool(self.data), within)
                data = bytes(self.data)
                self.data.clear()
                try:
                    if data:
                        machine.receive_data(data)
                    elif self.ended:
                        machine.receive_eof()
                finally:
                    self.write(machine.data_to_send())
        if machine.done:
            self.data[:0] = machine.trailing_data


class UdpLink(asyncio.DatagramProtocol):
    """A socket for datagrams: what has come, and who sent it last."""

    def __init__(self, recorder: Recorder, channel: str, name: str) -> None:
        self.recorder = recorder
        self.channel = channel
        self.name = name
        self.datagrams: list[bytes] = []
        self.arrived = asyncio.Event()
        """Set with each of them; whoever waits for one clears it."""
        self._transport: asyncio.DatagramTransport | None = None
        self._peer: tuple[str, int] | None = None

    @classmethod
    async def open(
        cls, recorder: Recorder, channel: str, name: str, peer: Address | None = None
    ) -> UdpLink:
        """A new one at a port of its own, to ``peer``, or to whoever has sent something."""
        _, link = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(recorder, channel, name), local_addr=("127.0.0.1", 0)
        )
        if peer is not None:
            link._peer = (peer.host, peer.port)
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._peer = address
        self.recorder.note("target", self.channel, "received", in_hex(data), name=self.name)
        self.datagrams.append(data)
        self.arrived.set()

    @property
    def local(self) -> Address:
        """Where it is."""
        assert self._transport is not None
        found = self._transport.get_extra_info("sockname")
        return Address(str(found[0]), int(found[1]))

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        self.recorder.note("tester", self.channel, "sent", in_hex(data), name=self.name)
        if self._transport is not None and self._peer is not None:
            self._transport.sendto(data, self._peer)

    def abort(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()


async def connect(
    recorder: Recorder,
    address: Address,
    channel: str,
    name: str = "",
    *,
    local: str | None = None,
    within: float = 10.0,
) -> Link:
    """Connect to an address, from ``local`` if that is given.  Raises OSError."""
    async with asyncio.timeout(within):
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: Link(recorder, channel, name),
            address.host,
            address.port,
            local_addr=None if local is None else (local, 0),
        )
    return link


def pipe(one: Link, other: Link) -> None:
    """Let each of two links send what the other receives, until both sides have ended."""

    def carry(source: Link, sink: Link) -> Callable[[Link], None]:
        def on_data(_: Link) -> None:
            if source.data:
                sink.write(bytes(source.data))
                source.data.clear()
            if source.ended == "reset":
                sink.reset()
            elif source.ended:
                sink.write_eof()
                if sink.ended:
                    source.close()
                    sink.close()

        return on_data

    one.on_data = carry(one, other)
    other.on_data = carry(other, one)
    one.on_data(one)
    other.on_data(other)
