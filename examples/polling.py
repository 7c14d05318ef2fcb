"""A transport without a lasting network connection: it asks again and again, as meek does.

What it teaches: a stream whose life has nothing to do with that of a connection, or with its
breaking.  A poll is a network connection with one request, which carries what the client has to
send, and one reply with what the server has to.  Each request has a number.  If no reply comes the
client asks again, and a server that knows the number repeats its reply: nothing is lost or doubled.
In earnest a poll would be an HTTPS request to somebody who is never blocked.

Try it with ``ptipc demo --transport polling -- python examples/polling.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Coroutine

from attrs import frozen

from ptipc.aio import Listener, Network, Stream, StreamListener, receive_exactly, run
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args

REQUEST = struct.Struct(">16sI")  # which stream, and which request of it; a message follows
MESSAGE = struct.Struct(">BII")  # flags, how many octets are welcome, how many follow
END, CLOSED = 1, 2  # flags: no more will come, and nothing is wanted any more
PIECE = 1 << 16  # octets in a message, at most
ROOM = 4 * PIECE  # octets that wait to be received, at most, and to be sent, about that
TIRED = 0.25  # seconds between polls while nothing happens, at most
TRIES = 5  # polls in a row that may fail
POLL = 10.0  # seconds that one may take
MOST = 1024  # streams at a server
FORGOTTEN = 60.0  # seconds without a poll after which a server takes the client for gone


class Polling:
    """The transport."""

    name = "polling"
    version = "1.0"

    def dialer(self, args: Args, network: Network) -> Dialer:
        return Dialer(network)

    def listener(self, options: Args, network: Network) -> Listener:
        return Server(network)


# --- a stream, at either end ----------------------------------------------------------------------


@frozen
class Message:
    """What one end tells the other, either way."""

    flags: int
    room: int
    data: bytes

    def serialize(self) -> bytes:
        return MESSAGE.pack(self.flags, self.room, len(self.data)) + self.data


NOBODY = Message(END | CLOSED, 0, b"")  # the answer to polls for a stream that is not there


async def read_message(stream: Stream) -> Message:
    flags, room, size = MESSAGE.unpack(await receive_exactly(stream, MESSAGE.size))
    if size > PIECE:
        raise ConnectionAbortedError("a message that is too long")
    return Message(flags, room, await receive_exactly(stream, size))


class Mailbox:
    """A stream: what has come and nobody has received, and what is to go."""

    network = None
    half_close = True
    local: Address | None = None

    def __init__(self, peer: Address | None) -> None:
        self.peer = peer
        self.wanted = asyncio.Event()  # set when those who use the stream want something
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._welcome = ROOM  # what the other end was told that we take
        self._room = ROOM  # what the other end takes
        self._heard_all = False
        self._said_all = False
        self._told_all = False
        self._error: OSError | None = None
        self._changed = asyncio.Event()

    # --- for those who use the stream

    async def receive(self, limit: int = ROOM) -> bytes:
        await self._until(lambda: bool(self._incoming) or self._heard_all)
        data = bytes(self._incoming[:limit])
        del self._incoming[:limit]
        self.wanted.set()
        return data

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            await self._until(lambda: len(self._outgoing) < ROOM)
            if self._error is not None or self._said_all:
                raise self._error or BrokenPipeError("the end was said")
            self._outgoing += data[start : start + PIECE]
            self.wanted.set()

    async def send_eof(self) -> None:
        self._said_all = True
        self.wanted.set()

    async def aclose(self) -> None:
        self.fail(BrokenPipeError("the stream is closed"))
        await self.send_eof()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    # --- for those who carry the messages

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to say or to hear."""
        return self._told_all and (self._heard_all or self._error is not None)

    def collect(self) -> Message:
        """What is to be said to the other end now."""
        data = bytes(self._outgoing[: min(self._room, PIECE)])
        del self._outgoing[: len(data)]
        self._told_all = self._said_all and not self._outgoing
        self._welcome = max(ROOM - len(self._incoming), 0)
        self._changed.set()
        flags = 0
        if self._told_all:
            flags = END if self._error is None else END | CLOSED
        return Message(flags, self._welcome, data)

    def deliver(self, message: Message) -> None:
        """Take what the other end has said."""
        if len(message.data) > self._welcome:
            raise ConnectionAbortedError("more than is welcome")
        self._room = message.room
        self._incoming += message.data
        if message.flags & END:
            self._heard_all = True
        if message.flags & CLOSED:
            self._told_all = True  # as far as they want to hear it
            self.fail(ConnectionResetError("the other end closed the stream"))
        self._changed.set()

    def fail(self, error: OSError) -> None:
        """Be over; what was received can still be had."""
        self._error = self._error or error
        self._changed.set()


