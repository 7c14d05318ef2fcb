"""What the connections of a transport process share, on either side.

A ``Service`` is one transport on duty; ``Connections`` owns whatever its clients have started.
"""

from __future__ import annotations

import errno
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from attrs import define, field, frozen

from ptipc.blocking.accepting import HALF_OPEN, LAST_WORDS, join
from ptipc.blocking.network import Network, Scope
from ptipc.blocking.streams import Stream, relay
from ptipc.blocking.transport import Capability, Transport, capabilities_of, described, let_go
from ptipc.core.codecs import Address
from ptipc.core.config import Config
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.dialers import Dialers
from ptipc.osdep import start_thread

__all__ = ["AcceptLoop", "Connections", "Limits", "Port", "Service", "Work"]

Work: TypeAlias = Callable[[Scope], object]
"""What is done for a connection, with the scope for what it connects to."""


@frozen(kw_only=True)
class Limits:
    """How long a transport process waits, in seconds, and how much it takes on."""

    start: float = 15.0
    """For a transport to listen; hosts wait 30 seconds for all of it."""
    handshake: float = 10.0
    """For the handshake of a SOCKS client or of an Extended ORPort."""
    dial: float = 60.0
    """For a transport to connect."""
    drain: float = 3.0
    """For the connections that are open, once the host is done with us."""
    half_open: int = HALF_OPEN
    """SOCKS handshakes under way; beyond, the oldest has to go."""
    dialers: int = 64
    """Dialers of a transport, one for the same args; beyond, those that rest have to go."""
    connections: int = 2048
    """Connections with two threads each; beyond, newcomers are turned away."""


class Port(Protocol):
    """A place where a transport process listens."""

    @property
    def address(self) -> Address:
        """Where that really is."""
        ...

    def close(self) -> None:
        """Listen no more.  Never raises."""
        ...


@define(eq=False)
class Connections:
    """The connections that are open, and those that are being made."""

    _log: logging.Logger
    _limit: int = 2048
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _open: dict[Scope, threading.Thread] = field(factory=dict, init=False)
    _changes: queue.SimpleQueue[None] = field(factory=queue.SimpleQueue, init=False)
    """Has something for ``drain`` to look at when the number changes, or nobody is to wait."""
    _draining: bool = field(default=False, init=False)
    _hurried: bool = field(default=False, init=False)
    _cancelled: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def run(
        self, stream: Stream, work: Work, name: str, refuse: Callable[[], object] | None = None
    ) -> None:
        """Do something for a connection of the transport of that name, in this thread.

        Whatever it raises is said in the log, and is nobody else's matter.  The stream, and all
        that the work has connected to within its scope, are closed then.  If there are too many
        connections, ``refuse`` is called instead.
        """
        scope = Scope()
        try:
            scope.hold(stream)
            if self._enter(scope):
                work(scope)
            else:
                self._log.warning("%s: a connection is turned away, for there are too many", name)
                if refuse is not None:
                    refuse()
        except Exception as error:
            self._log.info("%s: a connection broke: %s", name, described(error))
        finally:
            scope.close()
            self._leave(scope)

    def start(self, stream: Stream, work: Work, name: str) -> None:
        """Do something for a connection of the transport of that name, in a thread."""
        try:
            start_thread(functools.partial(self.run, stream, work, name), "connection")
        except RuntimeError as error:  # the operating system has no more of them
            self._log.warning("%s: a connection is turned away: %s", name, error)
            stream.close()

    def drain(self, timeout: float) -> None:
        """Wait until there are none left, and end those that are when the time is over."""
        deadline = time.monotonic() + timeout
        self._draining = True
        while self._open and not self._hurried and (left := deadline - time.monotonic()) > 0:
            # Not a condition, for which a signal handler may not notify us.
            try:
                self._changes.get(timeout=left)
            except queue.Empty:
                break
        join(*self.cancel())

    def hurry(self) -> None:
        """Let ``drain`` wait no longer; from any thread, and from a signal handler."""
        self._hurried = True
        self._changes.put(None)

    def cancel(self) -> list[threading.Thread]:
        """End all connections at once.

        Returns their threads, which end soon.
        """
        with self._lock:
            self._cancelled = True
            current = dict(self._open)
        for scope in current:
            scope.close()
        return list(current.values())

    def _enter(self, scope: Scope) -> bool:
        with self._lock:
            if self._cancelled:
                raise OSError(errno.ECANCELED, "all connections were ended")
            if len(self._open) >= self._limit:
                return False
            self._open[scope] = threading.current_thread()
            return True

    def _leave(self, scope: Scope) -> None:
        with self._lock:
            self._open.pop(scope, None)
        if self._draining:
            self._changes.put(None)


