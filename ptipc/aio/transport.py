"""The Transport API: what a transport is, inside an application and as an executable.

A transport makes a dialer for the client's args, and a listener for the server's options.  Most
have one network connection for each of their own.  If the connection and the args are all that
matters, ``StreamTransport`` makes a transport of two small functions; if the state directory or
the network do as well, the transport is a class of its author's that has its dialer and its
listener made by ``wrap_dialer`` and ``wrap_listener``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from attrs import define, field, frozen

from ptipc.aio.accepting import HALF_OPEN
from ptipc.aio.network import DatagramDialer, Dialer, Network, StreamListener
from ptipc.aio.streams import CHUNK, Stream
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.transports import (
    STREAMS,
    Capability,
    capabilities_of,
    described,
    grants_early,
    version_of,
)

if TYPE_CHECKING:
    from ptipc.aio.datagrams import DatagramListener

__all__ = [
    "STREAMS",
    "Capability",
    "DatagramTransport",
    "DatagramTransportListener",
    "Listener",
    "StreamTransport",
    "Transport",
    "Wrap",
    "capabilities_of",
    "described",
    "grants_early",
    "let_go",
    "version_of",
    "wrap_dialer",
    "wrap_listener",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

HANDSHAKE_TIMEOUT = 30.0
"""How many seconds a transport's own handshake may take."""
LINGER = 5.0
"""How many seconds without an octet the other direction may last where there is no half-close."""


class Listener(Protocol):
    """The server side of a transport, before it listens."""

    @property
    def args(self) -> Args:
        """What clients have to know: the args that ``SMETHOD`` publishes."""
        ...

    async def listen(self, address: Address) -> StreamListener:
        """Listen for clients at an address.  Raises OSError."""
        ...


class DatagramTransportListener(Protocol):
    """The server side of a transport that declares ``Capability.DATAGRAM``."""

    @property
    def args(self) -> Args:
        """What clients have to know."""
        ...

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        """Listen for clients at an address.  Raises OSError."""
        ...


@runtime_checkable
class Transport(Protocol):
    """What disguises traffic; anything of this shape is a transport.

    It may also have, and is asked by the functions of this module for:

    ``capabilities``
        what it can carry, a ``Capability``; ``STREAMS`` if it does not say;
    ``version``
        the text that hosts are told as its version (``STATUS TYPE=version``);
    ``grant_early``
        whether an application is told that it is connected before it is, for a transport that
        needs the first octets to connect.  An application then cannot hear why it was not.

    A dialer is used for any number of connections, so it is the place for what these share.  It may
    have a method ``aclose()``, and so may a listener: whoever had it made calls that once, when it
    is needed no more, which in a transport process is after the last connection.  What it holds (a
    connection that is shared, a task, a file) is given up then; streams that are open go on.
    """

    @property
    def name(self) -> str:
        """The name that hosts ask for (PT 1 section 3.1)."""
        ...

    def dialer(self, args: Args, network: Network) -> Dialer:
        """The client side, for the args of some connections.

        The args are judged here, before any connection is made.  Raises ValueError for bad ones.
        ``network`` is the only way to the world, and has the state directory.
        """
        ...

    def listener(self, options: Args, network: Network) -> Listener:
        """The server side, for the options of its operator.  Raises ValueError for bad ones."""
        ...


class DatagramTransport(Protocol):
    """A transport that carries datagrams only, and declares ``Capability.DATAGRAM``.

    In all else it is like a ``Transport``.
    """

    @property
    def name(self) -> str:
        """The name that hosts ask for."""
        ...

    def dialer(self, args: Args, network: Network) -> DatagramDialer:
        """The client side.  Raises ValueError for bad args."""
        ...

    def listener(self, options: Args, network: Network) -> DatagramTransportListener:
        """The server side.  Raises ValueError for bad options."""
        ...


async def let_go(made: object) -> None:
    """Close a dialer or a listener that a transport has made, if it can be closed."""
    aclose = getattr(made, "aclose", None)
    if aclose is not None:
        await aclose()


# --- one network connection for each --------------------------------------------------------------

