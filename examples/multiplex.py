"""Many transport connections over one network connection to each server.

What it teaches: a ``Transport`` with a dialer, a listener and streams of its own, because its
connections are not one to one with those of the network; a dialer that holds what its streams
share, and lets go of it in ``aclose``.  All streams to a server are on one ``Link``, in frames that
name them.  A stream may have ``WINDOW`` octets on the way that nobody has received, so that one
that is not read holds up no other and needs no more memory than that.

Try it with ``ptipc demo --transport multiplex -- python examples/multiplex.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import struct
from collections.abc import Callable
from functools import partial

from ptipc.aio import Listener, Network, Stream, StreamListener, run
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args

HEAD = struct.Struct(">IBH")  # the number of a stream, a kind of frame, how many octets follow
CREDIT = struct.Struct(">I")
WINDOW = 1 << 18  # octets of a stream that its receiver has not received
PIECE = 1 << 14  # octets in a frame, at most
MOST = 256  # streams on a link
IDLE = 10.0  # seconds that a link without streams is kept for the next one
FAREWELL = 5.0  # seconds that the other end of a link has to hear us out


class Kind(enum.IntEnum):
    """What a frame says about its stream."""

    OPEN = 0
    DATA = 1
    END = 2
    CREDIT = 3  # so many more octets may be sent
    STOP = 4  # no more will be received


class Multiplex:
    """The transport."""

    name = "multiplex"
    version = "1.0"

    def dialer(self, args: Args, network: Network) -> Dialer:
        return Dialer(network)

    def listener(self, options: Args, network: Network) -> Listener:
        return Server(network)


class Dialer:
    """Opens a stream on the link to a target, which is made if there is none.

    It is used for all connections with the same args, and closed after the last of them.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._links: dict[Address, asyncio.Task[Link]] = {}  # those that a stream is opened on
        self._open: set[Link] = set()

    async def dial(self, target: Address) -> Channel:
        while True:
            making = self._links.get(target) or self._connect(target)
            link = await asyncio.shield(making)  # others may wait for it, too
            if link.welcomes:
                return link.open()
            self._forget(target, making)

    async def aclose(self) -> None:
        """Have the links end: those with streams on them after the last, the others now."""
        await asyncio.gather(*self._links.values(), return_exceptions=True)
        self._links.clear()
        await asyncio.gather(*(link.aclose() for link in self._open))

    def _connect(self, target: Address) -> asyncio.Task[Link]:
        async def connect() -> Link:
            link = Link(await self._network.dial(target), idle=IDLE)
            self._open.add(link)
            link.task.add_done_callback(lambda task: self._open.discard(link))
            return link

        def connected(task: asyncio.Task[Link]) -> None:
            if task.cancelled() or task.exception() is not None:
                self._forget(target, task)

        making = self._links[target] = asyncio.create_task(connect())
        making.add_done_callback(connected)
        return making

    def _forget(self, target: Address, making: asyncio.Task[Link]) -> None:
        if self._links.get(target) is making:
            del self._links[target]


class Server:
    """The server side before it listens."""

    args = NO_ARGS

    def __init__(self, network: Network) -> None:
        self._network = network

    async def listen(self, address: Address) -> StreamListener:
        return Acceptor(await self._network.listen(address))


