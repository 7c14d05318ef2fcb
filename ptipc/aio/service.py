"""What the connections of a transport process share, on either side.

A ``Service`` is one transport on duty; ``Connections`` owns whatever its clients have started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol

from attrs import define, field, frozen

from ptipc.aio.network import Network
from ptipc.aio.streams import Relaying, Stream, start_relay
from ptipc.aio.transport import (
    Capability,
    DatagramTransport,
    Transport,
    capabilities_of,
    described,
    let_go,
)
from ptipc.core.codecs import Address
from ptipc.core.config import Config
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.dialers import Dialers

__all__ = ["AcceptLoop", "Connections", "Limits", "Port", "Service"]


LAST_WORDS = 1.0
"""How many seconds what was cancelled, or is closed at the end, has to tidy up."""


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
    half_open: int = 4096
    """SOCKS handshakes under way; beyond, the oldest has to go."""
    dialers: int = 64
    """Dialers of a transport, one for the same args; beyond, those that rest have to go."""
    idle: float = 120.0
    """For a connection of the UDP modes without a datagram (RFC 4787 section 4.3)."""
    datagram_connections: int = 1024
    """Connections of the UDP modes; beyond, newcomers are turned away."""


class Port(Protocol):
    """A place where a transport process listens."""

    @property
    def address(self) -> Address:
        """Where that really is."""
        ...

    async def aclose(self) -> None:
        """Listen no more.  Never raises."""
        ...


@define(eq=False)
class Connections:
    """The connections that are open, and those that are being made."""

    _log: logging.Logger
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    _relays: dict[object, Relaying] = field(factory=dict, init=False)
    _none_left: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._tasks) + len(self._relays)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do something for a connection of the transport of that name, in a task.

        Whatever it raises is said in the log, and is nobody else's matter.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._none_left.clear()
        task.add_done_callback(functools.partial(self._ended, name))
        return task

    def relay(self, one: Stream, other: Stream, name: str) -> None:
        """Give two streams each other's octets until both have ended; they are closed then."""
        key = object()
        self._relays[key] = start_relay(one, other, functools.partial(self._relayed, key, name))
        self._none_left.clear()

    async def drain(self, timeout: float) -> None:
        """Wait until there are none left, and end those that are when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._none_left.wait()
        self.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)

    def cancel(self) -> None:
        """End all connections at once."""
        for task in self._tasks:
            task.cancel()
        for relaying in self._relays.values():
            relaying.cancel()
        self._relays.clear()
        self._notice()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._notice()
        if not task.cancelled():
            self._report(name, task.exception())

    def _relayed(self, key: object, name: str, error: BaseException | None) -> None:
        self._relays.pop(key, None)
        self._notice()
        self._report(name, error)

    def _report(self, name: str, error: BaseException | None) -> None:
        if error is not None:
            self._log.info("%s: a connection broke: %s", name, described(error))

    def _notice(self) -> None:
        if not len(self):
            self._none_left.set()


@frozen(kw_only=True)
class Service:
    """One transport on duty."""

    transport: Transport | DatagramTransport
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
            lambda dialer: self.start(self._let_go(dialer)),
            self.limits.dialers,
        )

    @property
    def name(self) -> str:
        return self.transport.name

    @property
    def options(self) -> Args:
        """What the transport is told for all of its connections."""
        return self.config.options_for(self.name)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something for one of its connections."""
        return self.connections.start(work, self.name)

    def relay(self, one: Stream, other: Stream) -> None:
        """Relay one of its connections."""
        self.connections.relay(one, other, self.name)

    # --- what it can carry

    @property
    def carries_datagrams(self) -> bool:
        """Whether datagrams reach the other end as such, and not on a stream."""
        return self.config.mode.datagrams and Capability.DATAGRAM in capabilities_of(self.transport)

    def check_mode(self) -> None:
        """Raises LocalProtocolError if the transport cannot do what the mode asks for."""
        mode = self.config.mode
        carried = capabilities_of(self.transport)
        # Datagrams can be carried on a stream, but not a stream in datagrams.
        if Capability.STREAM not in carried and not self.carries_datagrams:
            raise LocalProtocolError(f"it carries no streams, which the mode {mode.value} needs")
        if self.carries_datagrams and self.config.proxy is not None:
            raise LocalProtocolError("it carries datagrams, which no upstream proxy does")

    # --- connecting

    async def dial(self, target: Address, args: Args = NO_ARGS) -> Stream:
        """A stream through the transport.

        Raises whatever the transport does: ValueError for bad args, OSError and others.
        """
        with self.dialer(args) as dialer:
            async with asyncio.timeout(self.limits.dial):
                stream: Stream = await dialer.dial(target)
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

    async def aclose(self) -> None:
        """Let go of what the transport has made, once the last connection is over."""
        made = [*self._dialers.take_all(), *self._listeners]
        await asyncio.gather(*(self._let_go(each) for each in made))

    async def _let_go(self, made: object) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS):
                await let_go(made)
        except Exception as error:
            self.log.warning("%s: not closed in good order: %s", self.name, described(error))


@define(eq=False)
class AcceptLoop:
    """Hands what a listener accepts to a function, until it is closed."""

    _service: Service
    _listener: Any
    _take: Callable[[Any], object]
    _closing: bool = field(default=False, init=False)
    _task: asyncio.Task[None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._task = asyncio.create_task(self._run())

    @property
    def address(self) -> Address:
        """Where the listener is."""
        address: Address = self._listener.address
        return address

    async def aclose(self) -> None:
        """Close the listener."""
        self._closing = True
        await self._listener.aclose()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                self._take(await self._listener.accept())
        except Exception as error:
            if not self._closing:
                # It is too late to tell the host in any other way.
                self._service.log.error(
                    "%s listens no more: %s", self._service.name, described(error), exc_info=error
                )
