"""Connections through the port of a client's transport, whoever runs that.

A ``Port`` is what a ``CMETHOD`` line says; a ``PortDialer`` connects through one to any number of
targets, as a stream, as asyncio's reader and writer, as a connected socket, or in datagrams.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from ptipc.aio.datagrams import Datagrams
from ptipc.aio.network import Dialer, SystemNetwork
from ptipc.aio.streams import SocketStream, Stream
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, Protocol
from ptipc.core.dialects import Dialect
from ptipc.core.errors import LocalProtocolError, PtipcError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import ProcessEnded
from ptipc.core.socks import RequestRefused, SocksInitiator

__all__ = ["HungUp", "Port", "PortDialer", "ask", "route"]

T = TypeVar("T")

DIAL_TIMEOUT = 60.0
"""How many seconds one connection through a transport may take."""

_VERSIONS = {Protocol.SOCKS4: 4, Protocol.SOCKS5: 5}
_NOT_NOW = "{} takes neither target nor args for a connection, but at its start"
_DATAGRAMS = (Protocol.TRANSPARENT_UDP, Protocol.STUN)


@frozen(kw_only=True)
class Port:
    """Where a client's transport is reached, and what is spoken there."""

    transport: str
    protocol: Protocol
    address: Address
    dialect: Dialect
    """The edition, which says how args are sent."""
    ended: Callable[[], Awaitable[str | None]] | None = None
    """Asked when a connection broke: how the process has ended, in words, if it has."""
    said: Callable[[], Iterable[str]] = tuple
    """What the process has said meanwhile, for an error to repeat."""


def route(
    transport: str | BridgeLine, target: Address | None, args: Mapping[str, Any]
) -> tuple[str, Address | None, Args]:
    """The transport, target and args of a connection, which a bridge line has all in one.

    Raises LocalProtocolError for a bridge line that has something to its side, or no transport.
    """
    if not isinstance(transport, BridgeLine):
        return transport, target, Args(args)
    if target is not None or args:
        raise LocalProtocolError("a bridge line has a target and args of its own")
    if transport.transport is None:
        raise LocalProtocolError("a bridge line without a transport needs none")
    return transport.transport, transport.address, transport.args


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
    _find: Callable[[], Awaitable[Port]]
    _patient: bool = False
    """Whether ``find`` has another port when a process has ended."""

    def given(self, args: Mapping[str, Any]) -> PortDialer:
        """The same with other args."""
        return evolve(self, args=Args(args))

    def over(self, network: Dialer) -> PortDialer:
        """The same, with the port itself reached through another dialer."""
        return evolve(self, network=network)

    async def dial(self, target: Address | None = None) -> Stream:
        """Connect to a target; in transparent modes there is none to be named."""
        return await self._timed(self._dial(target))

    async def dial_socket(
        self, target: Address | None = None, *, blocking: bool = False
    ) -> socket.socket:
        """Connect to a target; what the target sends is still in the socket, to the last octet.

        Raises LocalProtocolError if ``network`` does not give sockets.
        """
        stream = await self._timed(self._dial(target))
        if not isinstance(stream, SocketStream) or stream.take_early():
            await stream.aclose()
            raise LocalProtocolError("there is no socket that carries just this connection")
        stream.network.setblocking(blocking)
        return stream.network

    async def open_connection(
        self, target: Address | None = None, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a target; ``options`` are those of ``asyncio.open_connection``."""
        connection = await self.dial_socket(target)
        try:
            return await asyncio.open_connection(sock=connection, **options)
        except BaseException:
            connection.close()
            raise

    async def dial_datagrams(self, target: Address | None = None) -> Datagrams:
        """Converse in datagrams; the target is the one that the process was told at its start."""
        return await self._timed(self._dial_datagrams(target))

    # --- how

    async def _timed(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.timeout) as scope:
                return await work
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise TimeoutError(f"no connection within {self.timeout:g} seconds") from error

    async def _dial(self, target: Address | None) -> Stream:
        while True:
            port = await self._find()
            try:
                return await self._connect(port, target)
            except ProcessEnded:
                if not self._patient:
                    raise

    async def _connect(self, port: Port, target: Address | None) -> Stream:
        machine = _machine(port, target, self.args)
        stream = await self._reach(port)
        try:
            if machine is not None:
                await ask(machine, stream)
        except BaseException as error:
            await stream.aclose()
            if isinstance(error, Exception):
                await _explain(error, port, target)
            raise
        return stream

    async def _reach(self, port: Port) -> Stream:
        try:
            return await self.network.dial(port.address)
        except OSError as error:
            await _raise_if_ended(port, error)
            if isinstance(error, PtipcError):  # of a dialer that is not the operating system's
                raise
            text = f"cannot reach the port of {port.transport} at {port.address}: {_reason(error)}"
            raise type(error)(error.errno, text) from error

    async def _dial_datagrams(self, target: Address | None) -> Datagrams:
        port = await self._find()
        if port.protocol not in _DATAGRAMS:
            raise LocalProtocolError(f"{port.transport} is spoken to in streams, not in datagrams")
        if target is not None or self.args:
            raise LocalProtocolError(_NOT_NOW.format(port.transport))
        if not isinstance(self.network, SystemNetwork):
            raise LocalProtocolError("datagrams are not led through another dialer")
        return await self.network.datagrams(port.address)


def _machine(port: Port, target: Address | None, args: Args) -> Handshake | None:
    """The handshake that a port wants; None: it wants none."""
    if port.protocol in _VERSIONS:
        if target is None:
            raise LocalProtocolError("no target to dial")
        version = _VERSIONS[port.protocol]
        return SocksInitiator.for_dialect(port.dialect, target, args, version=version)
    if port.protocol in _DATAGRAMS:
        raise LocalProtocolError(f"{port.transport} is spoken to in datagrams, not in streams")
    if target is not None or args:
        raise LocalProtocolError(_NOT_NOW.format(port.transport))
    return None


class HungUp(RemoteProtocolError):
    """The peer closed the connection in the middle of the handshake."""


async def ask(machine: Handshake, stream: Stream) -> None:
    """Move an initiator's octets until it is done, and receive not one that is not the handshake's.

    Unlike ``drive`` it leaves what comes early where it is, so that the stream, or its socket, can
    be given to somebody else.  Raises the handshake's error, and OSError if the connection broke.
    """
    while True:
        if data := machine.data_to_send():
            await stream.send(data)
        if machine.done:
            return
        if data := await stream.receive(machine.bytes_needed):
            machine.receive_data(data)
        else:
            try:
                machine.receive_eof()
            except RemoteProtocolError as error:
                raise HungUp(str(error)) from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


async def _raise_if_ended(port: Port, error: Exception) -> None:
    if port.ended is not None and (words := await port.ended()) is not None:
        raise ProcessEnded(f"the process of {port.transport} ended with {words}") from error


async def _explain(error: Exception, port: Port, target: Address | None) -> None:
    """Raise an error again, with who said so about what; or not, if that would tell nothing."""
    if isinstance(error, RequestRefused):
        text = f"{port.transport} cannot connect to {target}: {error}"
        if said := list(port.said()):
            text += f"; meanwhile it said {', '.join(map(repr, said))}"
        raise type(error)(text, error.code) from error
    if isinstance(error, OSError | HungUp):
        await _raise_if_ended(port, error)
    if isinstance(error, RemoteProtocolError):
        raise type(error)(f"the port of {port.transport} at {port.address}: {error}") from error
    if isinstance(error, OSError) and not isinstance(error, PtipcError):
        text = f"the connection to {port.transport} at {port.address} broke: {_reason(error)}"
        raise type(error)(error.errno, text) from error
