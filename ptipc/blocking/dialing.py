"""Connections through the port of a client's transport, whoever runs that.

A ``PortDialer`` connects through one ``Port`` to any number of targets, as a stream or as a
connected socket.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from ptipc.blocking.network import Dialer, SystemNetwork
from ptipc.blocking.sharing import remaining
from ptipc.blocking.streams import SocketStream, Stream, within
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import ProcessEnded
from ptipc.core.ports import Port, has_broken, receive_eof, route

__all__ = ["DialsByName", "PortDialer", "ask"]

DIAL_TIMEOUT = 60.0
"""How many seconds one connection through a transport may take."""

_DIRECT = SystemNetwork(timeout=None)


@frozen(kw_only=True)
class PortDialer:
    """A dialer through a transport's port, with the args for its connections.

    All ways to connect raise Refused with the reply code if the transport refused (the kinds are in
    ``ptipc.core.socks``), RemoteProtocolError if it does not speak the protocol, TimeoutError after
    ``timeout`` seconds, OSError if the port cannot be reached, ProcessEnded if its process has
    ended, and LocalProtocolError if target or args cannot be said.
    """

    args: Args = field(default=NO_ARGS, converter=Args)
    timeout: float | None = DIAL_TIMEOUT
    network: Dialer = _DIRECT
    """How the port itself is reached."""
    _find: Callable[[float | None], Port]
    """Gives the port, within so many seconds."""
    _patient: bool = False
    """Whether ``find`` has another port when a process has ended."""

    def given(self, args: Mapping[str, Any]) -> PortDialer:
        """The same with other args."""
        return evolve(self, args=Args(args))

    def over(self, network: Dialer) -> PortDialer:
        """The same, with the port itself reached through another dialer."""
        return evolve(self, network=network)

    def dial(self, target: Address | None = None) -> Stream:
        """Connect to a target; in transparent modes there is none to be named."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        try:
            return self._dial(target, deadline)
        except TimeoutError as error:
            if deadline is None or time.monotonic() < deadline:
                raise
            raise TimeoutError(f"no connection within {self.timeout:g} seconds") from error

    def dial_socket(self, target: Address | None = None) -> socket.socket:
        """Connect to a target; what the target sends is still in the socket, to the last octet.

        Raises LocalProtocolError if ``network`` does not give sockets.
        """
        stream = self.dial(target)
        if not isinstance(stream, SocketStream) or stream.take_early():
            stream.close()
            raise LocalProtocolError("there is no socket that carries just this connection")
        stream.network.setblocking(True)
        return stream.network

    # --- how

    def _dial(self, target: Address | None, deadline: float | None) -> Stream:
        while True:
            port = self._find(remaining(deadline))
            try:
                return self._connect(port, target, deadline)
            except ProcessEnded:
                if not self._patient:
                    raise

    def _connect(self, port: Port, target: Address | None, deadline: float | None) -> Stream:
        machine = port.handshake(target, self.args)
        stream = self._reach(port, deadline)
        try:
            if machine is not None:
                with within(stream, remaining(deadline)):
                    ask(machine, stream)
        except BaseException as error:
            stream.close()
            if isinstance(error, Exception) and not _is_over(error, deadline):
                _explain(error, port, target)
            raise
        return stream

    def _reach(self, port: Port, deadline: float | None) -> Stream:
        network = self.network
        if isinstance(network, SystemNetwork):  # of others we cannot say how long they may take
            network = evolve(network, timeout=remaining(deadline))
        try:
            return network.dial(port.address)
        except OSError as error:
            if _is_over(error, deadline):
                raise
            _raise_if_ended(port, error)
            raise port.unreachable(error) from error


class DialsByName:
    """Whoever has a dialer for each transport by its name, and what follows from that."""

    __slots__ = ()

    def dialer(
        self,
        transport: str,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> PortDialer:
        """A dialer through one of the transports.  Raises LookupError if there is none."""
        raise NotImplementedError

    def dial(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> SocketStream:
        """Connect to a target through one of the transports, or to the bridge of a bridge line.

        ``timeout`` is in seconds.  Raises LookupError if the transport is not up, and what
        ``PortDialer`` says.
        """
        name, target, given = route(transport, target, args)
        stream = self.dialer(name, given, timeout=timeout).dial(target)
        assert isinstance(stream, SocketStream)
        return stream

    def dial_socket(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> socket.socket:
        """As ``dial``, but a connected socket, from which nothing has been read ahead."""
        name, target, given = route(transport, target, args)
        return self.dialer(name, given, timeout=timeout).dial_socket(target)


def ask(machine: Handshake, stream: Stream) -> None:
    """Move an initiator's octets until it is done, and receive not one that is not the handshake's.

    Unlike ``drive`` it leaves what comes early where it is, so that the stream, or its socket, can
    be given to somebody else.  Raises the handshake's error, and OSError if the connection broke.
    """
    while True:
        if data := machine.data_to_send():
            stream.send(data)
        if machine.done:
            return
        if data := stream.receive(machine.bytes_needed):
            machine.receive_data(data)
        else:
            receive_eof(machine)


def _is_over(error: Exception, deadline: float | None) -> bool:
    return isinstance(error, TimeoutError) and deadline is not None and time.monotonic() >= deadline


def _raise_if_ended(port: Port, error: Exception) -> None:
    if port.ended is not None and (words := port.ended()) is not None:
        raise port.end(words) from error


def _explain(error: Exception, port: Port, target: Address | None) -> None:
    """Raise an error again, with who said so about what; or not, if that would tell nothing."""
    if has_broken(error):
        _raise_if_ended(port, error)
    explained = port.explained(error, target)
    if explained is not error:
        raise explained from error
