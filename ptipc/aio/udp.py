"""The modes transparent-UDP and STUN: datagrams of applications through a transport.

Each source of datagrams at a client, and each connection at a server, has a connection through the
transport in a pool, which opens and closes them as ``ptipc.core.datagrams`` has it.
Source: PT 2.0 section 3.3.5, PT 3.0 section 1.5.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field

from ptipc.aio.datagrams import DatagramQueue, Datagrams, FramedDatagrams, UdpSocket
from ptipc.aio.network import places
from ptipc.aio.service import AcceptLoop, Service
from ptipc.core.codecs import Address, Mode
from ptipc.core.datagrams import Action, Framing, LengthFraming, Pool, StunFraming
from ptipc.core.errors import LocalProtocolError

__all__ = ["UdpPort", "UdpServer"]

K = TypeVar("K", bound=Hashable)


@define(eq=False)
class _Member:
    """A connection in the pool: the task that makes and serves it, and what waits to be sent."""

    task: asyncio.Task[None] | None = None
    outgoing: DatagramQueue = field(factory=DatagramQueue)

    def give_up(self) -> None:
        if self.task is not None:
            self.task.cancel()


@define(eq=False)
class DatagramPool(Generic[K]):
    """A pool that is driven by the clock of the event loop, and owns its connections."""

    _service: Service
    _pool: Pool[K] = field(init=False)
    _members: dict[K, _Member] = field(factory=dict, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        config, limits = self._service.config, self._service.limits
        self._pool = Pool(config.role, idle_timeout=limits.idle, limit=limits.datagram_connections)

    def packet(self, key: K, data: bytes) -> Action:
        """Take a datagram of the application; OPEN: ``add`` a connection for the next ones."""
        action = self._pool.packet(key, self._now())
        if action is Action.SEND:
            self._members[key].outgoing.put(data)
        self._wind()
        return action

    def add(
        self,
        key: K,
        make: Callable[[], Awaitable[Datagrams]],
        deliver: Callable[[bytes], object],
        end: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a connection and use it for as long as it lasts.

        ``deliver`` is called with each datagram that comes out of it, ``end`` after the last.
        """
        member = self._members[key] = _Member()
        member.task = self._service.start(self._serve(key, member, make, deliver, end))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
        members = list(self._members.values())
        for member in members:
            member.give_up()
        await asyncio.gather(
            *(member.task for member in members if member.task), return_exceptions=True
        )

    async def _serve(
        self,
        key: K,
        member: _Member,
        make: Callable[[], Awaitable[Datagrams]],
        deliver: Callable[[bytes], object],
        end: Callable[[], object],
    ) -> None:
        try:
            try:
                carrier = await make()
            except BaseException:
                if self._leaves(key, member):
                    self._pool.failed(key)
                raise
            try:
                await self._carry(key, member, carrier, deliver)
            finally:
                await carrier.aclose()
        finally:
            end()

    async def _carry(
        self, key: K, member: _Member, carrier: Datagrams, deliver: Callable[[bytes], object]
    ) -> None:
        if self._pool.connected(key, self._now()) is Action.CLOSE:
            self._leaves(key, member)
            return
        self._wind()
        sending = asyncio.create_task(self._send(key, member, carrier))
        try:
            while (data := await carrier.receive()) is not None:
                self._pool.touch(key, self._now())
                deliver(data)
        finally:
            sending.cancel()
            if self._leaves(key, member):
                self._pool.closed(key)

    async def _send(self, key: K, member: _Member, carrier: Datagrams) -> None:
        try:
            while (data := await member.outgoing.get()) is not None:
                await carrier.send(data)
        except Exception as error:
            self._service.log.debug("%s: a datagram was not sent: %s", self._service.name, error)
            if self._leaves(key, member):
                self._pool.write_failed(key)
            member.give_up()

    def _leaves(self, key: K, member: _Member) -> bool:
        """Take a member out; False if it is no more: the key may belong to another by now."""
        if self._members.get(key) is not member:
            return False
        del self._members[key]
        return True

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _wind(self) -> None:
        """Have the timer ring when the time of the next connection may be over."""
        due = self._pool.next_expiry()
        if due is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for key in self._pool.expire(self._now()):
            self._members.pop(key).give_up()
        self._wind()


