"""Streams: what a transport is given and gives back, and how octets move between two of them.

A stream is anything of the shape ``Stream``.  ``SocketStream`` is a plain connection of the
operating system; ``MappedStream`` passes every chunk through two functions.  ``drive`` is the only
loop that moves the octets of a handshake, ``relay`` the one that moves those of the user.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import socket
from typing import Protocol, TypeAlias, runtime_checkable

from attrs import define, field, frozen

from ptipc.aio.engine import running_engine
from ptipc.aio.relaying import CHUNK, Change, Done, End, MappedEnd, PlainEnd, Relay, changed
from ptipc.core.codecs import Address
from ptipc.core.handshake import Handshake
from ptipc.sockets import FAREWELL, IGNORED, address_of, send_at_once

__all__ = [
    "CHUNK",
    "MappedStream",
    "Relaying",
    "SocketStream",
    "Stream",
    "Transform",
    "drive",
    "map_stream",
    "receive_exactly",
    "relay",
    "see_off",
    "start_relay",
]


@runtime_checkable
class Stream(Protocol):
    """A connection that carries octets in both directions, each of which ends by itself.

    A deadline is ``asyncio.timeout`` around any of the calls; a call that is cancelled loses no
    octets that were received.
    """

    async def receive(self, limit: int = CHUNK) -> bytes:
        """The next octets, at most ``limit``; nothing at all once the peer has sent its last.

        Raises OSError if the connection broke.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Send octets, and return when the next ones are welcome.  Raises OSError."""
        ...

    async def send_eof(self) -> None:
        """Say that no more will be sent; the other direction goes on.  Raises OSError."""
        ...

    async def aclose(self) -> None:
        """Close both directions; never raises, may be called again."""
        ...

    @property
    def network(self) -> socket.socket | None:
        """The network connection underneath, if there is exactly one."""
        ...

    @property
    def peer(self) -> Address | None:
        """Where the network connection underneath leads to, if there is one."""
        ...

    @property
    def local(self) -> Address | None:
        """Our own end of the network connection underneath, if there is one."""
        ...

    @property
    def half_close(self) -> bool:
        """Whether ``send_eof`` leaves the other direction open."""
        ...


class _Side(enum.Enum):
    """What somebody waits for a connection to allow."""

    READ = "read"
    WRITE = "write"

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        waiter: asyncio.Future[None],
    ) -> None:
        watch = loop.add_reader if self is _Side.READ else loop.add_writer
        watch(connection, _settle, waiter, None)

    def forget(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        (loop.remove_reader if self is _Side.READ else loop.remove_writer)(connection)


@define(eq=False)
class SocketStream:
    """A connected socket as a stream; the socket is non-blocking and belongs to the stream."""

    network: socket.socket
    _early: bytes = b""
    _waiters: dict[_Side, asyncio.Future[None]] = field(factory=dict, init=False)
    """Who waits for octets, and who for room."""

    def __attrs_post_init__(self) -> None:
        if self.network.gettimeout() != 0:
            self.network.setblocking(False)
        send_at_once(self.network)

    @property
    def peer(self) -> Address | None:
        with contextlib.suppress(OSError):
            return address_of(self.network.getpeername())
        return None

    @property
    def local(self) -> Address | None:
        """Our own address of the connection."""
        with contextlib.suppress(OSError):
            return address_of(self.network.getsockname())
        return None

    @property
    def half_close(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        """Whether the stream was closed, by ``aclose`` or at the end of a relay."""
        return self.network.fileno() < 0

    def unreceive(self, data: bytes) -> None:
        """Give back octets that were received too early; the next ``receive`` finds them first."""
        self._early = data + self._early

    def take_early(self) -> bytes:
        """The octets that ``unreceive`` brought back and nobody has received since."""
        data, self._early = self._early, b""
        return data

    async def receive(self, limit: int = CHUNK) -> bytes:
        if self._early:
            data, self._early = self._early[:limit], self._early[limit:]
            return data
        while not self.closed:
            # Received when the caller runs and not before: a call that is cancelled loses nothing.
            with contextlib.suppress(BlockingIOError):
                return self.network.recv(limit)
            try:
                await self._ready(_Side.READ)
            except NotImplementedError:
                return await asyncio.get_running_loop().sock_recv(self.network, limit)
        return b""

    async def send(self, data: bytes) -> None:
        left = memoryview(data)
        while not self.closed:
            with contextlib.suppress(BlockingIOError):
                left = left[self.network.send(left) :]
            if not left:
                return
            try:
                await self._ready(_Side.WRITE)
            except NotImplementedError:
                await asyncio.get_running_loop().sock_sendall(self.network, left)
                return
        raise BrokenPipeError("the stream is closed")

    async def send_eof(self) -> None:
        if not self.closed:
            self.network.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        # Whoever waits is woken, and the event loop forgets the number before it is given away.
        for side, waiter in self._waiters.items():
            side.forget(waiter.get_loop(), self.network)
            _settle(waiter, None)
        self.network.close()

    async def _ready(self, side: _Side) -> None:
        """Wait until there are octets, or there is room.

        Raises NotImplementedError where the event loop cannot watch a connection, on Windows.
        """
        if side in self._waiters:
            raise RuntimeError(f"two at a time want to {side.value} the same stream")
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        side.watch(loop, self.network, waiter)
        self._waiters[side] = waiter
        try:
            await waiter
        finally:
            del self._waiters[side]
            if not self.closed:
                side.forget(loop, self.network)


Transform: TypeAlias = Change


@define(eq=False)
class MappedStream:
    """A stream whose octets pass through two functions, one for each direction.

    Each function is given the next chunk, of any length, and returns what takes its place, of any
    length; it is called in order and once for every chunk, so it may keep a state such as a key
    stream.
    """

    inner: Stream
    encode: Transform
    """What is done to octets that are sent."""
    decode: Transform
    """What is done to octets that were received."""
    _left: bytes = field(default=b"", init=False)
    """Octets that were decoded, and more than was asked for."""

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

    async def receive(self, limit: int = CHUNK) -> bytes:
        while not self._left:
            data = await self.inner.receive(limit)
            if not data:
                return b""
            self._left = self.decode(data)
        data, self._left = self._left[:limit], self._left[limit:]
        return data

    def take_left(self) -> bytes:
        """The octets that were decoded and that nobody has received yet."""
        data, self._left = self._left, b""
        return data

    async def send(self, data: bytes) -> None:
        if encoded := self.encode(data):
            await self.inner.send(encoded)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


def map_stream(stream: Stream, encode: Transform, decode: Transform) -> MappedStream:
    """A stream that sends through ``encode`` and receives through ``decode``."""
    return MappedStream(stream, encode, decode)


async def receive_exactly(stream: Stream, count: int) -> bytes:
    """The next ``count`` octets of a stream, as a transport's own handshake needs them.

    Raises ConnectionResetError if the stream ends before, and OSError if the connection broke.
    """
    data = bytearray()
    while len(data) < count:
        piece = await stream.receive(count - len(data))
        if not piece:
            raise ConnectionResetError(f"the stream ended after {len(data)} of {count} octets")
        data += piece
    return bytes(data)


async def drive(machine: Handshake, stream: SocketStream, timeout: float | None) -> None:
    """Move a handshake's octets until it is done, or waits for a decision of its owner.

    ``timeout`` is in seconds, None: for ever.  What the peer sent beyond the handshake goes back to
    the stream.  Raises the handshake's error (HandshakeTimeout when the time is over) after the
    peer has been told, and OSError if the connection broke.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                if data := machine.data_to_send():
                    await stream.send(data)
                if machine.done or not machine.bytes_needed:
                    break
                if data := await stream.receive():
                    machine.receive_data(data)
                else:
                    machine.receive_eof()
    except TimeoutError:
        try:
            machine.receive_timeout()
        finally:
            await _say_goodbye(machine, stream)
        raise
    except Exception:
        await _say_goodbye(machine, stream)
        raise
    if machine.done:
        stream.unreceive(machine.trailing_data)


