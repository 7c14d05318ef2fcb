"""What tests of the transport's side need on loopback: peers, and a host in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field

from ptipc.aio import (
    Capability,
    DatagramListener,
    Datagrams,
    DatagramTransport,
    Dialer,
    Dispatcher,
    Listener,
    Network,
    SocketStream,
    Stream,
    SystemNetwork,
    Transport,
    drive,
)
from ptipc.aio.datagrams import UdpSocket
from ptipc.aio.network import SocketListener
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address
from ptipc.core.config import Config
from ptipc.core.dialects import Stream as Output
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import launch_config
from ptipc.core.messages import CMethod, SMethod
from ptipc.core.session import HostSession
from ptipc.core.socks import SocksInitiator
from ptipc.sockets import free_address, listening_socket

T = TypeVar("T")
DEADLINE = 30.0
LOOPBACK = Address("127.0.0.1", 0)


def scenario(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, with a deadline and an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def within() -> None:
            async with asyncio.timeout(DEADLINE):
                await test(*args, **kwargs)

        asyncio.run(within())

    return run


# --- streams --------------------------------------------------------------------------------------


async def read_all(stream: Stream) -> bytes:
    """Everything up to the end."""
    received = b""
    while data := await stream.receive():
        received += data
    return received


async def read_exactly(stream: Stream, count: int) -> bytes:
    """As many octets, or fewer if there are no more."""
    received = b""
    while len(received) < count and (data := await stream.receive(count - len(received))):
        received += data
    return received


@contextlib.asynccontextmanager
async def serving(
    serve: Callable[[SocketStream], Awaitable[None]], place: Address = LOOPBACK
) -> AsyncIterator[Address]:
    """A TCP server that treats each connection alike and closes it then."""
    listener = SocketListener(listening_socket(place))

    async def one(stream: SocketStream) -> None:
        try:
            with contextlib.suppress(OSError, PtipcError):
                await serve(stream)
        finally:
            await stream.aclose()

    async def run(group: asyncio.TaskGroup) -> None:
        while True:
            group.create_task(one(await listener.accept()))

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            await run(group)

    task = asyncio.create_task(everything())
    try:
        yield listener.address
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await listener.aclose()


async def echo(stream: SocketStream) -> None:
    """Give everything back, and the end last."""
    while data := await stream.receive():
        await stream.send(data)
    await stream.send_eof()
    await asyncio.Event().wait()


async def silence(stream: SocketStream) -> None:
    """Say nothing, whatever comes."""
    await read_all(stream)


async def answer_at_the_end(stream: SocketStream) -> None:
    """Say how much there was, once there is no more."""
    await stream.send(b"%d octets" % len(await read_all(stream)))


@define
class Visitors:
    """A server that counts who comes, and says nothing."""

    count: int = 0
    came: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, stream: SocketStream) -> None:
        self.count += 1
        self.came.set()
        await stream.receive()


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[Address]:
    """A UDP server that gives every datagram back."""

    echoing = await UdpSocket.listen(LOOPBACK, lambda data, peer: echoing.send(data, peer))
    try:
        yield echoing.address
    finally:
        echoing.close()


def nobody_listens() -> Address:
    """An address that was free a moment ago, and that the system gives to nobody who asks it."""
    return free_address()


# --- a transport for datagrams --------------------------------------------------------------------


class Reversing:
    """A transport for datagrams, which turns each of them around."""

    capabilities = Capability.DATAGRAM
    args = NO_ARGS

    def __init__(self, name: str = "reversing", network: Network | None = None) -> None:
        self.name = name
        self.network = network or SystemNetwork()

    def dialer(self, args: Args, network: Network) -> Reversing:
        return Reversing(self.name, network)

    def listener(self, options: Args, network: Network) -> Reversing:
        return Reversing(self.name, network)

    async def dial_datagrams(self, target: Address) -> Datagrams:
        return Reversed(await self.network.datagrams(target))

    async def listen_datagrams(self, address: Address) -> DatagramListener:
        return ReversingAcceptor(await self.network.listen_datagrams(address))


class Reversed:
    def __init__(self, inner: Datagrams) -> None:
        self.inner = inner
        self.peer = inner.peer

    async def send(self, data: bytes) -> None:
        await self.inner.send(data[::-1])

    async def receive(self) -> bytes | None:
        data = await self.inner.receive()
        return None if data is None else data[::-1]

    async def aclose(self) -> None:
        await self.inner.aclose()


class ReversingAcceptor:
    def __init__(self, inner: DatagramListener) -> None:
        self.inner = inner
        self.address = inner.address

    async def accept(self) -> Datagrams:
        return Reversed(await self.inner.accept())

    async def aclose(self) -> None:
        await self.inner.aclose()


# --- a transport that is watched -----------------------------------------------------------------


class Noting:
    """A transport that keeps the args of its connections, and may refuse to connect."""

    name = "hello"

    def __init__(self, *errors: Exception, grant_early: bool = False) -> None:
        self.errors = list(errors)
        self.grant_early = grant_early
        self.seen: list[Args] = []

    def listener(self, options: Args, network: Network) -> Listener:
        raise NotImplementedError

    def dialer(self, args: Args, network: Network) -> Dialer:
        transport = self

        class Failing:
            async def dial(self, target: Address) -> Stream:
                transport.seen.append(args)
                if transport.errors:
                    raise transport.errors.pop(0)
                return await network.dial(target)

        return Failing()


# --- a host in one process ------------------------------------------------------------------------


@define(eq=False)
class Host:
    """What a host hears from a dispatcher in the same process."""

    config: Config
    session: HostSession = field(init=False)
    lines: list[str] = field(factory=list)
    errors: list[str] = field(factory=list)
    """What was written to standard error."""
    _heard: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.session = HostSession(
            [self.config.dialect],
            self.config.role,
            self.config.transports,
            proxy=self.config.proxy is not None,
            allow_remote=True,
        )

    def hear(self, stream: Output, data: bytes) -> None:
        (self.lines if stream is Output.STDOUT else self.errors).append(data.decode().rstrip("\n"))
        self.session.receive_data(stream, data)
        self._heard.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Listen until a condition is met, which is looked at after every line."""
        while not condition():
            self._heard.clear()
            await self._heard.wait()

    def method(self, name: str) -> CMethod | SMethod:
        return self.session.methods[name]

    def address(self, name: str = "hello") -> Address:
        return self.method(name).address

    def logged(self, text: str) -> bool:
        return any(line.startswith("LOG ") and text in line for line in self.lines)


