"""How a transport reaches the world: dial, listen, and nothing past an upstream proxy.

``SystemNetwork`` is the network of the operating system.  With an upstream proxy every connection
goes through it, names are left to it, and there is no way around it: what cannot go through it
fails (PT 1 section 3.2.2 and 4).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen

from ptipc.blocking.sharing import Shared, remaining, wait_until_ready
from ptipc.blocking.streams import SocketStream, Stream, drive, within
from ptipc.core.codecs import Address, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.upstream import source_address, upstream_handshake
from ptipc.osdep import State, glance, soonest, start_thread
from ptipc.sockets import (
    PAUSE,
    Place,
    bound_address,
    concerns_one,
    listening_socket,
    literal,
    look_up,
)

__all__ = [
    "Dialer",
    "Network",
    "Scope",
    "SocketListener",
    "StreamListener",
    "SystemNetwork",
]

log = logging.getLogger(__name__)

DIAL_TIMEOUT = 60.0
"""How many seconds one connection, with the upstream proxy's handshake, may take."""


class Dialer(Protocol):
    """Whatever can connect to a target, any number of times."""

    def dial(self, target: Address) -> Stream:
        """A new stream to the target.  Raises OSError, or an error of ``ptipc.core.errors``."""
        ...


class StreamListener(Protocol):
    """A place where streams arrive."""

    @property
    def address(self) -> Address:
        """Where the listener really is: port 0 has become a port."""
        ...

    def accept(self) -> Stream:
        """The next stream.  Raises OSError once the listener is closed."""
        ...

    def close(self) -> None:
        """Accept no more; streams that were accepted go on.  Never raises, may be called again."""
        ...


class Network(Dialer, Protocol):
    """What a transport is given to reach the world; one transport can be another's network."""

    def listen(self, address: Address) -> StreamListener:
        """Listen at an address.  Raises OSError."""
        ...

    @property
    def state(self) -> State | None:
        """The only place for files; None if the host gave none."""
        ...


@define(eq=False)
class SocketListener:
    """A listening socket of the operating system."""

    _socket: socket.socket
    address: Address = field(init=False)
    _shared: Shared = field(init=False, repr=False)
    _ear: socket.socket = field(init=False, repr=False)
    """Is at its end once the listener is closed."""
    _mouth: socket.socket = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._socket.setblocking(False)
        self.address = bound_address(self._socket)
        self._ear, self._mouth = socket.socketpair()
        self._shared = Shared(self._socket, self._ear, self._mouth)

    def accept(self) -> SocketStream:
        """The next connection.

        What is wrong with one connection is nobody else's matter, and a lack of descriptors is
        waited out.  Raises OSError once the listener is closed.
        """
        with self._shared as is_open:
            while is_open:
                try:
                    connection, _ = self._socket.accept()
                except BlockingIOError:
                    wait_until_ready([self._socket, self._ear])
                except OSError as error:
                    self._overcome(error)
                else:
                    return SocketStream(connection)
                is_open = not self._shared.closed
        raise OSError(errno.EBADF, "the listener is closed")

    def close(self) -> None:
        self._shared.close(functools.partial(self._mouth.shutdown, socket.SHUT_WR))

    def _overcome(self, error: OSError) -> None:
        if not concerns_one(error):
            log.warning("no more connections for now: %s", error.strerror)
            # What we were to accept is still waiting, so without a pause we would spin.
            wait_until_ready([self._ear], timeout=PAUSE)


S = TypeVar("S", bound=Stream)

_DIALLING = threading.local()
"""Of each thread, the scope for which it dials, and until when: as a task has its timeouts."""