class Acceptor:
    """Accepts links, and hands on the streams that are opened on them."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._links: set[Link] = set()
        self._opened: asyncio.Queue[Channel | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._accept())

    @property
    def address(self) -> Address:
        return self._listener.address

    async def accept(self) -> Stream:
        channel = await self._opened.get()
        if channel is None:
            self._opened.put_nowait(None)
            raise OSError("the listener is closed")
        return channel

    async def aclose(self) -> None:
        await self._listener.aclose()
        await asyncio.gather(self._task, return_exceptions=True)
        for link in self._links:
            link.close()
        while (channel := self._opened.get_nowait()) is not None:
            await channel.aclose()
        self._opened.put_nowait(None)

    async def _accept(self) -> None:
        try:
            while True:
                link = Link(await self._listener.accept(), opened=self._opened.put_nowait)
                self._links.add(link)
                link.task.add_done_callback(partial(self._ended, link))
        except OSError:
            self._opened.put_nowait(None)

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        self._links.discard(link)


# --- a network connection -------------------------------------------------------------------------


class Link:
    """A network connection with streams on it.

    What is to be sent goes through an outbox, so that nobody who is cancelled leaves a frame behind
    that has been sent by half.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        opened: Callable[[Channel], object] | None = None,
        idle: float | None = None,
    ) -> None:
        self.stream = stream
        self.task = asyncio.create_task(self._run())
        self._opened = opened
        self._idle = idle
        self._channels: dict[int, Channel] = {}
        self._next = 0
        self._outbox = bytearray()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._rest()

    @property
    def welcomes(self) -> bool:
        """Whether a stream can be opened."""
        return not self._closing and len(self._channels) < MOST

    def open(self) -> Channel:
        """Open a stream."""
        self._next += 1
        self.say(self._next, Kind.OPEN)
        return self._add(self._next)

    def say(self, number: int, kind: Kind, data: bytes = b"") -> None:
        """Send a frame, soon."""
        if not self._over:
            self._outbox += HEAD.pack(number, kind, len(data)) + data
            self._filled.set()

    async def room(self) -> None:
        """Wait until more data is welcome."""
        while len(self._outbox) > PIECE:
            self._room.clear()
            await self._room.wait()

    def forget(self, number: int) -> None:
        """Take notice that a stream is over."""
        self._channels.pop(number, None)
        self._rest()

    def close(self) -> None:
        """Open no more streams, and end when there are none left."""
        self._closing = True
        self._filled.set()

    async def aclose(self) -> None:
        """Open no more streams; if there are none, say farewell."""
        self.close()
        if not self._channels:
            await asyncio.wait({self.task})

    def _add(self, number: int) -> Channel:
        channel = self._channels[number] = Channel(self, number)
        self._rest()
        return channel

    def _rest(self) -> None:
        """Look whether there is anything left to do."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._channels and self._idle is not None and not self._closing:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self.close)
        self._filled.set()

    async def _run(self) -> None:
        halves = {asyncio.create_task(self._read()), asyncio.create_task(self._write())}
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            # To close with something unread would take back what we sent last.
            await asyncio.wait(halves, timeout=FAREWELL)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.wait(halves)
            await self.stream.aclose()
            self._over = True
            self._outbox.clear()
            self._room.set()
            self._break()

    async def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._outbox or self._channels or not self._closing:
                data = bytes(self._outbox)
                self._outbox.clear()
                self._room.set()
                if data:
                    await self.stream.send(data)
                else:
                    self._filled.clear()
                    await self._filled.wait()
            await self.stream.send_eof()

    async def _read(self) -> None:
        received = b""
        try:
            while data := await self.stream.receive():
                received += data
                at = 0
                while len(received) >= at + HEAD.size:
                    number, kind, size = HEAD.unpack_from(received, at)
                    end = at + HEAD.size + size
                    if len(received) < end:
                        break
                    self._hear(number, Kind(kind), received[at + HEAD.size : end])
                    at = end
                received = received[at:]
        except (OSError, ValueError, struct.error):
            pass  # whatever it is, nothing that could still come would be understood
        finally:
            self._break()

    def _break(self) -> None:
        """Take notice that nothing more will be heard."""
        self.close()
        for channel in list(self._channels.values()):
            channel.fail(ConnectionResetError("the link ended"))

    def _hear(self, number: int, kind: Kind, data: bytes) -> None:
        if kind is Kind.OPEN:
            if self._opened is None or number in self._channels:
                raise ValueError("a stream that may not be opened")
            if self.welcomes:
                self._opened(self._add(number))
            else:
                self.say(number, Kind.STOP)
        elif number in self._channels:  # else it was closed here, and they do not know it yet
            self._channels[number].hear(kind, data)


# --- a stream -------------------------------------------------------------------------------------


class Channel:
    """One of the streams on a link."""

    network = None  # it is not for one stream to use
    half_close = True

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number
        self._received = bytearray()
        self._taken = 0  # octets that were received, and that the other end does not know of
        self._credit = WINDOW
        self._heard_all = False
        self._said_all = False
        self._error: OSError | None = None
        self._changed = asyncio.Event()

    @property
    def peer(self) -> Address | None:
        return self._link.stream.peer

    @property
    def local(self) -> Address | None:
        return self._link.stream.local

    async def receive(self, limit: int = PIECE) -> bytes:
        await self._until(lambda: bool(self._received) or self._heard_all)
        data = bytes(self._received[:limit])
        del self._received[:limit]
        self._taken += len(data)
        if self._taken >= WINDOW // 2:
            self._link.say(self._number, Kind.CREDIT, CREDIT.pack(self._taken))
            self._taken = 0
        return data

    async def send(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            await self._until(lambda: self._credit > 0)
            await self._link.room()
            if self._error is not None or self._said_all:
                raise self._error or BrokenPipeError("the end was said")
            piece = data[start : start + min(PIECE, self._credit)]
            start += len(piece)
            self._credit -= len(piece)
            self._link.say(self._number, Kind.DATA, piece)

    async def send_eof(self) -> None:
        if not self._said_all and self._error is None:
            self._said_all = True
            self._link.say(self._number, Kind.END)

    async def aclose(self) -> None:
        if self._error is None:
            await self.send_eof()
            if not self._heard_all:
                self._link.say(self._number, Kind.STOP)
            self.fail(BrokenPipeError("the stream is closed"))

    def fail(self, error: OSError) -> None:
        """Be over; what was received can still be had."""
        self._error = error
        self._changed.set()
        self._link.forget(self._number)

    def hear(self, kind: Kind, data: bytes) -> None:
        """Take a frame of the other end."""
        if kind is Kind.DATA:
            if self._heard_all or len(self._received) + self._taken + len(data) > WINDOW:
                raise ValueError("more than is welcome")
            self._received += data
        elif kind is Kind.END:
            self._heard_all = True
        elif kind is Kind.CREDIT:
            self._credit += CREDIT.unpack(data)[0]
        elif kind is Kind.STOP:
            self.fail(ConnectionResetError("the other end receives no more"))
        self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()


if __name__ == "__main__":
    run(Multiplex())