@define(eq=False)
class UdpPort:
    """A client's port for UDP: each source of datagrams gets a connection to the server (C61)."""

    _service: Service
    _target: Address
    _pool: DatagramPool[Address] = field(init=False)
    _socket: UdpSocket = field(init=False)

    @classmethod
    async def listen(cls, service: Service, target: Address, place: Address) -> UdpPort:
        """Listen at a place.  Raises OSError."""
        self = cls(service, target)
        self._pool = DatagramPool(service)
        self._socket = await UdpSocket.listen(place, self._received)
        return self

    @property
    def address(self) -> Address:
        return self._socket.address

    async def aclose(self) -> None:
        self._socket.close()
        await self._pool.aclose()

    def _received(self, data: bytes, source: Address) -> None:
        if self._pool.packet(source, data) is Action.OPEN:
            self._pool.add(
                source,
                lambda: _dial(self._service, self._target),
                lambda data: self._socket.send(data, source),
            )


@define(eq=False)
class UdpServer:
    """A server's listener whose connections carry datagrams to and from a UDP application."""

    _service: Service
    _target: Address
    _pool: DatagramPool[object] = field(init=False)
    _loop: AcceptLoop = field(init=False)

    @classmethod
    def start(cls, service: Service, target: Address, listener: Any) -> UdpServer:
        """Serve what a listener accepts, which are streams or conversations in datagrams."""
        self = cls(service, target)
        self._pool = DatagramPool(service)
        self._loop = AcceptLoop(service, listener, self._take)
        return self

    @property
    def address(self) -> Address:
        return self._loop.address

    async def aclose(self) -> None:
        await self._loop.aclose()
        await self._pool.aclose()

    def _take(self, accepted: Any) -> None:
        service = self._service
        if service.carries_datagrams:
            carrier: Datagrams = _only_stun(service, accepted)
        else:
            carrier = FramedDatagrams(accepted, _framing(service))
        _Passage(self._pool, carrier, self._target).start()


@define(eq=False)
class _Passage:
    """A connection of a server and the socket by which its datagrams go to the application.

    Each has a socket of its own, so that answers find their way back.
    """

    _pool: DatagramPool[object]
    _carrier: Datagrams
    _target: Address
    _socket: UdpSocket | None = field(default=None, init=False)

    def start(self) -> None:
        self._pool.add(self, self._open, self._deliver, self._close)

    async def _open(self) -> Datagrams:
        try:
            found = await places(self._target, socket.SOCK_DGRAM)
            self._socket = await UdpSocket.connect(found[0][1], self._received)
        except BaseException:
            await self._carrier.aclose()
            raise
        return self._carrier

    def _received(self, data: bytes, source: Address) -> None:
        self._pool.packet(self, data)

    def _deliver(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.send(data)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()


# --- what is carried ------------------------------------------------------------------------------


async def _dial(service: Service, target: Address) -> Datagrams:
    """A conversation in datagrams through the transport, on a stream if it has only those."""
    if not service.carries_datagrams:
        return FramedDatagrams(await service.dial(target), _framing(service))
    with service.dialer() as dialer:
        async with asyncio.timeout(service.limits.dial):
            conversation: Datagrams = await dialer.dial_datagrams(target)
    return _only_stun(service, conversation)


def _framing(service: Service) -> Framing:
    """How datagrams are told apart on a stream, which both ends have to know (C59)."""
    if service.config.mode is Mode.STUN:
        return StunFraming()
    return LengthFraming(service.config.dialect.datagram_length_order)


def _only_stun(service: Service, conversation: Datagrams) -> Datagrams:
    """A conversation that carries nothing but STUN if that is the mode (PT 3.0, 1.5.5)."""
    return _OnlyStun(conversation) if service.config.mode is Mode.STUN else conversation


@define(eq=False)
class _OnlyStun:
    """A conversation in which whatever is no STUN message is lost."""

    _inner: Datagrams

    @property
    def peer(self) -> Address | None:
        return self._inner.peer

    async def send(self, data: bytes) -> None:
        if _is_stun(data):
            await self._inner.send(data)

    async def receive(self) -> bytes | None:
        while (data := await self._inner.receive()) is not None:
            if _is_stun(data):
                break
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_stun(data: bytes) -> bool:
    try:
        StunFraming().serialize(data)
    except LocalProtocolError:
        return False
    return True
