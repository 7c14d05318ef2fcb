"""One life of a transport process: what it starts, what it says, and how it ends.

Nothing here is global.  A ``Dispatcher`` is given its configuration, and a function for the lines
it says; it leaves signals, standard input, the environment and Python's logging alone.  So it runs
as well inside an application, in a thread of its own (PT 3.0 Base section 4.4); ``ptipc.aio.run``
makes a whole process of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine, Sequence

from attrs import define, field

from ptipc.aio.network import SystemNetwork
from ptipc.aio.service import Connections, Limits, Port, Service
from ptipc.aio.transport import DatagramTransport, Transport, described, version_of
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
from ptipc.osdep import start_thread
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
    transports: Sequence[Transport | DatagramTransport]
    outlet: Outlet
    limits: Limits = field(factory=Limits, kw_only=True)
    logger: logging.Logger = field(default=log, kw_only=True)
    """Where it is said what becomes of connections."""
    _session: TransportSession = field(init=False)
    _voice: Voice = field(init=False)
    # Signal handlers stop as well, in the middle of whatever the main thread does.
    _ending: threading.RLock = field(factory=threading.RLock, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _asked_to_stop: bool = field(default=False, init=False)
    _now: bool = field(default=False, init=False)
    _stopping: asyncio.Event = field(factory=asyncio.Event, init=False)
    _services: list[Service] = field(factory=list, init=False)
    _ports: list[Port] = field(factory=list, init=False)
    _network: SystemNetwork = field(init=False)
    _connections: Connections = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._session = TransportSession(self.config)
        self._voice = Voice(self._session, self.outlet)
        self._network = SystemNetwork.of(self.config)
        self._connections = Connections(self.logger)

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

    async def serve(self) -> int:
        """Start what the host asked for, serve until ``stop``, and return the exit status."""
        with self._ending:
            self._loop = asyncio.get_running_loop()
            if self._asked_to_stop:
                self._stopping.set()
        try:
            await self._until_stopped(self._start())
            if self._session.exit_code is None:
                await self._stopping.wait()
        except Exception as error:
            self._give_up(error)
        finally:
            await self._end()
            self._loop = None
        return self._session.exit_code or 0

    def stop(self, *, now: bool = False) -> None:
        """Stop listening and drain, or end everything ``now``; from any thread, at any time."""
        with self._ending:
            self._asked_to_stop = True
            self._now = self._now or now
            loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: it is over
                loop.call_soon_threadsafe(self._stop)

    def start_thread(self) -> threading.Thread:
        """Serve in a thread of its own, with an event loop of its own; ``stop`` ends it."""
        return start_thread(lambda: asyncio.run(self.serve()), "dispatcher")

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._asked_to_stop

    def _stop(self) -> None:
        self._stopping.set()
        if self._now:
            self._connections.cancel()

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Do something, but not for longer than we are wanted."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    def _give_up(self, error: Exception) -> None:
        """Something that should not happen has happened."""
        self.logger.error("the transport process failed", exc_info=error)
        self._voice.give_up(error)

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain):
                await asyncio.gather(
                    *(port.aclose() for port in self._ports), return_exceptions=True
                )
        await self._connections.drain(0 if self._now else self.limits.drain)
        await asyncio.gather(*(service.aclose() for service in self._services))

    # --- starting

    async def _start(self) -> None:
        self.say(Version(self.config.dialect.version))
        for warning in self.config.warnings:
            self.log(Log(LogLevel.WARNING, warning))
        known = {transport.name: transport for transport in self.transports}
        # C24: a name that we do not know is passed over in silence.
        asked = [known[name] for name in self.config.transports if name in known]
        for transport in asked:
            self._say_version(transport)
        if self.config.role is Role.SERVER:
            await asyncio.gather(*(self._start_server(transport) for transport in asked))
            self.say(SMethodsDone())
        elif self._accepts_proxy(asked):
            await asyncio.gather(
                *(self._start_client(transport, asked[0].name) for transport in asked)
            )
            self.say(CMethodsDone())

    def _say_version(self, transport: Transport | DatagramTransport) -> None:
        version = version_of(transport)
        if version is not None:
            try:
                self.say(StatusVersion(transport.name, version))
            except LocalProtocolError as error:
                self.logger.warning("the version of %s cannot be said: %s", transport.name, error)

    def _accepts_proxy(self, asked: Sequence[Transport | DatagramTransport]) -> bool:
        """Answer the upstream proxy, if there is one; False if we cannot go on (C42, C44)."""
        proxy = self.config.proxy
        if proxy is None:
            return True
        problem = proxy_problem(proxy, asked)
        self.say(ProxyDone() if problem is None else ProxyError(problem))
        return problem is None

    async def _start_client(self, transport: Transport | DatagramTransport, first: str) -> None:
        from ptipc.aio.clients import open_port  # a process is on one side, and is waited for

        place = self.config.listen or _LOOPBACK
        service = self._service(transport)
        try:
            if place.port and transport.name != first:
                # There is one -proxylistenaddr for all, and no way to say whose it is.
                raise LocalProtocolError(f"{place} is taken by {first!r}; start one, or use port 0")
            async with asyncio.timeout(self.limits.start):
                port = await open_port(service, place)
            if not port.address.is_loopback:
                self.logger.warning("%s: open to everybody at %s", service.name, port.address)
            protocol = codecs.Protocol(self.config.mode.value)
            await self._announce(port, CMethod(transport.name, protocol, port.address))
        except Exception as error:
            self.say(CMethodError(transport.name, self._reason(transport, error)))

    async def _start_server(self, transport: Transport | DatagramTransport) -> None:
        from ptipc.aio.servers import open_server

        place = self.config.bind_address_for(transport.name) or _LOOPBACK
        try:
            async with asyncio.timeout(self.limits.start):
                port, args = await open_server(self._service(transport), place)
            await self._announce(port, SMethod(transport.name, port.address, args))
        except Exception as error:
            self.say(SMethodError(transport.name, self._reason(transport, error)))

    async def _announce(self, port: Port, message: Message) -> None:
        """Say where a transport listens; if that cannot be said it shall not listen."""
        try:
            self.say(message)
        except LocalProtocolError:
            await port.aclose()
            raise
        self._ports.append(port)

    def _service(self, transport: Transport | DatagramTransport) -> Service:
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

    def _reason(self, transport: Transport | DatagramTransport, error: Exception) -> str:
        """Why a transport could not be started, for the host."""
        if isinstance(error, OSError | ValueError | PtipcError):
            return described(error)
        self.logger.error("%s could not be started", transport.name, exc_info=error)
        return f"{type(error).__name__}: {described(error)}"
