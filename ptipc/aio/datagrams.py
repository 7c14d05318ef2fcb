"""Datagrams: what a transport without a stream is given, and UDP itself.

``Datagrams`` is to UDP what ``Stream`` is to TCP.  ``UdpSocket`` is a socket of the operating
system; a ``UdpAcceptor`` makes of one socket a conversation for each remote address;
``FramedDatagrams`` carries datagrams on a stream.  Whoever is too slow loses datagrams, as on any
network: nothing here waits for a reader, and every queue has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from attrs import define, field

from ptipc.aio.streams import Stream
from ptipc.core.codecs import Address
from ptipc.core.datagrams import Framing
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "DatagramListener",
    "DatagramQueue",
    "Datagrams",
    "FramedDatagrams",
    "UdpAcceptor",
    "UdpDatagrams",
    "UdpSocket",
]

QUEUE = 262144
"""How many octets of datagrams wait for a reader; what comes beyond is lost."""
OVERHEAD = 64
"""How many octets a datagram counts for besides its own: many empty ones are not nothing."""
IDLE_TIMEOUT = 120.0
"""How many seconds a conversation without a datagram is remembered (RFC 4787 section 4.3)."""
CONVERSATIONS = 1024
"""How many remote addresses a listener has conversations with at a time."""


@runtime_checkable
class Datagrams(Protocol):
    """A conversation in datagrams with one peer; any of them may be lost, on either way."""

    async def send(self, data: bytes) -> None:
        """Send one datagram.  Raises OSError if the conversation is over."""
        ...

    async def receive(self) -> bytes | None:
        """The next datagram, which may be empty; None once there will be no more.

        Raises OSError if the peer cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """End the conversation; never raises, may be called again."""
        ...

    @property
    def peer(self) -> Address | None:
        """Whom the conversation is with, if that is an address."""
        ...


class DatagramListener(Protocol):
    """A place where conversations in datagrams begin."""

    @property
    def address(self) -> Address:
        """Where the listener really is: port 0 has become a port."""
        ...

    async def accept(self) -> Datagrams:
        """The next conversation.  Raises OSError once the listener is closed."""
        ...

    async def aclose(self) -> None:
        """Accept no more, and end what was accepted.  Never raises, may be called again."""
        ...


Received = Callable[[bytes, Address], object]
"""What is called with each datagram and where it came from."""


class _Endpoint(asyncio.DatagramProtocol):
    def __init__(self, owner: UdpSocket) -> None:
        self._owner = owner

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._owner.received(data, Address(str(addr[0]), int(addr[1])))

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._owner.failed(exc)


def _nobody(error: OSError) -> None:
    """Who wants to know: on a socket that is open to all, the error may be about anybody."""


