"""The client's side of a transport process: where the applications connect, in each of the modes.

A SOCKS client is answered once its connection is there, so that it hears why if there is none; only
a transport that asks for it (``grant_early``) has its clients answered before.
Source: PT 1 section 3.5, PT 2.0 section 3.3.4 and 3.3.5, PT 3.0 section 1.4 and 1.5.
"""

from __future__ import annotations

import contextlib
import errno
import functools

from attrs import define, field

from ptipc.blocking.accepting import Serving, serve_handshakes
from ptipc.blocking.network import Scope, SocketListener
from ptipc.blocking.service import AcceptLoop, Port, Service
from ptipc.blocking.streams import SocketStream, Stream, drive, see_off, within
from ptipc.blocking.transport import grants_early
from ptipc.core.codecs import Address, Mode
from ptipc.core.escapes import NO_ARGS
from ptipc.core.handshake import Handshake
from ptipc.core.socks import SocksResponder, reply_for
from ptipc.sockets import FAREWELL, bound_address, listening_socket

__all__ = ["open_port"]


def open_port(service: Service, place: Address) -> Port:
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
    return TransparentPort.listen(service, target, place)


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

    def close(self) -> None:
        self._serving.close()

    def _ready(self, stream: SocketStream, machine: Handshake) -> None:
        assert isinstance(machine, SocksResponder)
        too_many = OSError(errno.EMFILE, "there are too many connections")
        self._service.run(
            stream,
            functools.partial(self._serve, stream, machine),
            functools.partial(self._refuse, stream, machine, too_many),
        )

    def _serve(self, stream: SocketStream, machine: SocksResponder, scope: Scope) -> None:
        if grants_early(self._service.transport):
            self._grant(stream, machine)
            remote = self._dial(machine, scope)
        else:
            try:
                remote = self._dial(machine, scope)
            except Exception as error:
                self._refuse(stream, machine, error)
                raise
            self._grant(stream, machine)
        self._service.relay(stream, remote)

    def _dial(self, machine: SocksResponder, scope: Scope) -> Stream:
        assert machine.target is not None
        return self._service.dial(machine.target, machine.args, scope)

    def _grant(self, stream: SocketStream, machine: SocksResponder) -> None:
        machine.grant()
        stream.send(machine.data_to_send())
        stream.unreceive(machine.trailing_data)

    def _refuse(self, stream: SocketStream, machine: SocksResponder, error: Exception) -> None:
        with contextlib.suppress(OSError), within(stream, FAREWELL):
            machine.refuse(reply_for(error, self._service.config.dialect))
            drive(machine, stream, None)
            see_off(stream)


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

    def close(self) -> None:
        self._loop.close()

    def _take(self, stream: SocketStream) -> None:
        self._service.start(stream, functools.partial(self._serve, stream))

    def _serve(self, stream: SocketStream, scope: Scope) -> None:
        remote = self._service.dial(self._target, NO_ARGS, scope)
        self._service.relay(stream, remote)