@contextlib.asynccontextmanager
async def dispatching(
    *transports: Transport | DatagramTransport,
    limits: Limits | None = None,
    config: Config | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Dispatcher, Host]]:
    """A dispatcher that is ready, for as long as the block lasts.

    ``settings`` are those of ``launch_config``.
    """
    config = config or launch_config(**settings)
    host = Host(config)
    dispatcher = Dispatcher(config, transports, host.hear, limits=limits or Limits(drain=DEADLINE))
    task = asyncio.create_task(dispatcher.serve())
    try:
        ready = asyncio.create_task(host.until(lambda: host.session.done or host.session.failure))
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        yield dispatcher, host
    finally:
        dispatcher.stop(now=True)
        await task


async def socks(host: Host, machine: Handshake, name: str = "hello") -> SocketStream:
    """A stream through a client's SOCKS port, after the handshake."""
    stream = await SystemNetwork().dial(host.address(name))
    try:
        await drive(machine, stream, DEADLINE)
    except BaseException:
        await stream.aclose()
        raise
    return stream


async def connect(
    host: Host, target: Address, args: Any = (), *, name: str = "hello", version: int = 5
) -> SocketStream:
    """A stream to a target through a client's SOCKS port."""
    machine = SocksInitiator.for_dialect(host.config.dialect, target, args, version=version)
    return await socks(host, machine, name)


async def ping(stream: SocketStream) -> None:
    """Send something to an echo, and get it back."""
    await stream.send(b"ping")
    assert await read_exactly(stream, 4) == b"ping"
