"""The server's side of a transport process: from its clients to the host.

A connection goes to the host's port, or to its Extended ORPort, which is told who the client is and
may say no; in the UDP modes its datagrams go to the application.
Source: PT 1 section 3.2.3, ext-orport-spec, PT 3.0 section 1.5.5.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import define, field

from ptipc.aio.network import StreamListener, SystemNetwork
from ptipc.aio.service import AcceptLoop, Port, Service
from ptipc.aio.streams import SocketStream, Stream, drive
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import Args
from ptipc.core.extorport import ExtOrPortInitiator, parse_cookie_file

__all__ = ["open_server"]


async def open_server(service: Service, place: Address) -> tuple[Port, Args]:
    """Listen for clients at a place; returns also the args that they need.

    Raises LocalProtocolError if the transport cannot do what the mode needs, and whatever the
    transport raises.
    """
    service.check_mode()
    config, target = service.config, service.config.target
    if config.mode.datagrams and target is None:
        raise LocalProtocolError("datagrams need a target; an extended port takes only streams")
    if target is None and config.auth_cookie is None:
        raise LocalProtocolError("neither a target nor an extended port with a cookie")
    listener = service.listener()
    args: Args = listener.args
    if config.mode.datagrams:
        from ptipc.aio.udp import UdpServer  # slow to import, and most launches do without

        assert target is not None
        listen = listener.listen_datagrams if service.carries_datagrams else listener.listen
        return UdpServer.start(service, target, await listen(place)), args
    return StreamServer(service, await listener.listen(place)), args


@define(eq=False)
class StreamServer:
    """A listener whose streams are relayed to the host."""

    _service: Service
    _listener: StreamListener
    _loop: AcceptLoop = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = AcceptLoop(self._service, self._listener, self._take)

    @property
    def address(self) -> Address:
        return self._loop.address

    async def aclose(self) -> None:
        await self._loop.aclose()

    def _take(self, stream: Stream) -> None:
        self._service.start(self._serve(stream))

    async def _serve(self, stream: Stream) -> None:
        try:
            host = await self._dial_host(stream.peer)
        except BaseException:
            await stream.aclose()
            raise
        self._service.relay(stream, host)

    async def _dial_host(self, client: Address | None) -> SocketStream:
        """Connect to the host, and tell it who the client is if it wants to know (C58)."""
        config, limits = self._service.config, self._service.limits
        local = SystemNetwork(timeout=limits.dial)  # never by an upstream proxy
        if config.extended_port is None or config.auth_cookie is None:
            assert config.target is not None  # it was checked before we listened
            return await local.dial(config.target)
        while True:
            stream = await local.dial(config.extended_port)
            try:
                # tor may write its cookie after it has launched us (tor bug 15240).
                cookie = _read_cookie(config.auth_cookie)
                machine = ExtOrPortInitiator(
                    cookie, os.urandom(32), transport=self._service.name, client_address=client
                )
                await drive(machine, stream, limits.handshake)
            except BaseException as error:
                await stream.aclose()
                if isinstance(error, RemoteProtocolError) and (
                    _read_cookie(config.auth_cookie) != cookie
                ):
                    continue  # the host has changed it meanwhile
                raise
            return stream


def _read_cookie(path: str) -> bytes:
    return parse_cookie_file(Path(path).read_bytes())
