"""The server's side of a transport process: from its clients to the host.

A connection goes to the host's port, or to its Extended ORPort, which is told who the client is and
may say no.
Source: PT 1 section 3.2.3, ext-orport-spec.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from attrs import define, field

from ptipc.blocking.network import Scope, StreamListener, SystemNetwork
from ptipc.blocking.service import AcceptLoop, Port, Service
from ptipc.blocking.streams import SocketStream, Stream, drive
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import Args
from ptipc.core.extorport import ExtOrPortInitiator, parse_cookie_file

__all__ = ["open_server"]


def open_server(service: Service, place: Address) -> tuple[Port, Args]:
    """Listen for clients at a place; returns also the args that they need.

    Raises LocalProtocolError if the transport cannot do what the mode needs, and whatever the
    transport raises.
    """
    service.check_mode()
    if service.config.target is None and service.config.auth_cookie is None:
        raise LocalProtocolError("neither a target nor an extended port with a cookie")
    listener = service.listener()
    return StreamServer(service, listener.listen(place)), listener.args


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

    def close(self) -> None:
        self._loop.close()

    def _take(self, stream: Stream) -> None:
        self._service.start(stream, functools.partial(self._serve, stream))

    def _serve(self, stream: Stream, scope: Scope) -> None:
        host = self._dial_host(stream.peer, scope)
        self._service.relay(stream, host)

    def _dial_host(self, client: Address | None, scope: Scope) -> SocketStream:
        """Connect to the host, and tell it who the client is if it wants to know (C58)."""
        config, limits = self._service.config, self._service.limits
        # Never by an upstream proxy.
        local = SystemNetwork()
        if config.extended_port is None or config.auth_cookie is None:
            assert config.target is not None  # it was checked before we listened
            return scope.dial(local.dial, config.target, limits.dial)
        while True:
            stream = scope.dial(local.dial, config.extended_port, limits.dial)
            # tor may write its cookie after it has launched us (tor bug 15240).
            cookie = _read_cookie(config.auth_cookie)
            machine = ExtOrPortInitiator(
                cookie, os.urandom(32), transport=self._service.name, client_address=client
            )
            try:
                drive(machine, stream, limits.handshake)
            except RemoteProtocolError:
                if _read_cookie(config.auth_cookie) == cookie:
                    raise
                stream.close()  # the host has changed it meanwhile
            else:
                return stream


def _read_cookie(path: str) -> bytes:
    return parse_cookie_file(Path(path).read_bytes())