async def _say_goodbye(machine: Handshake, stream: SocketStream) -> None:
    """Send what a failed handshake queued, as far as it goes out without waiting."""
    if data := machine.data_to_send():
        with contextlib.suppress(OSError):
            stream.network.send(data)


async def see_off(stream: Stream, timeout: float = FAREWELL) -> None:
    """Let the peer read our last words, before its stream is closed.

    What it still sends would turn them into a reset if nobody received it; so that is done, up to a
    limit and for ``timeout`` seconds.
    """
    left = IGNORED
    with contextlib.suppress(OSError):
        async with asyncio.timeout(timeout):
            await stream.send_eof()
            while left > 0 and (data := await stream.receive()):
                left -= len(data)


# --- two streams ----------------------------------------------------------------------------------


async def relay(one: Stream, other: Stream) -> None:
    """Copy octets both ways until both directions have ended; then close both streams.

    The end of one direction is handed on and leaves the other open.  Raises OSError if one of the
    connections broke, and whatever a function of a ``MappedStream`` raised; both streams are closed
    then, too.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    relaying = _by_engine(one, other, functools.partial(_settle, ended))
    if relaying is None:
        await _by_pumps(one, other)
        return
    try:
        await ended
    finally:
        relaying.cancel()
        del ended  # or else it would hold an error whose traceback holds it


class Relaying(Protocol):
    """Two streams that are being relayed."""

    def cancel(self) -> object:
        """Close both streams, soon; ``done`` is not called.  May be called again."""
        ...


def start_relay(one: Stream, other: Stream, done: Done) -> Relaying:
    """``relay`` for those who do not want a task to wait in.

    ``done`` is called when both streams are closed, and never before this has returned: with what
    ``relay`` would have raised, or None.
    """
    if relaying := _by_engine(one, other, done):
        return relaying
    task = asyncio.create_task(_by_pumps(one, other))
    task.add_done_callback(lambda task: task.cancelled() or done(task.exception()))
    return task


def _settle(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if ended.done():  # cancelled, but not awake yet
        return
    if isinstance(error, StopIteration):
        # A coroutine that raised it would just seem to have returned.
        ended.set_exception(RuntimeError("a function of a stream raised StopIteration"))
    elif error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(None)


def _by_engine(one: Stream, other: Stream, done: Done) -> Relaying | None:
    """Relay without a task, if that is possible with these streams."""
    here, there = _Layers.of(one), _Layers.of(other)
    if here is None or there is None or (engine := running_engine()) is None:
        return None
    try:
        return Relay(engine, here.end(there.encodes), there.end(here.encodes), done)
    except Exception as error:
        engine.close_if_idle()
        here.stream.network.close()
        there.stream.network.close()
        return asyncio.get_running_loop().call_soon(done, error)


@frozen
class _Layers:
    """A connection, and the streams around it, the outermost first."""

    stream: SocketStream
    mapped: list[MappedStream]

    @classmethod
    def of(cls, stream: Stream) -> _Layers | None:
        mapped = []
        # Not what is derived from them: that may do something else with the octets.
        while type(stream) is MappedStream:
            mapped.append(stream)
            stream = stream.inner
        return cls(stream, mapped) if type(stream) is SocketStream and not stream.closed else None

    @property
    def encodes(self) -> list[Transform]:
        """What is done to octets on their way out."""
        return [layer.encode for layer in self.mapped]

    @property
    def decodes(self) -> list[Transform]:
        """What is done to octets on their way in."""
        return [layer.decode for layer in reversed(self.mapped)]

    def end(self, encodes: list[Transform]) -> End:
        """This as an end of a relay, with what is done to its octets when they leave again."""
        decodes = self.decodes
        received = b""
        for depth, layer in enumerate(self.mapped):
            # What waits further out has come before, and has fewer functions before it.
            received += changed(layer.take_left(), decodes[len(decodes) - depth :] + encodes)
        changes = decodes + encodes
        received += changed(self.stream.take_early(), changes)
        if changes:
            return MappedEnd(self.stream.network, changes, received)
        return PlainEnd(self.stream.network, received)


async def _by_pumps(one: Stream, other: Stream) -> None:
    """Relay any two streams."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(one, other))
            group.create_task(_pump(other, one))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        await one.aclose()
        await other.aclose()


async def _pump(source: Stream, sink: Stream) -> None:
    """Copy one direction to its end, and hand the end on."""
    while data := await source.receive():
        await sink.send(data)
    await sink.send_eof()
