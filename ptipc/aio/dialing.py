"""Connections through the port of a client's transport, whoever runs that.

A ``PortDialer`` connects through one ``Port`` to any number of targets, as a stream, as asyncio's
reader and writer, as a connected socket, or in datagrams.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from ptipc.aio.datagrams import Datagrams
from ptipc.aio.network import Dialer, SystemNetwork
from ptipc.aio.streams import SocketStream, Stream
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import ProcessEnded
from ptipc.core.ports import Port, has_broken, receive_eof, route

__all__ = ["DialsByName", "PortDialer", "ask"]

T = TypeVar("T")

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
        machine = port.handshake(target, self.args)
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
            raise port.unreachable(error) from error

    async def _dial_datagrams(self, target: Address | None) -> Datagrams:
        port = await self._find()
        port.check_datagrams(target, self.args)
        if not isinstance(self.network, SystemNetwork):
            raise LocalProtocolError("datagrams are not led through another dialer")
        return await self.network.datagrams(port.address)


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

    async def dial(
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
        stream = await self.dialer(name, given, timeout=timeout).dial(target)
        assert isinstance(stream, SocketStream)
        return stream

    async def dial_socket(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
        blocking: bool = False,
    ) -> socket.socket:
        """As ``dial``, but a connected socket, from which nothing has been read ahead."""
        name, target, given = route(transport, target, args)
        dialer = self.dialer(name, given, timeout=timeout)
        return await dialer.dial_socket(target, blocking=blocking)

    async def open_connection(
        self,
        transport: str | BridgeLine,
        target: Address | None = None,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
        **options: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``dial``, but with the shape and options of ``asyncio.open_connection``."""
        name, target, given = route(transport, target, args)
        return await self.dialer(name, given, timeout=timeout).open_connection(target, **options)


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
            receive_eof(machine)


async def _raise_if_ended(port: Port, error: Exception) -> None:
    if port.ended is not None and (words := await port.ended()) is not None:
        raise port.end(words) from error


async def _explain(error: Exception, port: Port, target: Address | None) -> None:
    """Raise an error again, with who said so about what; or not, if that would tell nothing."""
    if has_broken(error):
        await _raise_if_ended(port, error)
    explained = port.explained(error, target)
    if explained is not error:
        raise explained from error
