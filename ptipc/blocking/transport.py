"""The Transport API: what a transport is, inside an application and as an executable.

A transport makes a dialer for the client's args, and a listener for the server's options.  Most
have one network connection for each of their own.  If the connection and the args are all that
matters, ``StreamTransport`` makes a transport of two small functions; if the state directory or
the network do as well, the transport is a class of its author's that has its dialer and its
listener made by ``wrap_dialer`` and ``wrap_listener``.
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
    "let_go",
    "version_of",
    "wrap_dialer",
    "wrap_listener",
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

    A dialer is used for any number of connections, so it is the place for what these share.  It may
    have a method ``close()``, and so may a listener: whoever had it made calls that once, when it
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


def let_go(made: object) -> None:
    """Close a dialer or a listener that a transport has made, if it can be closed."""
    close = getattr(made, "close", None)
    if close is not None:
        close()


# --- one network connection for each --------------------------------------------------------------

Wrap = Callable[[Stream, Args], Stream]
"""What one side does to a network connection, given its args or options."""


def wrap_dialer(
    transport: Transport,
    network: Dialer,
    wrap: Callable[[Stream], Stream],
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
    wrap: Callable[[Stream], Stream],
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


def _unchanged(stream: Stream, args: Args) -> Stream:
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


def _wrapped(
    transport: Transport,
    wrap: Callable[[Stream], Stream],
    stream: Stream,
    timeout: float,
) -> Stream:
    """What is made of a connection, which is closed if that fails."""
    try:
        with within(stream, timeout):
            made = wrap(stream)
    except BaseException:
        stream.close()
        raise
    return made if Capability.HALF_CLOSE in capabilities_of(transport) else WholeStream(made)


@frozen
class _WrapDialer:
    _transport: Transport
    _network: Dialer
    _wrap: Callable[[Stream], Stream]
    _timeout: float

    def dial(self, target: Address) -> Stream:
        stream = self._network.dial(target)
        return _wrapped(self._transport, self._wrap, stream, self._timeout)


@frozen
class _WrapListener:
    _transport: Transport
    _network: Network
    _wrap: Callable[[Stream], Stream]
    args: Args
    _timeout: float
    _half_open: int
    _logger: logging.Logger

    def listen(self, address: Address) -> StreamListener:
        return _WrapAcceptor(self, self._network.listen(address), self._half_open)

    def wrapped(self, stream: Stream) -> Stream | None:
        """The stream of a client, unless that has failed."""
        try:
            return _wrapped(self._transport, self._wrap, stream, self._timeout)
        except Exception as error:
            # One client's bad handshake is nobody else's matter.
            self._logger.info("%s: a client failed: %s", self._transport.name, described(error))
        return None


@define(eq=False)
class _WrapAcceptor:
    """Accepts network connections and hands on the streams that the transport made of them.

    The transport's part runs in a thread for each connection, so that a silent client holds up
    nobody else; of too many such clients the oldest has to go.
    """

    _maker: _WrapListener
    _listener: StreamListener
    _guests: Guests = field(converter=Guests)
    _ready: queue.SimpleQueue[Stream | Exception] = field(factory=queue.SimpleQueue, init=False)
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
        made = self._maker.wrapped(stream)
        if made is None:
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