@frozen(kw_only=True)
class Service:
    """One transport on duty."""

    transport: Transport
    config: Config
    network: Network
    connections: Connections
    limits: Limits
    log: logging.Logger
    _dialers: Dialers = field(init=False)
    _listeners: list[object] = field(factory=list, init=False)

    @_dialers.default
    def _make_dialers(self) -> Dialers:
        return Dialers(
            lambda args: self.transport.dialer(args, self.network),
            lambda dialer: start_thread(lambda: self._let_go(dialer), "closing"),
            self.limits.dialers,
        )

    @property
    def name(self) -> str:
        return self.transport.name

    @property
    def options(self) -> Args:
        """What the transport is told for all of its connections."""
        return self.config.options_for(self.name)

    def start(self, stream: Stream, work: Work) -> None:
        """Do something for one of its connections."""
        self.connections.start(stream, work, self.name)

    def run(self, stream: Stream, work: Work, refuse: Callable[[], object]) -> None:
        """Do something for one of its connections, in this thread."""
        self.connections.run(stream, work, self.name, refuse)

    def relay(self, one: Stream, other: Stream) -> None:
        """Relay one of its connections."""
        relay(one, other)

    # --- what it can carry

    def check_mode(self) -> None:
        """Raises LocalProtocolError if the transport cannot do what the mode asks for."""
        mode = self.config.mode
        if mode.datagrams:
            raise LocalProtocolError(f"threads carry streams only; ptipc.aio has {mode.value}")
        if Capability.STREAM not in capabilities_of(self.transport):
            raise LocalProtocolError(f"it carries no streams, which the mode {mode.value} needs")

    # --- connecting

    def dial(self, target: Address, args: Args, scope: Scope) -> Stream:
        """A stream through the transport.

        The scope takes it in.  Raises whatever the transport does: ValueError for bad args, OSError
        and others.
        """
        with self.dialer(args) as dialer:
            stream: Stream = scope.dial(dialer.dial, target, self.limits.dial)
            return stream

    def dialer(self, args: Args = NO_ARGS) -> AbstractContextManager[Any]:
        """The transport's dialer for the args of a connection, for as long as it is dialling.

        To enter raises whatever the transport does: ValueError for bad args, and others.
        """
        # PT 3.0, 1.4: options apply to all connections; what a connection says itself goes first.
        if self.options:
            args = Args([*args.pairs, *self.options.pairs])
        return self._dialers.lent(args)

    # --- listening

    def listener(self) -> Any:
        """The transport's listener.  Raises whatever the transport does."""
        listener = self.transport.listener(self.options, self.network)
        self._listeners.append(listener)
        return listener

    # --- the end

    def close(self) -> None:
        """Let go of what the transport has made, once the last connection is over."""
        made = [*self._dialers.take_all(), *self._listeners]
        closing = [start_thread(functools.partial(self._let_go, each), "closing") for each in made]
        join(*closing, timeout=LAST_WORDS)
        if any(thread.is_alive() for thread in closing):
            self._complain(TimeoutError())

    def _let_go(self, made: object) -> None:
        try:
            let_go(made)
        except Exception as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self.log.warning("%s: not closed in good order: %s", self.name, described(error))


@define(eq=False)
class AcceptLoop:
    """Hands what a listener accepts to a function, until it is closed."""

    _service: Service
    _listener: Any
    _take: Callable[[Any], object]
    _closing: bool = field(default=False, init=False)
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = start_thread(self._run, "accepting")

    @property
    def address(self) -> Address:
        """Where the listener is."""
        address: Address = self._listener.address
        return address

    def close(self) -> None:
        """Close the listener."""
        self._closing = True
        self._listener.close()
        join(self._thread, timeout=LAST_WORDS)

    def _run(self) -> None:
        try:
            while True:
                self._take(self._listener.accept())
        except Exception as error:
            if not self._closing:
                # It is too late to tell the host in any other way.
                self._service.log.error(
                    "%s listens no more: %s", self._service.name, described(error), exc_info=error
                )
