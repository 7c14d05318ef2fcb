"""How a transport reaches the world: dial, listen, and nothing past an upstream proxy.

``SystemNetwork`` is the network of the operating system.  With an upstream proxy every connection
goes through it, names are left to it, and there is no way around it: what cannot go through it
fails, as all datagrams do (PT 1 section 3.2.2 and 4).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define, field, frozen

from ptipc.aio.engine import connect
from ptipc.aio.streams import SocketStream, Stream, drive
from ptipc.core.codecs import Address, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.upstream import source_address, upstream_handshake
from ptipc.osdep import State, start_thread
from ptipc.sockets import (
    PAUSE,
    Place,
    bound_address,
    concerns_one,
    listening_socket,
    literal,
    look_up,
)

if TYPE_CHECKING:
    from ptipc.aio.datagrams import DatagramListener, Datagrams, UdpAcceptor, UdpDatagrams

__all__ = [
    "DatagramDialer",
    "Dialer",
    "Network",
    "SocketListener",
    "StreamListener",
    "SystemNetwork",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

DIAL_TIMEOUT = 60.0
"""How many seconds one connection, with the upstream proxy's handshake, may take."""


class Dialer(Protocol):
    """Whatever can connect to a target, any number of times."""

    async def dial(self, target: Address) -> Stream:
        """A new stream to the target.  Raises OSError, or an error of ``ptipc.core.errors``."""
        ...


class DatagramDialer(Protocol):
    """Whatever can start a conversation in datagrams, any number of times.

    The dialer of a transport that declares ``Capability.DATAGRAM`` is one, too.
    """

    async def dial_datagrams(self, target: Address) -> Datagrams:
        """A new conversation.  Raises OSError, or an error of ``ptipc.core.errors``."""
        ...


class StreamListener(Protocol):
    """A place where streams arrive."""

    @property
    def address(self) -> Address:
        """Where the listener really is: port 0 has become a port."""
        ...

    async def accept(self) -> Stream:
        """The next stream.  Raises OSError once the listener is closed."""
        ...

    async def aclose(self) -> None:
        """Accept no more; streams that were accepted go on.  Never raises, may be called again."""
        ...


