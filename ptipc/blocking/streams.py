"""Streams: what a transport is given and gives back, and how octets move between two of them.

A stream is anything of the shape ``Stream``.  ``SocketStream`` is a plain connection of the
operating system; ``MappedStream`` passes every chunk through two functions.  ``drive`` is the only
loop that moves the octets of a handshake, ``relay`` the one that moves those of the user.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias, runtime_checkable

from attrs import define, field

from ptipc.blocking.relaying import Outcome, Side, pool, splice
from ptipc.blocking.sharing import Shared, remaining, wait_until_ready
from ptipc.core.codecs import Address
from ptipc.core.handshake import Handshake
from ptipc.osdep import WINDOWS, glance, start_thread
from ptipc.sockets import FAREWELL, IGNORED, address_of, send_at_once

__all__ = [
    "CHUNK",
    "MappedStream",
    "SocketStream",
    "Stream",
    "Transform",
    "drive",
    "map_stream",
    "receive_exactly",
    "relay",
    "see_off",
    "within",
]

CHUNK: Final = 65536
"""How many octets are asked for at a time."""
LARGE_CHUNK: Final = 262144
"""How many octets are asked for when there are many."""

_GLANCE: Final = 0.5 if WINDOWS else None
"""After how many seconds a thread looks whether its socket was closed, where nothing wakes it."""


_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
"""How the systems say that a connection is being made."""


@runtime_checkable
class Stream(Protocol):
    """A connection that carries octets in both directions, each of which ends by itself.

    One thread may receive while another sends, and any may close: that ends the calls of the
    others.  Whoever wants a deadline for several calls says ``with within(stream, seconds)``; a
    call that gives up loses no octets that were received.
    """

    deadline: float | None
    """When calls that begin from now on give up with TimeoutError, as ``time.monotonic`` has it."""

    def receive(self, limit: int = CHUNK) -> bytes:
        """The next octets, at most ``limit``; nothing at all once the peer has sent its last.

        Raises OSError if the connection broke.
        """
        ...

    def send(self, data: bytes) -> None:
        """Send octets, and return when the next ones are welcome.  Raises OSError."""
        ...

    def send_eof(self) -> None:
        """Say that no more will be sent; the other direction goes on.  Raises OSError."""
        ...

    def close(self) -> None:
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


@contextlib.contextmanager
def within(stream: Stream, timeout: float | None) -> Iterator[None]:
    """Give all that is done with a stream meanwhile so many seconds, or fewer if it had fewer.

    None: as many as it had.
    """
    before = stream.deadline
    if timeout is not None:
        ours = time.monotonic() + timeout
        stream.deadline = ours if before is None else min(before, ours)
    try:
        yield
    finally:
        stream.deadline = before


@define(eq=False)
class SocketStream:
    """A connected socket as a stream; the socket is non-blocking and belongs to the stream."""

    network: socket.socket
    _early: bytes = b""
    deadline: float | None = field(default=None, init=False)
    _shared: Shared = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._shared = Shared(self.network)
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
        """Whether the stream was closed, by ``close`` or at the end of a relay."""
        return self._shared.closed or self.network.fileno() < 0

    def unreceive(self, data: bytes) -> None:
        """Give back octets that were received too early; the next ``receive`` finds them first."""
        self._early = data + self._early

    def take_early(self) -> bytes:
        """The octets that ``unreceive`` brought back and nobody has received since."""
        data, self._early = self._early, b""
        return data

    def connect(self, place: tuple[object, ...]) -> None:
        """Connect the socket to an IP address and port.  Raises OSError."""
        with self._shared:
            code = self.network.connect_ex(place)
            if code in _UNDER_WAY:
                # To wait is to look first: who closed it before this had nobody to wake.
                if not self.wait(Side.WRITE):
                    raise BrokenPipeError("the stream is closed")
                code = self.network.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if self.closed:
                raise BrokenPipeError("the stream is closed")
            if code:
                raise OSError(code, os.strerror(code))

    def receive(self, limit: int = CHUNK) -> bytes:
        if self._early:
            data, self._early = self._early[:limit], self._early[limit:]
            return data
        with self._shared as is_open:
            while is_open:
                with contextlib.suppress(BlockingIOError):
                    return self.network.recv(limit)
                is_open = self.wait(Side.READ)
        return b""

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        with self._shared as is_open:
            while is_open:
                with contextlib.suppress(BlockingIOError):
                    left = left[self.network.send(left) :]
                if not left:
                    return
                is_open = self.wait(Side.WRITE)
        raise BrokenPipeError("the stream is closed")

    def send_eof(self) -> None:
        with self._shared as is_open:
            if is_open:
                self.network.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # Whoever waits is woken; the last one to leave gives the number of the socket away.
        self._shared.close(functools.partial(self.network.shutdown, socket.SHUT_RDWR))

    def keep_open(self) -> Shared:
        """A context in which the number of the socket stays, even if the stream is closed."""
        return self._shared

    def wait(self, side: Side) -> bool:
        """Wait until there are octets, or there is room; False: the stream was closed.

        Raises TimeoutError at the deadline.
        """
        sockets = [self.network]
        reading, writing = (sockets, []) if side is Side.READ else ([], sockets)
        while not self._shared.closed:
            left = remaining(self.deadline)
            if _GLANCE is not None:
                left = _GLANCE if left is None else min(left, _GLANCE)
            if wait_until_ready(reading, writing, left):
                break
        return not self._shared.closed


Transform: TypeAlias = Callable[[bytes], bytes]


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
    def deadline(self) -> float | None:
        return self.inner.deadline

    @deadline.setter
    def deadline(self, deadline: float | None) -> None:
        self.inner.deadline = deadline

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

    def receive(self, limit: int = CHUNK) -> bytes:
        while not self._left:
            data = self.inner.receive(limit)
            if not data:
                return b""
            self._left = self.decode(data)
        data, self._left = self._left[:limit], self._left[limit:]
        return data

    def take_left(self) -> bytes:
        """The octets that were decoded and that nobody has received yet."""
        data, self._left = self._left, b""
        return data

    def send(self, data: bytes) -> None:
        if encoded := self.encode(data):
            self.inner.send(encoded)

    def send_eof(self) -> None:
        self.inner.send_eof()

    def close(self) -> None:
        self.inner.close()


def map_stream(stream: Stream, encode: Transform, decode: Transform) -> MappedStream:
    """A stream that sends through ``encode`` and receives through ``decode``."""
    return MappedStream(stream, encode, decode)


def receive_exactly(stream: Stream, count: int) -> bytes:
    """The next ``count`` octets of a stream, as a transport's own handshake needs them.

    Raises ConnectionResetError if the stream ends before, and OSError if the connection broke.
    """
    data = bytearray()
    while len(data) < count:
        piece = stream.receive(count - len(data))
        if not piece:
            raise ConnectionResetError(f"the stream ended after {len(data)} of {count} octets")
        data += piece
    return bytes(data)


def drive(machine: Handshake, stream: SocketStream, timeout: float | None) -> None:
    """Move a handshake's octets until it is done, or waits for a decision of its owner.

    ``timeout`` is in seconds, None: for ever.  What the peer sent beyond the handshake goes back to
    the stream.  Raises the handshake's error (HandshakeTimeout when the time is over) after the
    peer has been told, OSError if the connection broke, and TimeoutError at the stream's deadline.
    """
    end = None if timeout is None else time.monotonic() + timeout
    try:
        with within(stream, timeout):
            while True:
                if data := machine.data_to_send():
                    stream.send(data)
                if machine.done or not machine.bytes_needed:
                    break
                if data := stream.receive():
                    machine.receive_data(data)
                else:
                    machine.receive_eof()
    except Exception as error:
        try:
            if isinstance(error, TimeoutError) and end is not None and time.monotonic() >= end:
                machine.receive_timeout()
        finally:
            _say_goodbye(machine, stream)
        raise
    if machine.done:
        stream.unreceive(machine.trailing_data)


def _say_goodbye(machine: Handshake, stream: SocketStream) -> None:
    """Send what a failed handshake queued, as far as it goes out without waiting."""
    if data := machine.data_to_send():
        with contextlib.suppress(OSError), stream.keep_open() as is_open:
            if is_open:
                stream.network.send(data)
                # What we did not read would turn our goodbye into a reset.
                stream.network.recv(CHUNK)


def see_off(stream: Stream, timeout: float = FAREWELL) -> None:
    """Let the peer read our last words, before its stream is closed.

    What it still sends would turn them into a reset if nobody received it; so that is done, up to a
    limit and for ``timeout`` seconds.
    """
    left = IGNORED
    with contextlib.suppress(OSError), within(stream, timeout):
        stream.send_eof()
        while left > 0 and (data := stream.receive()):
            left -= len(data)


# --- two streams ----------------------------------------------------------------------------------


def relay(one: Stream, other: Stream) -> None:
    """Copy octets both ways until both directions have ended; then close both streams.

    The end of one direction is handed on and leaves the other open.  Raises OSError if one of the
    connections broke, and whatever a function of a ``MappedStream`` raised; both streams are closed
    then, too.
    """
    failures: list[BaseException] = []

    def close() -> None:
        one.close()
        other.close()

    def pump(source: Stream, sink: Stream) -> None:
        try:
            _pump(source, sink)
        except BaseException as error:
            failures.append(error)
            close()

    try:
        with pool:
            helper = start_thread(functools.partial(pump, other, one), "relay")
            try:
                pump(one, other)
                while helper.is_alive():
                    helper.join(glance())
            except BaseException:  # we are interrupted, and shall not leave the thread behind
                close()
                helper.join()
                raise
    finally:
        close()
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()  # or else it would hold an error whose traceback holds it


def _pump(source: Stream, sink: Stream) -> None:
    """Copy one direction to its end, and hand the end on."""
    # Not what is derived from them: that may do something else with the octets.
    splices = type(source) is SocketStream and type(sink) is SocketStream
    asked = CHUNK
    while data := source.receive(asked):
        sink.send(data)
        asked = LARGE_CHUNK if len(data) >= CHUNK else CHUNK
        if splices and asked == LARGE_CHUNK:
            assert isinstance(source, SocketStream)
            assert isinstance(sink, SocketStream)
            outcome = _spliced(source, sink)
            splices = outcome is not Outcome.NEVER
            if outcome is Outcome.ENDED:
                break
    sink.send_eof()


def _spliced(source: SocketStream, sink: SocketStream) -> Outcome:
    with source.keep_open() as source_is_open, sink.keep_open() as sink_is_open:
        if source_is_open and sink_is_open:
            return splice(source, sink)
    return Outcome.FEW