Wrap = Callable[[Stream, Args], Awaitable[Stream]]
"""What one side does to a network connection, given its args or options."""


def wrap_dialer(
    transport: Transport,
    network: Dialer,
    wrap: Callable[[Stream], Awaitable[Stream]],
    *,
    timeout: float = HANDSHAKE_TIMEOUT,
) -> Dialer:
    """A dialer for a transport that makes each of its connections of one of the network's.

    ``wrap`` is given the network connection and returns the stream that the application sees, for
    which it has ``timeout`` seconds; the connection is closed if it raises anything.
    If the ``capabilities`` of the transport are without ``HALF_CLOSE``, the end of one direction
    ends the other one, too, once that is silent.
    """
    return _WrapDialer(transport, network, wrap, timeout)


def wrap_listener(
    transport: Transport,
    network: Network,
    wrap: Callable[[Stream], Awaitable[Stream]],
    args: Args = NO_ARGS,
    *,
    timeout: float = HANDSHAKE_TIMEOUT,
    half_open: int = HALF_OPEN,
    logger: logging.Logger = log,
) -> Listener:
    """A listener for a transport that makes each of its connections of one of the network's.

    ``wrap`` is as with ``wrap_dialer``, and called for several clients at a time; why a client
    failed is said to ``logger``.  When it is under way for more than ``half_open`` clients, the
    oldest has to go.  ``args`` are what clients have to know.
    """
    return _WrapListener(transport, network, wrap, args, timeout, half_open, logger)


async def _unchanged(stream: Stream, args: Args) -> Stream:
    return stream


@frozen(kw_only=True)
class StreamTransport:
    """A transport of two functions, with one network connection for each of its own.

    ``client`` and ``server`` are given the network connection, and the args of the client or the
    options of the server.  They return the stream that the application sees, the same one if
    nothing is to be changed.  ``check`` judges a client's args and raises ValueError; ``publish``
    tells from a server's options what its clients have to know.
    Without ``Capability.HALF_CLOSE`` the end of one direction ends the other one, too, once that is
    silent.  Where that is not enough, see ``wrap_dialer`` and ``wrap_listener``.
    """

    name: str = field(kw_only=False)
    client: Wrap = _unchanged
    server: Wrap = _unchanged
    check: Callable[[Args], object] = lambda args: None
    publish: Callable[[Args], Args] = lambda options: NO_ARGS
    version: str | None = None
    """The version that hosts are told (``STATUS TYPE=version``)."""
    capabilities: Capability = STREAMS
    grant_early: bool = False
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    """How many seconds ``client`` and ``server`` may take for what they do with a connection."""
    half_open: int = HALF_OPEN
    """How many clients ``server`` may be busy with at a time; beyond, the oldest has to go."""
    logger: logging.Logger = log
    """Where it is said why a client failed."""

    def dialer(self, args: Args, network: Network) -> Dialer:
        self.check(args)
        return wrap_dialer(
            self, network, lambda stream: self.client(stream, args), timeout=self.handshake_timeout
        )

    def listener(self, options: Args, network: Network) -> Listener:
        return wrap_listener(
            self,
            network,
            lambda stream: self.server(stream, options),
            self.publish(options),
            timeout=self.handshake_timeout,
            half_open=self.half_open,
            logger=self.logger,
        )


async def _wrapped(
    transport: Transport,
    wrap: Callable[[Stream], Awaitable[Stream]],
    stream: Stream,
    timeout: float,
) -> Stream:
    """What is made of a connection, which is closed if that fails."""
    try:
        async with asyncio.timeout(timeout):
            made = await wrap(stream)
    except BaseException:
        await stream.aclose()
        raise
    return made if Capability.HALF_CLOSE in capabilities_of(transport) else WholeStream(made)


@frozen
class _WrapDialer:
    _transport: Transport
    _network: Dialer
    _wrap: Callable[[Stream], Awaitable[Stream]]
    _timeout: float

    async def dial(self, target: Address) -> Stream:
        stream = await self._network.dial(target)
        return await _wrapped(self._transport, self._wrap, stream, self._timeout)