@define(eq=False)
class UdpSocket:
    """A UDP socket of the operating system, connected to one peer or open to all.

    ``received`` is called with each datagram; ``failed`` with what the operating system reports,
    which is about some datagram that was sent before.
    """

    received: Received
    failed: Callable[[OSError], object] = _nobody
    closed: bool = field(default=False, init=False)
    _socket: socket.socket = field(init=False)
    _transport: asyncio.DatagramTransport = field(init=False)

    @classmethod
    async def connect(
        cls,
        place: tuple[Any, ...],
        received: Received,
        failed: Callable[[OSError], object] = _nobody,
        *,
        source: str | None = None,
    ) -> UdpSocket:
        """A socket for one peer, by its IP address as the operating system wants it."""
        self = cls(received, failed)
        await self._open(place[0], None if source is None else (source, 0), place)
        return self

    @classmethod
    async def listen(cls, address: Address, received: Received) -> UdpSocket:
        """A socket for everybody.  Raises OSError, ValueError for a name."""
        if address.ip is None:
            raise ValueError(f"not an IP address to listen at: {address.host!r}")
        self = cls(received)
        await self._open(address.host, (address.host, address.port), None)
        return self

    async def _open(
        self, host: str, bind: tuple[str, int] | None, peer: tuple[Any, ...] | None
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if bind is not None:
                self._socket.bind(bind)
            if peer is not None:
                self._socket.connect(peer)
            self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Endpoint(self), sock=self._socket
            )
        except BaseException:
            self._socket.close()
            raise

    @property
    def address(self) -> Address:
        """Our own address."""
        name = self._transport.get_extra_info("sockname")
        return Address(name[0], name[1])

    @property
    def peer(self) -> Address | None:
        """The only peer, if there is one."""
        name = self._transport.get_extra_info("peername")
        return None if name is None else Address(name[0], name[1])

    def send(self, data: bytes, to: Address | None = None) -> None:
        """Send a datagram, if there is room for it; to ``to``, or to the only peer."""
        if self.closed:
            return
        try:
            # Not by asyncio, which keeps what there is no room for, and drops what is empty.
            if to is None:
                self._socket.send(data)
            else:
                self._socket.sendto(data, (to.host, to.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self.failed(error)

    def close(self) -> None:
        """Close the socket; may be called again."""
        self.closed = True
        self._transport.abort()


@define(eq=False)
class DatagramQueue:
    """The datagrams that wait for a reader, and the end behind them."""

    _waiting: deque[bytes] = field(factory=deque, init=False)
    _octets: int = field(default=0, init=False)
    _arrived: asyncio.Event = field(factory=asyncio.Event, init=False)
    _error: OSError | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)

    def put(self, data: bytes) -> None:
        """Add a datagram, if there is room for it."""
        size = len(data) + OVERHEAD
        if not self.ended and self._octets + size <= QUEUE:
            self._octets += size
            self._waiting.append(data)
            self._arrived.set()

    def fail(self, error: OSError) -> None:
        """Tell the reader, once, of an error; what was received before comes first."""
        self._error = error
        self._arrived.set()

    def end(self) -> None:
        """Say that there will be no more."""
        self.ended = True
        self._arrived.set()

    async def get(self) -> bytes | None:
        """The next datagram; None at the end.  Raises OSError, see ``fail``."""
        while not self._waiting:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self.ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        data = self._waiting.popleft()
        self._octets -= len(data) + OVERHEAD
        return data


@define(eq=False)
class UdpDatagrams:
    """A conversation in UDP with one peer, on a socket of its own."""

    _queue: DatagramQueue = field(factory=DatagramQueue, init=False)
    _socket: UdpSocket = field(init=False)

    @classmethod
    async def connect(cls, place: tuple[Any, ...], source: str | None = None) -> UdpDatagrams:
        """Start a conversation.  Raises OSError."""
        self = cls()
        self._socket = await UdpSocket.connect(
            place, lambda data, _: self._queue.put(data), self._queue.fail, source=source
        )
        return self

    @property
    def peer(self) -> Address | None:
        return self._socket.peer

    @property
    def local(self) -> Address:
        """Our own address of the conversation."""
        return self._socket.address

    async def send(self, data: bytes) -> None:
        if self._socket.closed:
            raise BrokenPipeError("the conversation is over")
        self._socket.send(data)

    async def receive(self) -> bytes | None:
        return await self._queue.get()

    async def aclose(self) -> None:
        self._queue.end()
        self._socket.close()


@define(eq=False)
class _Conversation:
    """A conversation with one remote address of a ``UdpAcceptor``."""

    _acceptor: UdpAcceptor
    peer: Address
    queue: DatagramQueue = field(factory=DatagramQueue, init=False)

    async def send(self, data: bytes) -> None:
        if self.queue.ended:
            raise BrokenPipeError("the conversation is over")
        self._acceptor.send(data, self.peer)

    async def receive(self) -> bytes | None:
        return await self.queue.get()

    async def aclose(self) -> None:
        self._acceptor.forget(self.peer)


@define(eq=False, kw_only=True)
class UdpAcceptor:
    """A UDP socket whose remote addresses have a conversation each.

    Datagrams from newcomers are dropped while there are ``limit`` conversations; one without a
    datagram for ``idle_timeout`` seconds is over.
    """

    idle_timeout: float = IDLE_TIMEOUT
    limit: int = CONVERSATIONS
    _socket: UdpSocket = field(init=False)
    _by_peer: dict[Address, _Conversation] = field(factory=dict, init=False)
    _used: dict[Address, float] = field(factory=dict, init=False)
    """When the last datagram was, the least recent first."""
    _new: asyncio.Queue[_Conversation | None] = field(factory=asyncio.Queue, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @classmethod
    async def listen(
        cls, address: Address, *, idle_timeout: float = IDLE_TIMEOUT, limit: int = CONVERSATIONS
    ) -> UdpAcceptor:
        """Listen at an address.  Raises OSError."""
        self = cls(idle_timeout=idle_timeout, limit=limit)
        self._socket = await UdpSocket.listen(address, self._received)
        return self

    @property
    def address(self) -> Address:
        return self._socket.address

    async def accept(self) -> Datagrams:
        conversation = await self._new.get()
        if conversation is None:
            self._new.put_nowait(None)
            raise OSError("the listener is closed")
        return conversation

    async def aclose(self) -> None:
        if not self._socket.closed:
            self._socket.close()
            self._new.put_nowait(None)
        for peer in list(self._by_peer):
            self.forget(peer)

    def send(self, data: bytes, peer: Address) -> None:
        """Send a datagram to one of the peers."""
        self._use(peer)
        self._socket.send(data, peer)

    def forget(self, peer: Address) -> None:
        """End the conversation with a peer; the next datagram from there starts another."""
        self._used.pop(peer, None)
        if conversation := self._by_peer.pop(peer, None):
            conversation.queue.end()
        if not self._by_peer and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _received(self, data: bytes, peer: Address) -> None:
        conversation = self._by_peer.get(peer)
        if conversation is None:
            if len(self._by_peer) >= self.limit:
                return
            conversation = self._by_peer[peer] = _Conversation(self, peer)
            self._new.put_nowait(conversation)
        self._use(peer)
        conversation.queue.put(data)

    def _use(self, peer: Address) -> None:
        if peer in self._by_peer:
            loop = asyncio.get_running_loop()
            self._used.pop(peer, None)
            self._used[peer] = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(self.idle_timeout, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for peer, used in list(self._used.items()):
            if used + self.idle_timeout > loop.time():
                self._timer = loop.call_at(used + self.idle_timeout, self._expire)
                break
            self.forget(peer)


@define(eq=False)
class FramedDatagrams:
    """Datagrams on a stream: a conversation that loses nothing but what cannot be framed."""

    _stream: Stream
    _framing: Framing
    _received: deque[bytes] = field(factory=deque, init=False)

    @property
    def peer(self) -> Address | None:
        return self._stream.peer

    async def send(self, data: bytes) -> None:
        # Drop what the framing cannot carry: to the sender it is a datagram that was lost.
        with contextlib.suppress(LocalProtocolError):
            await self._stream.send(self._framing.serialize(data))

    async def receive(self) -> bytes | None:
        """The next datagram.

        Raises RemoteProtocolError if the peer does not frame datagrams as we do, OSError if the
        stream broke.
        """
        while not self._received:
            data = await self._stream.receive()
            if not data:
                with contextlib.suppress(RemoteProtocolError):  # a datagram that was cut is lost
                    self._framing.receive_eof()
                return None
            self._received += self._framing.feed(data)
        return self._received.popleft()

    async def aclose(self) -> None:
        await self._stream.aclose()
