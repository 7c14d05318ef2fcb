"""The client's side of a transport process: where the applications connect, in each of the modes.

A SOCKS client is answered once its connection is there, so that it hears why if there is none; only
a transport that asks for it (``grant_early``) has its clients answered before.
Source: PT 1 section 3.5, PT 2.0 section 3.3.4 and 3.3.5, PT 3.0 section 1.4 and 1.5.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractContextManager

from attrs import define, field

from ptipc.aio.accepting import Serving, serve_handshakes
from ptipc.aio.engine import unless_broken
from ptipc.aio.network import SocketListener
from ptipc.aio.service import AcceptLoop, Port, Service
from ptipc.aio.streams import SocketStream, Stream, drive, see_off
from ptipc.aio.transport import grants_early
from ptipc.core.codecs import Address, Mode
from ptipc.core.handshake import Handshake
from ptipc.core.socks import SocksResponder, reply_for
from ptipc.sockets import FAREWELL, bound_address, listening_socket

__all__ = ["open_port"]


async def open_port(service: Service, place: Address) -> Port:
    """Listen for applications at a place, in the mode of the configuration.

    Raises LocalProtocolError if the transport cannot do what the mode needs, OSError if there is no
    listening at the place, and whatever the transport raises about its options.
    """
    service.check_mode()
    if service.config.mode is Mode.SOCKS5:
        return SocksPort(service, place)
    target = service.config.server_for(service.name)
    # The options are all it will ever be told: it shall judge them now.
    with service.dialer():
        pass
    if service.config.mode is Mode.TRANSPARENT_TCP:
        return TransparentPort.listen(service, target, place)
    from ptipc.aio.udp import UdpPort  # slow to import, and most launches do without

    return await UdpPort.listen(service, target, place)


@define(eq=False)
class SocksPort:
    """A port for SOCKS clients of every version and method that the edition has."""

    _service: Service
    address: Address
    _serving: Serving = field(init=False)

    def __attrs_post_init__(self) -> None:
        service = self._service
        listener = listening_socket(self.address)
        self.address = bound_address(listener)
        self._serving = serve_handshakes(
            listener,
            lambda: SocksResponder.for_dialect(service.config.dialect),
            self._ready,
            service.limits.handshake,
            half_open=service.limits.half_open,
        )

    async def aclose(self) -> None:
        self._serving.close()

    def _ready(self, stream: SocketStream, machine: Handshake) -> None:
        assert isinstance(machine, SocksResponder)
        self._service.start(self._serve(stream, machine))

    async def _serve(self, stream: SocketStream, machine: SocksResponder) -> None:
        remote: Stream | None = None
        try:
            if grants_early(self._service.transport):
                await self._grant(stream, machine)
                remote = await self._dial(stream, machine)
            else:
                try:
                    remote = await self._dial(stream, machine)
                except Exception as error:
                    await self._refuse(stream, machine, error)
                    raise
                await self._grant(stream, machine)
            self._service.relay(stream, remote)
        except BaseException:
            if remote is not None:
                await remote.aclose()
            await stream.aclose()
            raise

    async def _dial(self, stream: SocketStream, machine: SocksResponder) -> Stream:
        assert machine.target is not None
        with _cancelled_without(stream):
            return await self._service.dial(machine.target, machine.args)

    async def _grant(self, stream: SocketStream, machine: SocksResponder) -> None:
        machine.grant()
        await stream.send(machine.data_to_send())
        stream.unreceive(machine.trailing_data)

    async def _refuse(
        self, stream: SocketStream, machine: SocksResponder, error: Exception
    ) -> None:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(FAREWELL):
                machine.refuse(reply_for(error, self._service.config.dialect))
                await drive(machine, stream, None)
                await see_off(stream)


@define(eq=False)
class TransparentPort:
    """A port for TCP connections that all go to one server."""

    _service: Service
    _target: Address
    _loop: AcceptLoop = field(init=False)

    @classmethod
    def listen(cls, service: Service, target: Address, place: Address) -> TransparentPort:
        """Listen at a place.  Raises OSError."""
        self = cls(service, target)
        listener = SocketListener(listening_socket(place))
        self._loop = AcceptLoop(service, listener, self._take)
        return self

    @property
    def address(self) -> Address:
        return self._loop.address

    async def aclose(self) -> None:
        await self._loop.aclose()

    def _take(self, stream: SocketStream) -> None:
        self._service.start(self._serve(stream))

    async def _serve(self, stream: SocketStream) -> None:
        try:
            with _cancelled_without(stream):
                remote = await self._service.dial(self._target)
        except BaseException:
            await stream.aclose()
            raise
        self._service.relay(stream, remote)


def _cancelled_without(client: SocketStream) -> AbstractContextManager[None]:
    """Nobody is dialled for a client that is gone: the task that does so is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    return unless_broken(client.network, task.cancel)