# --- the client -----------------------------------------------------------------------------------


@frozen
class Dialer:
    """Starts streams, each with a first poll."""

    _network: Network

    async def dial(self, target: Address) -> Mailbox:
        client = Client(self._network, target)
        await client.poll()
        if client.finished:
            raise ConnectionRefusedError("the server takes no more streams")
        client.start()
        return client


class Client(Mailbox):
    """The end that asks."""

    def __init__(self, network: Network, target: Address) -> None:
        super().__init__(target)
        self._network = network
        self._target = target
        self._token = os.urandom(16)
        self._number = 0

    def start(self) -> None:
        """Poll for as long as there is reason to."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        pause = TIRED
        while not self.finished:
            try:
                busy = await self.poll(TRIES)
            except Exception as error:
                self.fail(ConnectionResetError(f"no poll gets through: {error}"))
                break
            pause = TIRED / 64 if busy else min(pause * 2, TIRED)
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self.wanted.wait()

    async def poll(self, tries: int = 1) -> bool:
        """Exchange one message for another; tells whether there was something in either."""
        self.wanted.clear()
        request = self.collect()
        self._number += 1
        while True:
            tries -= 1
            try:
                answer = await self._exchange(
                    REQUEST.pack(self._token, self._number) + request.serialize()
                )
                break
            except OSError:
                if not tries:
                    raise
            await asyncio.sleep(TIRED)
        self.deliver(answer)
        return bool(request.data or answer.data)

    async def _exchange(self, request: bytes) -> Message:
        async with asyncio.timeout(POLL):
            stream = await self._network.dial(self._target)
            try:
                await stream.send(request)
                return await read_message(stream)
            finally:
                await stream.aclose()


# --- the server -----------------------------------------------------------------------------------


@frozen
class Server:
    """The server side before it listens."""

    _network: Network
    args = NO_ARGS

    async def listen(self, address: Address) -> StreamListener:
        return Acceptor(await self._network.listen(address))


class Visitor(Mailbox):
    """The end that is asked."""

    def __init__(self, peer: Address | None) -> None:
        super().__init__(peer)
        self.timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._answer = NOBODY

    def answer(self, number: int, message: Message) -> Message:
        """What to answer to a poll: as before, if it is the one from before."""
        if number == self._number + 1:
            self.deliver(message)
            self._answer = self.collect()
            self._number = number
        elif number != self._number:
            raise ConnectionAbortedError("a poll out of turn")
        return self._answer


class Acceptor:
    """Answers polls, and hands on the streams that begin with one.

    The streams need it for as long as they last, so it is closed after the last of them.
    """

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._visitors: dict[bytes, Visitor] = {}
        self._new: asyncio.Queue[Visitor | None] = asyncio.Queue()
        self._open = True
        self._tasks = {asyncio.create_task(self._accept())}

    @property
    def address(self) -> Address:
        return self._listener.address

    async def accept(self) -> Stream:
        visitor = await self._new.get()
        if visitor is None:
            self._new.put_nowait(None)
            raise OSError("the listener is closed")
        return visitor

    async def aclose(self) -> None:
        self._open = False
        while not self._new.empty():
            if (visitor := self._new.get_nowait()) is not None:
                await visitor.aclose()
        self._new.put_nowait(None)
        if not self._visitors:
            await self._listener.aclose()

    async def _accept(self) -> None:
        try:
            while True:
                self._start(self._serve(await self._listener.accept()))
        except OSError:
            self._new.put_nowait(None)
        finally:
            await self._listener.aclose()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        with contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(POLL):
                    token, number = REQUEST.unpack(await receive_exactly(stream, REQUEST.size))
                    message = await read_message(stream)
                    visitor = self._visitor(token, number, stream.peer)
                    answer = visitor.answer(number, message) if visitor else NOBODY
                    await stream.send(answer.serialize())
                    await stream.receive()  # they close first
            finally:
                await stream.aclose()

    def _visitor(self, token: bytes, number: int, peer: Address | None) -> Visitor | None:
        visitor = self._visitors.get(token)
        if visitor is None:
            if number != 1 or not self._open or len(self._visitors) >= MOST:
                return None
            visitor = self._visitors[token] = Visitor(peer)
            self._new.put_nowait(visitor)
        if visitor.timer is not None:
            visitor.timer.cancel()
        visitor.timer = asyncio.get_running_loop().call_later(FORGOTTEN, self._forget, token)
        return visitor

    def _forget(self, token: bytes) -> None:
        self._visitors.pop(token).fail(ConnectionResetError("the client asks no more"))
        if not self._open and not self._visitors:
            self._start(self._listener.aclose())


if __name__ == "__main__":
    run(Polling())
