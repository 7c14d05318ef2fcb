"""What tests in threads need on loopback: peers, and a host in the same process."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from attrs import define, field

from ptipc.blocking import (
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
from ptipc.blocking.network import SocketListener
from ptipc.blocking.service import Limits
from ptipc.core.codecs import Address
from ptipc.core.config import Config
from ptipc.core.dialects import Stream as Output
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import Args
from ptipc.core.handshake import Handshake
from ptipc.core.launch import launch_config
from ptipc.core.messages import CMethod, SMethod
from ptipc.core.session import HostSession
from ptipc.core.socks import SocksInitiator
from ptipc.osdep import start_thread
from ptipc.sockets import free_address, listening_socket

T = TypeVar("T")
DEADLINE = 30.0
LOOPBACK = Address("127.0.0.1", 0)
NETWORK = SystemNetwork()


# --- threads --------------------------------------------------------------------------------------


class Doing:
    """Something that is done in a thread meanwhile; ``result`` is what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._outcome: list[Any] = []
        self._error: BaseException | None = None
        self.thread = start_thread(self._run, "test")

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What it returned, or raises what it raised."""
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive(), "it hangs"
        if self._error is not None:
            raise self._error
        return self._outcome[0]


# --- streams --------------------------------------------------------------------------------------


def connected(buffer: int | None = None) -> tuple[SocketStream, SocketStream]:
    """The two ends of a TCP connection; ``buffer`` is how large the kernel's buffers are."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket())
        for end in (client, listener):
            if buffer is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        stack.pop_all()
        return SocketStream(client), SocketStream(server)


def reset(stream: SocketStream) -> None:
    """Close a connection so that the peer is told that it broke."""
    stream.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.network.close()
    stream.close()


def read_all(stream: Stream) -> bytes:
    """Everything up to the end."""
    received = b""
    while data := stream.receive():
        received += data
    return received


def read_exactly(stream: Stream, count: int) -> bytes:
    """As many octets, or fewer if there are no more."""
    received = b""
    while len(received) < count and (data := stream.receive(count - len(received))):
        received += data
    return received


def ping(stream: Stream) -> None:
    """Send something to an echo, and get it back."""
    stream.send(b"ping")
    assert read_exactly(stream, 4) == b"ping"


@contextlib.contextmanager
def serving(
    serve: Callable[[SocketStream], object], place: Address = LOOPBACK
) -> Iterator[Address]:
    """A TCP server that treats each connection alike and closes it then."""
    listener = SocketListener(listening_socket(place))
    streams: list[SocketStream] = []
    threads: list[threading.Thread] = []

    def one(stream: SocketStream) -> None:
        with contextlib.suppress(OSError, PtipcError):
            serve(stream)
        stream.close()

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                stream = listener.accept()
                streams.append(stream)
                threads.append(start_thread(functools.partial(one, stream), "served"))

    accepting = start_thread(run, "server")
    try:
        yield listener.address
    finally:
        listener.close()
        accepting.join()
        for stream in streams:
            stream.close()
        for thread in threads:
            thread.join(DEADLINE)


def echo(stream: SocketStream) -> None:
    """Give everything back, and the end last."""
    while data := stream.receive():
        stream.send(data)
    stream.send_eof()
    stream.receive()


def silence(stream: SocketStream) -> None:
    """Say nothing, whatever comes."""
    read_all(stream)


def answer_at_the_end(stream: SocketStream) -> None:
    """Say how much there was, once there is no more."""
    stream.send(b"%d octets" % len(read_all(stream)))


@define
class Visitors:
    """A server that counts who comes, and says nothing."""

    count: int = 0
    came: threading.Event = field(factory=threading.Event)

    def __call__(self, stream: SocketStream) -> None:
        self.count += 1
        self.came.set()
        stream.receive()


def nobody_listens() -> Address:
    """An address that was free a moment ago, and that the system gives to nobody who asks it."""
    return free_address()


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
            def dial(self, target: Address) -> Stream:
                transport.seen.append(args)
                if transport.errors:
                    raise transport.errors.pop(0)
                return network.dial(target)

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
    _heard: threading.Condition = field(factory=threading.Condition, init=False)

    def __attrs_post_init__(self) -> None:
        self.session = HostSession(
            [self.config.dialect],
            self.config.role,
            self.config.transports,
            proxy=self.config.proxy is not None,
            allow_remote=True,
        )

    def hear(self, stream: Output, data: bytes) -> None:
        with self._heard:
            lines = self.lines if stream is Output.STDOUT else self.errors
            lines.append(data.decode().rstrip("\n"))
            self.session.receive_data(stream, data)
            self._heard.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        """Listen until a condition is met, which is looked at after every line."""
        with self._heard:
            assert self._heard.wait_for(condition, DEADLINE), self.lines

    def method(self, name: str) -> CMethod | SMethod:
        return self.session.methods[name]

    def address(self, name: str = "hello") -> Address:
        return self.method(name).address

    def logged(self, text: str) -> bool:
        return any(line.startswith("LOG ") and text in line for line in self.lines)


@contextlib.contextmanager
def dispatching(
    *transports: Transport,
    limits: Limits | None = None,
    config: Config | None = None,
    **settings: Any,
) -> Iterator[tuple[Dispatcher, Host]]:
    """A dispatcher that is ready, for as long as the block lasts.

    ``settings`` are those of ``launch_config``.
    """
    config = config or launch_config(**settings)
    host = Host(config)
    dispatcher = Dispatcher(config, transports, host.hear, limits=limits or Limits(drain=DEADLINE))
    served = Doing(dispatcher.serve)
    try:
        host.until(lambda: host.session.done or host.session.failure)
        yield dispatcher, host
    finally:
        dispatcher.stop(now=True)
        served.result()


def socks(host: Host, machine: Handshake, name: str = "hello") -> SocketStream:
    """A stream through a client's SOCKS port, after the handshake."""
    stream = NETWORK.dial(host.address(name))
    try:
        drive(machine, stream, DEADLINE)
    except BaseException:
        stream.close()
        raise
    return stream


def connect(
    host: Host, target: Address, args: Any = (), *, name: str = "hello", version: int = 5
) -> SocketStream:
    """A stream to a target through a client's SOCKS port."""
    machine = SocksInitiator.for_dialect(host.config.dialect, target, args, version=version)
    return socks(host, machine, name)
