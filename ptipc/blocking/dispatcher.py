"""One life of a transport process: what it starts, what it says, and how it ends.

Nothing here is global.  A ``Dispatcher`` is given its configuration, and a function for the lines
it says; it leaves signals, standard input, the environment and Python's logging alone.  So it runs
as well inside an application, in a thread of its own (PT 3.0 Base section 4.4);
``ptipc.blocking.run`` makes a whole process of it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence

from attrs import define, field

from ptipc.blocking.accepting import join
from ptipc.blocking.network import SystemNetwork
from ptipc.blocking.service import Connections, Limits, Port, Service
from ptipc.blocking.transport import Transport, described, version_of
from ptipc.core import codecs
from ptipc.core.codecs import Address, LogLevel
from ptipc.core.config import Config
from ptipc.core.dialects import Role
from ptipc.core.errors import LocalProtocolError, PtipcError
from ptipc.core.messages import (
    CMethod,
    CMethodError,
    CMethodsDone,
    Log,
    Message,
    ProxyDone,
    ProxyError,
    SMethod,
    SMethodError,
    SMethodsDone,
    StatusVersion,
    Version,
)
from ptipc.core.session import TransportSession
from ptipc.core.upstream import proxy_problem
from ptipc.osdep import glance, soonest, start_thread
from ptipc.voice import Outlet, Voice

__all__ = ["Dispatcher", "Outlet"]

log = logging.getLogger(__name__)

_LOOPBACK = Address("127.0.0.1", 0)


@define(eq=False)
class Dispatcher:
    """A transport process without the process.

    ``serve`` runs it from the first line to the last connection; ``stop`` ends it.
    """

    config: Config
    transports: Sequence[Transport]
    outlet: Outlet
    limits: Limits = field(factory=Limits, kw_only=True)
    logger: logging.Logger = field(default=log, kw_only=True)
    """Where it is said what becomes of connections."""
    _session: TransportSession = field(init=False)
    _voice: Voice = field(init=False)
    _asked_to_stop: bool = field(default=False, init=False)
    _now: bool = field(default=False, init=False)
    # A signal handler that notifies may interrupt the one who waits anywhere, even holding a lock.
    _news: queue.SimpleQueue[None] = field(factory=queue.SimpleQueue, init=False)
    """Has something for ``serve`` to look at."""
    _services: list[Service] = field(factory=list, init=False)
    _ports: list[Port] = field(factory=list, init=False)
    _network: SystemNetwork = field(init=False)
    _connections: Connections = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._session = TransportSession(self.config)
        self._voice = Voice(self._session, self.outlet)
        self._network = SystemNetwork.of(self.config)
        self._connections = Connections(self.logger, self.limits.connections)

    # --- what is said

    def say(self, message: Message) -> None:
        """Say one line to the host; from any thread.

        Raises LocalProtocolError if it cannot be said, or not now.
        """
        self._voice.say(message)

    def log(self, message: Log) -> None:
        """Say a LOG line if the host wants to hear it; from any thread.

        Lines from before ``VERSION`` come behind it.  When too many are lost because nobody reads
        them, the next one is preceded by their number.
        """
        self._voice.log(message)

    # --- its life

    def serve(self) -> int:
        """Start what the host asked for, serve until ``stop``, and return the exit status."""
        try:
            self._start()
            while self._session.exit_code is None and not self._asked_to_stop:
                self._wait(None)
        except Exception as error:
            self._give_up(error)
        finally:
            self._end()
        return self._session.exit_code or 0

    def stop(self, *, now: bool = False) -> None:
        """Stop listening and drain, or end everything ``now``; from any thread, at any time."""
        self._asked_to_stop = True
        self._news.put(None)
        if now:
            self._now = True
            self._connections.hurry()

    def start_thread(self) -> threading.Thread:
        """Serve in a thread of its own; ``stop`` ends it."""
        return start_thread(self.serve, "dispatcher")

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._asked_to_stop

    def _wait(self, deadline: float | None) -> bool:
        """Wait for news, or a while, but not beyond a deadline; False: it is over."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        # Somebody else cares for signals if Ctrl-C is not an exception.
        interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with contextlib.suppress(queue.Empty):
            self._news.get(timeout=soonest(left, glance() if interruptible else None))
        return True

    def _give_up(self, error: Exception) -> None:
        """Something that should not happen has happened."""
        self.logger.error("the transport process failed", exc_info=error)
        self._voice.give_up(error)

    def _end(self) -> None:
        closing = [start_thread(port.close, "closing") for port in self._ports]
        join(*closing, timeout=self.limits.drain)
        self._connections.drain(0 if self._now else self.limits.drain)
        for thread in [start_thread(service.close, "closing") for service in self._services]:
            thread.join()

    # --- starting

    def _start(self) -> None:
        self.say(Version(self.config.dialect.version))
        for warning in self.config.warnings:
            self.log(Log(LogLevel.WARNING, warning))
        known = {transport.name: transport for transport in self.transports}
        # C24: a name that we do not know is passed over in silence.
        asked = [known[name] for name in self.config.transports if name in known]
        for transport in asked:
            self._say_version(transport)
        if self.config.role is Role.SERVER:
            self._start_all(asked, self._start_server, SMethodError, SMethodsDone())
        elif self._accepts_proxy(asked):
            start = functools.partial(self._start_client, first=asked[0].name if asked else "")
            self._start_all(asked, start, CMethodError, CMethodsDone())

    def _start_all(
        self,
        asked: Sequence[Transport],
        start: Callable[[Transport], tuple[Port, Message]],
        failed: Callable[[str, str], Message],
        done: Message,
    ) -> None:
        """Start transports side by side, each in time, and say so; no more once we are to end."""
        starts = [_Start(self, transport, start, failed) for transport in asked]
        deadline = time.monotonic() + self.limits.start
        while not self._asked_to_stop and not all(each.over for each in starts):
            if not self._wait(deadline):
                break
        for each in starts:
            each.give_up(None if self._asked_to_stop else TimeoutError())
        if not self._asked_to_stop:
            self.say(done)

    def _say_version(self, transport: Transport) -> None:
        version = version_of(transport)
        if version is not None:
            try:
                self.say(StatusVersion(transport.name, version))
            except LocalProtocolError as error:
                self.logger.warning("the version of %s cannot be said: %s", transport.name, error)

    def _accepts_proxy(self, asked: Sequence[Transport]) -> bool:
        """Answer the upstream proxy, if there is one; False if we cannot go on (C42, C44)."""
        proxy = self.config.proxy
        if proxy is None:
            return True
        problem = proxy_problem(proxy, asked)
        self.say(ProxyDone() if problem is None else ProxyError(problem))
        return problem is None

    def _start_client(self, transport: Transport, first: str) -> tuple[Port, Message]:
        from ptipc.blocking.clients import open_port  # a process is on one side, and is waited for

        place = self.config.listen or _LOOPBACK
        service = self._service(transport)
        if place.port and transport.name != first:
            # There is one -proxylistenaddr for all, and no way to say whose it is.
            raise LocalProtocolError(f"{place} is taken by {first!r}; start one, or use port 0")
        port = open_port(service, place)
        if not port.address.is_loopback:
            self.logger.warning("%s: open to everybody at %s", service.name, port.address)
        protocol = codecs.Protocol(self.config.mode.value)
        return port, CMethod(transport.name, protocol, port.address)

    def _start_server(self, transport: Transport) -> tuple[Port, Message]:
        from ptipc.blocking.servers import open_server

        place = self.config.bind_address_for(transport.name) or _LOOPBACK
        port, args = open_server(self._service(transport), place)
        return port, SMethod(transport.name, port.address, args)

    def announce(self, port: Port, message: Message) -> None:
        """Say where a transport listens; if that cannot be said it shall not listen."""
        try:
            self.say(message)
        except LocalProtocolError:
            port.close()
            raise
        self._ports.append(port)

    def _service(self, transport: Transport) -> Service:
        service = Service(
            transport=transport,
            config=self.config,
            network=self._network,
            connections=self._connections,
            limits=self.limits,
            log=self.logger,
        )
        self._services.append(service)
        return service

    def tell(self) -> None:
        """Have ``serve`` look at how things stand."""
        self._news.put(None)