class Network(Dialer, Protocol):
    """What a transport is given to reach the world; one transport can be another's network."""

    async def listen(self, address: Address) -> StreamListener:
        """Listen at an address.  Raises OSError."""
        ...

    async def datagrams(self, target: Address) -> Datagrams:
        """A new conversation in datagrams.  Raises OSError."""
        ...

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        """Listen for conversations in datagrams.  Raises OSError."""
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
    _closed: bool = field(default=False, init=False)
    _arrived: asyncio.Event = field(factory=asyncio.Event, init=False)
    _waiters: int = field(default=0, init=False)
    _accepting: set[asyncio.Task[Any]] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._socket.setblocking(False)
        self.address = bound_address(self._socket)

    async def accept(self) -> SocketStream:
        """The next connection.

        What is wrong with one connection is nobody else's matter, and a lack of descriptors is
        waited out.  Raises OSError once the listener is closed.
        """
        await asyncio.sleep(0)  # a flood of clients shall leave everybody else a turn
        while not self._closed:
            try:
                return SocketStream(self._socket.accept()[0])
            except BlockingIOError:
                if (connection := await self._wait()) is not None:
                    return SocketStream(connection)
            except OSError as error:
                await self._overcome(error)
        raise OSError(errno.EBADF, "the listener is closed")

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiters:
            asyncio.get_running_loop().remove_reader(self._socket)
        self._arrived.set()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._socket.close()

    async def _wait(self) -> socket.socket | None:
        """Wait for a connection, or for the listener's end; it may have been accepted, too."""
        loop = asyncio.get_running_loop()
        self._arrived.clear()
        try:
            loop.add_reader(self._socket, self._arrived.set)
        except NotImplementedError:
            return await self._accept()
        self._waiters += 1
        try:
            await self._arrived.wait()
        finally:
            self._waiters -= 1
            if not self._waiters and not self._closed:
                loop.remove_reader(self._socket)
        return None

    async def _accept(self) -> socket.socket | None:
        """``_wait`` by the event loop of Windows, which cannot watch a descriptor."""
        # In a task, for closing a socket does not wake up who waits for it.
        task = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(self._socket))
        self._accepting.add(task)
        try:
            connection: socket.socket = (await task)[0]
        except OSError as error:
            await self._overcome(error)
        except asyncio.CancelledError:
            task.cancel()
            if not self._closed:
                raise
        else:
            return connection
        finally:
            self._accepting.discard(task)
        return None

    async def _overcome(self, error: OSError) -> None:
        if not concerns_one(error):
            log.warning("no more connections for now: %s", error.strerror)
            # What we were to accept is still waiting, so without a pause we would spin.
            await asyncio.sleep(PAUSE)


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

    async def dial(self, target: Address) -> SocketStream:
        """Connect to a target.  Raises OSError, or an error of the upstream proxy's handshake."""
        async with asyncio.timeout(self.timeout):
            if self.proxy is None:
                return await self._connect(target)
            machine = upstream_handshake(self.proxy, target)
            stream = await self._connect(self.proxy.address)
            try:
                await drive(machine, stream, None)
            except BaseException:
                await stream.aclose()
                raise
            return stream

    async def listen(self, address: Address) -> SocketListener:
        return SocketListener(listening_socket(address))

    async def datagrams(self, target: Address) -> UdpDatagrams:
        self._refuse_datagrams()
        async with asyncio.timeout(self.timeout):
            return await self._first(target, socket.SOCK_DGRAM, self._converse)

    async def listen_datagrams(self, address: Address) -> UdpAcceptor:
        self._refuse_datagrams()
        from ptipc.aio.datagrams import UdpAcceptor  # slow to import, and few do this

        return await UdpAcceptor.listen(address)

    def source_for(self, host: str) -> str | None:
        """The source address for what goes to an IP address; None: the system chooses."""
        return source_address(host, self.outbound_v4, self.outbound_v6)

    def _refuse_datagrams(self) -> None:
        if self.proxy is not None:
            # Fail closed: no proxy of these kinds carries datagrams, and there is no other way.
            raise PermissionError(errno.EACCES, "no datagrams past the upstream proxy")

    async def _connect(self, target: Address) -> SocketStream:
        return await self._first(target, socket.SOCK_STREAM, self._connect_to)

    async def _first(
        self,
        target: Address,
        kind: socket.SocketKind,
        attempt: Callable[[Place], Coroutine[Any, Any, T]],
    ) -> T:
        """What the first address of the target gives that does not fail."""
        failure: OSError | None = None
        for place in await places(target, kind):
            try:
                return await attempt(place)
            except OSError as error:
                failure = error
        raise failure or OSError(errno.EHOSTUNREACH, f"no address for {target.host!r}")

    async def _connect_to(self, place: Place) -> SocketStream:
        family, address = place
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            if source := self.source_for(address[0]):
                connection.bind((source, 0))
            await connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return SocketStream(connection)

    async def _converse(self, place: Place) -> UdpDatagrams:
        from ptipc.aio.datagrams import UdpDatagrams

        return await UdpDatagrams.connect(place[1], self.source_for(place[1][0]))


async def places(target: Address, kind: socket.SocketKind) -> list[Place]:
    """What the operating system calls the target.  Raises OSError if it does not know the name."""
    found = literal(target)
    if found is None:
        found = await _in_a_thread(functools.partial(look_up, target, kind))
    return found


async def _in_a_thread(work: Callable[[], T]) -> T:
    """The result of something slow that cannot be interrupted.

    Not by the event loop's own threads: a process could not end before they have.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(settle_it: Callable[[Any], None], value: object) -> None:
        if not result.done():
            settle_it(value)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (result.set_result, work())
        except Exception as error:
            outcome = (result.set_exception, error)
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(settle, *outcome)

    start_thread(run, "look-up")
    return await result