@frozen
class _WrapListener:
    _transport: Transport
    _network: Network
    _wrap: Callable[[Stream], Awaitable[Stream]]
    args: Args
    _timeout: float
    _half_open: int
    _logger: logging.Logger

    async def listen(self, address: Address) -> StreamListener:
        return _WrapAcceptor(self, await self._network.listen(address), self._half_open)

    async def wrapped(self, stream: Stream) -> Stream | None:
        """The stream of a client, unless that has failed."""
        try:
            return await _wrapped(self._transport, self._wrap, stream, self._timeout)
        except Exception as error:
            # One client's bad handshake is nobody else's matter.
            self._logger.info("%s: a client failed: %s", self._transport.name, described(error))
        return None


@define(eq=False)
class _WrapAcceptor:
    """Accepts network connections and hands on the streams that the transport made of them.

    The transport's part runs in a task for each connection, so that a silent client holds up
    nobody else; of too many such clients the oldest has to go.
    """

    _maker: _WrapListener
    _listener: StreamListener
    _half_open: int
    _ready: asyncio.Queue[Stream | Exception] = field(factory=asyncio.Queue, init=False)
    _guests: dict[asyncio.Task[Stream | None], None] = field(factory=dict, init=False)
    """For the clients that are not ready yet, in the order in which they came."""
    _tasks: set[asyncio.Task[Any]] = field(factory=set, init=False)
    """All that is under way."""
    _accepting: asyncio.Task[None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._accepting = self._start(self._accept())

    @property
    def address(self) -> Address:
        return self._listener.address

    async def accept(self) -> Stream:
        stream = await self._ready.get()
        if isinstance(stream, Exception):
            self._ready.put_nowait(stream)
            raise stream
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()
        for task in (self._accepting, *self._guests):
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        while not self._ready.empty():
            stream = self._ready.get_nowait()
            if not isinstance(stream, Exception):
                await stream.aclose()
        self._ready.put_nowait(OSError("the listener is closed"))

    async def _accept(self) -> None:
        try:
            while True:
                stream = await self._listener.accept()
                if len(self._guests) >= self._half_open:
                    oldest = next(iter(self._guests))
                    del self._guests[oldest]
                    oldest.cancel()
                guest = self._start(self._maker.wrapped(stream))
                self._guests[guest] = None
                guest.add_done_callback(functools.partial(self._take, stream))
        except Exception as error:
            self._ready.put_nowait(error)

    def _take(self, stream: Stream, guest: asyncio.Task[Stream | None]) -> None:
        self._guests.pop(guest, None)
        if guest.cancelled():
            # What was cancelled before its first turn has closed nothing.
            self._start(stream.aclose())
        elif (made := guest.result()) is not None:
            self._ready.put_nowait(made)

    def _start(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@define(eq=False)
class WholeStream:
    """A stream that ends in both directions at once.

    The end of what is sent cannot be said to the peer.  So that an answer still arrives, the other
    direction lasts until nothing was received for ``linger`` seconds.
    """

    inner: Stream
    linger: float = LINGER
    _ended: asyncio.Event = field(factory=asyncio.Event, init=False)
    _receiving: asyncio.Task[bytes] | None = field(default=None, init=False)
    _rest: bytes = field(default=b"", init=False)

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
        return False

    async def receive(self, limit: int = CHUNK) -> bytes:
        if not self._rest:
            if self._receiving is None:
                self._receiving = asyncio.ensure_future(self.inner.receive())
            await self._wait_for(self._receiving)
            if not self._receiving.done():
                await self.aclose()
                return b""
            receiving, self._receiving = self._receiving, None
            self._rest = receiving.result()
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def _wait_for(self, receiving: asyncio.Task[bytes]) -> None:
        """Wait until something was received, or for as long as that may take."""
        # Not cancelled when we are: it may have the octets in its hands already.
        if not self._ended.is_set():
            ending = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ending.cancel()
        if not receiving.done():
            await asyncio.wait({receiving}, timeout=self.linger)

    async def send(self, data: bytes) -> None:
        await self.inner.send(data)

    async def send_eof(self) -> None:
        self._ended.set()

    async def aclose(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
            self._receiving = None
        await self.inner.aclose()
