"""The Transport API: what a transport is, inside an application and as an executable.

A transport makes a dialer for the client's args, and a listener for the server's options.  Most
transports change the octets of one network connection each; for those ``StreamTransport`` needs
two small functions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol, runtime_checkable

from attrs import define, field, frozen

from ptipc.aio.datagrams import DatagramListener
from ptipc.aio.network import Dialer, Network, StreamListener
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

__all__ = [
    "STREAMS",
    "Capability",
    "DatagramTransportListener",
    "Listener",
    "StreamTransport",
    "Transport",
    "Wrap",
    "capabilities_of",
    "described",
    "grants_early",
    "version_of",
]

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 30.0
"""How many seconds a client of a server transport has for the transport's own handshake."""
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
    """

    @property
    def name(self) -> str:
        """The name that hosts ask for (PT 1 section 3.1)."""
        ...

    def dialer(self, args: Args, network: Network) -> Dialer:
        """The client side, for the args of a connection.

        The args are judged here, before any connection is made.  Raises ValueError for bad ones.
        """
        ...

    def listener(self, options: Args, network: Network) -> Listener:
        """The server side, for the options of its operator.  Raises ValueError for bad ones."""
        ...


Wrap = Callable[[Stream, Args], Awaitable[Stream]]
"""What one side does to a network connection, given its args or options."""


async def _unchanged(stream: Stream, args: Args) -> Stream:
    return stream


@frozen(kw_only=True)
class StreamTransport:
    """A transport with one network connection for each of its own.

    ``client`` and ``server`` are given the network connection and return the stream that the
    application sees, the same one if nothing is to be changed.  ``check`` judges a client's args
    and raises ValueError; ``publish`` tells from a server's options what its clients have to know.
    Without ``Capability.HALF_CLOSE`` the end of one direction ends the other one, too, once that is
    silent.
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
    """How many seconds ``server`` may take for a client."""
    logger: logging.Logger = log
    """Where it is said why a client failed."""

    def dialer(self, args: Args, network: Network) -> Dialer:
        self.check(args)
        return _WrapDialer(self, args, network)

    def listener(self, options: Args, network: Network) -> Listener:
        return _WrapListener(self, options, network, self.publish(options))

    async def wrapped(self, wrap: Wrap, stream: Stream, args: Args) -> Stream:
        """What one of the two functions makes of a connection, which is closed if it fails."""
        try:
            made = await wrap(stream, args)
        except BaseException:
            await stream.aclose()
            raise
        return made if Capability.HALF_CLOSE in self.capabilities else WholeStream(made)


@frozen
class _WrapDialer:
    _transport: StreamTransport
    _args: Args
    _network: Network

    async def dial(self, target: Address) -> Stream:
        stream = await self._network.dial(target)
        return await self._transport.wrapped(self._transport.client, stream, self._args)


@define
class _WrapListener:
    _transport: StreamTransport
    _options: Args
    _network: Network
    args: Args

    async def listen(self, address: Address) -> StreamListener:
        return _WrapAcceptor(self._transport, self._options, await self._network.listen(address))


@define(eq=False)
class _WrapAcceptor:
    """Accepts network connections and hands on the streams that the transport made of them.

    The transport's part runs in a task for each connection, so that a silent client holds up
    nobody else.
    """

    _transport: StreamTransport
    _options: Args
    _listener: StreamListener
    _ready: asyncio.Queue[Stream | Exception] = field(factory=asyncio.Queue, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._start(self._accept())

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._ready.empty():
            stream = self._ready.get_nowait()
            if not isinstance(stream, Exception):
                await stream.aclose()
        self._ready.put_nowait(OSError("the listener is closed"))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        try:
            while True:
                self._start(self._serve(await self._listener.accept()))
        except Exception as error:
            self._ready.put_nowait(error)

    async def _serve(self, stream: Stream) -> None:
        transport = self._transport
        try:
            async with asyncio.timeout(transport.handshake_timeout):
                made = await transport.wrapped(transport.server, stream, self._options)
        except Exception as error:
            # One client's bad handshake is nobody else's matter.
            transport.logger.info("%s: a client failed: %s", transport.name, described(error))
        else:
            self._ready.put_nowait(made)


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
