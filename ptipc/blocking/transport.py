"""The Transport API: what a transport is, inside an application and as an executable.

A transport makes a dialer for the client's args, and a listener for the server's options.  Most
transports change the octets of one network connection each; for those ``StreamTransport`` needs
two small functions.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from attrs import define, field, frozen

from ptipc.blocking.accepting import HALF_OPEN, Guests, join
from ptipc.blocking.network import Dialer, Network, StreamListener
from ptipc.blocking.streams import CHUNK, Stream, within
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
from ptipc.osdep import glance, start_thread

__all__ = [
    "STREAMS",
    "Capability",
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
"""How many seconds a transport's own handshake may take."""
LINGER = 5.0
"""How many seconds without an octet the other direction may last where there is no half-close."""


class Listener(Protocol):
    """The server side of a transport, before it listens."""

    @property
    def args(self) -> Args:
        """What clients have to know: the args that ``SMETHOD`` publishes."""
        ...

    def listen(self, address: Address) -> StreamListener:
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


Wrap = Callable[[Stream, Args], Stream]
"""What one side does to a network connection, given its args or options."""


def _unchanged(stream: Stream, args: Args) -> Stream:
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
    """How many seconds ``client`` and ``server`` may take for what they do with a connection."""
    logger: logging.Logger = log
    """Where it is said why a client failed."""

    def dialer(self, args: Args, network: Network) -> Dialer:
        self.check(args)
        return _WrapDialer(self, args, network)

    def listener(self, options: Args, network: Network) -> Listener:
        return _WrapListener(self, options, network, self.publish(options))

    def wrapped(self, wrap: Wrap, stream: Stream, args: Args) -> Stream:
        """What one of the two functions makes of a connection, which is closed if it fails."""
        try:
            with within(stream, self.handshake_timeout):
                made = wrap(stream, args)
        except BaseException:
            stream.close()
            raise
        return made if Capability.HALF_CLOSE in self.capabilities else WholeStream(made)


@frozen
class _WrapDialer:
    _transport: StreamTransport
    _args: Args
    _network: Network

    def dial(self, target: Address) -> Stream:
        stream = self._network.dial(target)
        return self._transport.wrapped(self._transport.client, stream, self._args)


@define
class _WrapListener:
    _transport: StreamTransport
    _options: Args
    _network: Network
    args: Args

    def listen(self, address: Address) -> StreamListener:
        return _WrapAcceptor(self._transport, self._options, self._network.listen(address))


@define(eq=False)
class _WrapAcceptor:
    """Accepts network connections and hands on the streams that the transport made of them.

    The transport's part runs in a thread for each connection, so that a silent client holds up
    nobody else; of too many such clients the oldest has to go.
    """

    _transport: StreamTransport
    _options: Args
    _listener: StreamListener
    _ready: queue.SimpleQueue[Stream | Exception] = field(factory=queue.SimpleQueue, init=False)
    _guests: Guests = field(factory=lambda: Guests(HALF_OPEN), init=False)
    _handing_on: threading.Lock = field(factory=threading.Lock, init=False)
    _closed: bool = field(default=False, init=False)
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = start_thread(self._accept, "accepting")

    @property
    def address(self) -> Address:
        return self._listener.address

    def accept(self) -> Stream:
        while True:
            with contextlib.suppress(queue.Empty):
                stream = self._ready.get(timeout=glance())
                break
        if isinstance(stream, Exception):
            self._ready.put(stream)
            raise stream
        return stream

    def close(self) -> None:
        with self._handing_on:
            self._closed = True
        self._listener.close()
        self._guests.close()
        join(self._thread)
        while not self._ready.empty():
            stream = self._ready.get()
            if not isinstance(stream, Exception):
                stream.close()
        self._ready.put(OSError("the listener is closed"))

    def _accept(self) -> None:
        try:
            while True:
                stream = self._listener.accept()
                self._guests.welcome(stream, functools.partial(self._serve, stream))
        except Exception as error:
            self._ready.put(error)

    def _serve(self, stream: Stream) -> None:
        transport = self._transport
        try:
            made = transport.wrapped(transport.server, stream, self._options)
        except Exception as error:
            # One client's bad handshake is nobody else's matter.
            transport.logger.info("%s: a client failed: %s", transport.name, described(error))
            return
        with self._handing_on:
            self._guests.done(stream)
            if not self._closed:
                self._ready.put(made)
                return
        made.close()


@define(eq=False)
class WholeStream:
    """A stream that ends in both directions at once.

    The end of what is sent cannot be said to the peer.  So that an answer still arrives, the other
    direction lasts until nothing was received for ``linger`` seconds.
    """

    inner: Stream
    linger: float = LINGER
    _waiting_since: float | None = field(default=None, init=False)
    """Since when somebody waits for octets; None: nobody does."""
    _over: threading.Event = field(factory=threading.Event, init=False)
    _lingering: threading.Thread | None = field(default=None, init=False)

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
        return False

    def receive(self, limit: int = CHUNK) -> bytes:
        self._waiting_since = time.monotonic()
        try:
            return self.inner.receive(limit)
        finally:
            self._waiting_since = None

    def send(self, data: bytes) -> None:
        self.inner.send(data)

    def send_eof(self) -> None:
        if self._lingering is None:
            self._lingering = start_thread(self._linger, "linger")

    def close(self) -> None:
        self._over.set()
        self.inner.close()
        if self._lingering is not None:
            join(self._lingering)

    def _linger(self) -> None:
        """Close once somebody has waited for long enough, in a thread."""
        begun = time.monotonic()
        left = self.linger
        while not self._over.wait(left):
            now, since = time.monotonic(), self._waiting_since
            # As long as nobody waits, whatever has come is not lost.
            left = self.linger - (0 if since is None else now - max(since, begun))
            if left <= 0:
                self.inner.close()
                return