class Scope:
    """What was connected for one purpose: it is closed all at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: list[Stream] = []
        self._passing: list[Stream] = []
        """What is connected while somebody dials, who may have others share it afterwards."""
        self._closed = False

    def hold(self, stream: Stream) -> None:
        """Take in a stream.  Raises OSError if it is too late, and closes it."""
        self._take_in(self._streams, stream)

    def dial(self, dial: Callable[[Address], S], target: Address, timeout: float) -> S:
        """Connect to a target, and take in the stream.

        All that this thread connects to meanwhile is closed as well if the scope is, and shares
        ``timeout`` seconds.  Raises whatever ``dial`` does, OSError if the scope is closed.
        """
        with self._dialling(time.monotonic() + timeout):
            stream = dial(target)
        self.hold(stream)
        return stream

    @staticmethod
    def take_in(stream: Stream) -> None:
        """Take in a stream on its way, if this thread is dialling for a scope: see ``dial``."""
        scope, deadline = getattr(_DIALLING, "current", (None, None))
        if scope is not None:
            stream.deadline = deadline
            scope._take_in(scope._passing, stream)

    def _take_in(self, streams: list[Stream], stream: Stream) -> None:
        with self._lock:
            if not self._closed:
                # Those that a transport has closed itself need not be kept.
                streams[:] = [each for each in streams if not getattr(each, "closed", False)]
                streams.append(stream)
                return
        stream.close()
        raise OSError(errno.ECANCELED, "everything was to be closed")

    @contextlib.contextmanager
    def _dialling(self, deadline: float) -> Iterator[None]:
        before = getattr(_DIALLING, "current", (None, None))
        _DIALLING.current = (self, deadline)
        try:
            yield
        finally:
            _DIALLING.current = before
            with self._lock:
                passing, self._passing = self._passing, []
            for stream in passing:
                stream.deadline = None

    def close(self) -> None:
        """Close all streams, from any thread, and those that come later as well."""
        with self._lock:
            self._closed = True
            streams, self._streams = self._streams + self._passing, []
        for stream in streams:
            stream.close()


@frozen(kw_only=True)
class SystemNetwork:
    """The network of the operating system, by way of an upstream proxy if there is one."""

    proxy: UpstreamProxy | None = None
    outbound_v4: str | None = None
    """The source address of whatever goes out by IPv4, except to loopback (PT 1 section 3.2.1)."""
    outbound_v6: str | None = None
    """The source address of whatever goes out by IPv6, except to loopback (PT 1 section 3.2.1)."""
    timeout: float | None = DIAL_TIMEOUT
    """How many seconds one connection, with the upstream proxy's handshake, may take."""
    state: State | None = None

    @classmethod
    def of(cls, config: Config) -> SystemNetwork:
        """The network that a host's configuration describes."""
        return cls(
            proxy=config.proxy,
            outbound_v4=config.outbound_v4,
            outbound_v6=config.outbound_v6,
            state=None if config.state is None else State(config.state),
        )

    def dial(self, target: Address) -> SocketStream:
        """Connect to a target.  Raises OSError, or an error of the upstream proxy's handshake."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        if self.proxy is None:
            return self._connect(target, deadline)
        machine = upstream_handshake(self.proxy, target)
        stream = self._connect(self.proxy.address, deadline)
        try:
            with within(stream, remaining(deadline)):
                drive(machine, stream, None)
        except BaseException:
            stream.close()
            raise
        return stream

    def listen(self, address: Address) -> SocketListener:
        return SocketListener(listening_socket(address))

    def source_for(self, host: str) -> str | None:
        """The source address for what goes to an IP address; None: the system chooses."""
        return source_address(host, self.outbound_v4, self.outbound_v6)

    def _connect(self, target: Address, deadline: float | None) -> SocketStream:
        """Connect to the first address of a target that does not fail."""
        failure: OSError | None = None
        for place in places(target, deadline):
            try:
                return self._connect_to(place, deadline)
            except OSError as error:
                failure = error
        raise failure or OSError(errno.EHOSTUNREACH, f"no address for {target.host!r}")

    def _connect_to(self, place: Place, deadline: float | None) -> SocketStream:
        family, address = place
        stream = SocketStream(socket.socket(family, socket.SOCK_STREAM))
        try:
            before = self._take_in(stream, deadline)
            if source := self.source_for(address[0]):
                stream.network.bind((source, 0))
            stream.connect(address)
            stream.deadline = before
        except BaseException:
            stream.close()
            raise
        return stream

    def _take_in(self, stream: SocketStream, deadline: float | None) -> float | None:
        """Set the deadline for connecting; returns the one for afterwards."""
        Scope.take_in(stream)
        before = stream.deadline
        given = [each for each in (before, deadline) if each is not None]
        stream.deadline = min(given, default=None)
        return before


def places(target: Address, deadline: float | None) -> list[Place]:
    """What the operating system calls the target.  Raises OSError if it does not know the name."""
    found = literal(target)
    if found is None:
        found = _in_a_thread(functools.partial(look_up, target, socket.SOCK_STREAM), deadline)
    return found


def _in_a_thread(work: Callable[[], Any], deadline: float | None) -> Any:
    """The result of something slow that cannot be interrupted, if it comes in time."""
    outcomes: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((work(), None))
        except Exception as error:
            outcomes.put((None, error))

    start_thread(run, "look-up")
    while True:
        with contextlib.suppress(queue.Empty):
            result, error = outcomes.get(timeout=soonest(remaining(deadline), glance()))
            break
    if error is not None:
        raise error
    return result