class _Start:
    """A transport that is being started, in a thread; it is over when its line was said."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        transport: Transport,
        start: Callable[[Transport], tuple[Port, Message]],
        failed: Callable[[str, str], Message],
    ) -> None:
        self._dispatcher = dispatcher
        self._transport = transport
        self._begin = start
        self._failed = failed
        self._deciding = threading.Lock()
        self.over = False
        start_thread(self._run, "start")

    def give_up(self, error: Exception | None) -> None:
        """If it is not over now, what comes is of no use any more; say so if there is an error."""
        with self._deciding:
            if not self.over:
                self.over = True
                if error is not None:
                    self._say_failure(error)

    def _run(self) -> None:
        port: Port | None = None
        try:
            port, message = self._begin(self._transport)
            with self._deciding:
                if not self.over:
                    self._dispatcher.announce(port, message)
                    self.over, port = True, None
        except Exception as error:
            self.give_up(error)
        finally:
            if port is not None:
                port.close()
            self._dispatcher.tell()

    def _say_failure(self, error: Exception) -> None:
        name = self._transport.name
        reason = described(error)
        if not isinstance(error, OSError | ValueError | PtipcError):
            self._dispatcher.logger.error("%s could not be started", name, exc_info=error)
            reason = f"{type(error).__name__}: {reason}"
        self._dispatcher.say(self._failed(name, reason))
