"""The network: proxies that nothing gets past, source addresses, and listeners that survive."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ptipc.aio import SocketStream, SystemNetwork, drive, relay
from ptipc.aio.network import SocketListener, places
from ptipc.core.codecs import PROXY, Address
from ptipc.core.config import Config
from ptipc.core.dialects import PT1, Role
from ptipc.core.errors import PtipcError
from ptipc.core.httpconnect import HttpConnectResponder
from ptipc.core.socks import NoAuth, SocksResponder, TargetRefused
from ptipc.core.socksauth import Credentials
from ptipc.osdep import State
from tests.aio.connections import reset
from tests.aio.loopback import (
    LOOPBACK,
    Visitors,
    echo,
    nobody_listens,
    read_exactly,
    scenario,
    serving,
    silence,
)

NAME = Address("no-such-host.invalid", 443)
"""A name that is not to be looked up: if somebody did, the answer would be an error."""

USER = "user:with@odd%octets\udcff"
PASSWORD = "pass word"


class UpstreamProxy:
    """A proxy that notes where everybody wants to go, and takes them all to one server."""

    def __init__(self, scheme: str, server: Address) -> None:
        self.scheme = scheme
        self.server = server
        self.targets: list[Address] = []
        self.users: list[tuple[str | None, str | None]] = []

    async def __call__(self, stream: SocketStream) -> None:
        if self.scheme == "socks4a":
            await self._socks4a(stream)
        else:
            machine: SocksResponder | HttpConnectResponder
            if self.scheme == "http":
                machine = HttpConnectResponder()
            else:
                machine = SocksResponder(Credentials(USER, PASSWORD))
            await drive(machine, stream, None)
            assert machine.target is not None
            self.targets.append(machine.target)
            if isinstance(machine, HttpConnectResponder):
                self.users.append((machine.user, machine.password))
            machine.grant()
            await drive(machine, stream, None)
        await relay(stream, await SystemNetwork().dial(self.server))

    async def _socks4a(self, stream: SocketStream) -> None:
        head = await read_exactly(stream, 8)
        assert head[4:7] == bytes(3)
        fields: list[bytes] = [b"", b""]
        for number in range(2):
            while (octet := await read_exactly(stream, 1)) != b"\0":
                fields[number] += octet
        self.users.append((fields[0].decode("utf-8", "surrogateescape"), None))
        self.targets.append(Address(fields[1].decode(), int.from_bytes(head[2:4], "big")))
        await stream.send(b"\0\x5a" + bytes(6))


def uri(scheme: str, address: Address) -> str:
    credentials = {
        "http": "user%40odd%FF:pass%20word@",
        "socks4a": "user%40odd%FF@",
        "socks5": "user%3Awith%40odd%25octets%FF:pass%20word@",
    }
    return f"{scheme}://{credentials[scheme]}{address}"


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5"])
@scenario
async def test_names_and_credentials_reach_the_proxy_octet_for_octet(scheme: str) -> None:
    """The name is not looked up here, and what is in the URI arrives as it was meant."""
    async with serving(echo) as server:
        proxy = UpstreamProxy(scheme, server)
        async with serving(proxy) as place:
            network = SystemNetwork(proxy=PROXY.parse(uri(scheme, place)))
            stream = await network.dial(NAME)
            await stream.send(b"through")
            assert await read_exactly(stream, 7) == b"through"
            await stream.aclose()
    assert proxy.targets == [NAME]
    expected = {
        "http": [("user@odd\udcff", PASSWORD)],
        "socks4a": [("user@odd\udcff", None)],
        "socks5": [],  # the proxy has compared them itself
    }
    assert proxy.users == expected[scheme]


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5"])
@scenario
async def test_a_proxy_that_says_no_is_not_passed_by(scheme: str) -> None:
    """Nothing reaches the target by another way, whether the proxy refuses, hangs up or is gone."""
    refusals = {"http": b"HTTP/1.1 403 no\r\n\r\n", "socks4a": b"\0\x5b" + bytes(6)}

    async def refuse(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(refusals.get(scheme, b"\5\xff"))
        await stream.send_eof()
        await stream.receive()

    async def hang_up(stream: SocketStream) -> None:
        await stream.receive()

    visitors = Visitors()
    async with serving(visitors) as target, serving(refuse) as no, serving(hang_up) as gone:
        for place in (no, gone, nobody_listens()):
            network = SystemNetwork(proxy=PROXY.parse(f"{scheme}://{place}"))
            with pytest.raises((OSError, PtipcError)):
                await network.dial(target)
        for attempt in (network.datagrams, network.listen_datagrams):
            with pytest.raises(PermissionError, match="upstream proxy"):
                await attempt(target)
        await (await SystemNetwork().dial(target)).aclose()
        await visitors.came.wait()
    assert visitors.count == 1  # only the last one, which had no proxy


@scenario
async def test_the_refusal_of_a_proxy_is_ours_to_hand_on() -> None:
    async def refuse(stream: SocketStream) -> None:
        machine = SocksResponder(NoAuth())
        await drive(machine, stream, None)
        machine.refuse(5)
        await drive(machine, stream, None)
        await stream.send_eof()

    async with serving(refuse) as place:
        network = SystemNetwork(proxy=PROXY.parse(f"socks5://{place}"))
        with pytest.raises(TargetRefused):
            await network.dial(NAME)


@scenario
async def test_a_silent_proxy_has_a_deadline() -> None:
    async with serving(silence) as place:
        network = SystemNetwork(proxy=PROXY.parse(f"socks5://{place}"), timeout=0.02)
        with pytest.raises(TimeoutError):
            await network.dial(NAME)


# --- dialling -------------------------------------------------------------------------------------


@scenario
async def test_a_name_is_looked_up_and_each_address_tried() -> None:
    """localhost may be ::1 first, where nobody listens."""
    async with serving(echo) as server:
        stream = await SystemNetwork().dial(Address("localhost", server.port))
        assert stream.peer == server
        await stream.aclose()


@scenario
async def test_an_unknown_name_is_unreachable() -> None:
    with pytest.raises(OSError, match="no-such-host") as caught:
        await SystemNetwork().dial(NAME)
    assert caught.value.errno == errno.EHOSTUNREACH


@scenario
async def test_a_refused_connection_says_so() -> None:
    with pytest.raises(ConnectionRefusedError):
        await SystemNetwork().dial(nobody_listens())


@scenario
async def test_a_look_up_that_is_cancelled_harms_nobody() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(places(Address("localhost", 1), socket.SOCK_STREAM))
        await asyncio.sleep(0)
        task.cancel()
    assert await places(Address("::1", 1), socket.SOCK_STREAM) == [(socket.AF_INET6, ("::1", 1))]


def test_outbound_addresses_are_for_everything_but_loopback() -> None:
    """PT 1, 3.2.1: of one family each, and never for 127.0.0.0/8 or ::1."""
    network = SystemNetwork(outbound_v4="192.0.2.1", outbound_v6="2001:db8::1")
    assert network.source_for("198.51.100.7") == "192.0.2.1"
    assert network.source_for("2001:db8::7") == "2001:db8::1"
    for loopback in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert network.source_for(loopback) is None
    assert SystemNetwork().source_for("198.51.100.7") is None


@scenario
async def test_an_outbound_address_that_is_not_ours_fails_and_is_not_left_out() -> None:
    """TEST-NET addresses belong to nobody: to bind to one fails, to leave it out would not."""
    network = SystemNetwork(outbound_v4="192.0.2.1")
    for attempt in (network.dial, network.datagrams):
        with pytest.raises(OSError, match=r".") as caught:
            await attempt(Address("198.51.100.7", 9))
        assert caught.value.errno == errno.EADDRNOTAVAIL


@scenario
async def test_the_outbound_address_is_also_for_the_way_to_the_proxy() -> None:
    network = SystemNetwork(
        outbound_v4="192.0.2.1", proxy=PROXY.parse("socks5://198.51.100.7:1080")
    )
    with pytest.raises(OSError, match=r".") as caught:
        await network.dial(NAME)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_network_is_what_the_configuration_says() -> None:
    proxy = PROXY.parse("socks5://127.0.0.1:1080")
    config = Config(
        dialect=PT1,
        role=Role.CLIENT,
        transports=("x",),
        proxy=proxy,
        outbound_v4="192.0.2.1",
        outbound_v6="2001:db8::1",
        state="/var/lib/x",
    )
    assert SystemNetwork.of(config) == SystemNetwork(
        proxy=proxy, outbound_v4="192.0.2.1", outbound_v6="2001:db8::1", state=State("/var/lib/x")
    )


# --- listening ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@scenario
async def test_port_0_becomes_a_port(host: str) -> None:
    listener = await SystemNetwork().listen(Address(host, 0))
    assert listener.address.host == host
    stream = await SystemNetwork().dial(listener.address)
    accepted = await listener.accept()
    assert accepted.peer == stream.local
    await stream.aclose()
    await accepted.aclose()
    await listener.aclose()


@scenario
async def test_only_ip_addresses_are_listened_at() -> None:
    for attempt in (SystemNetwork().listen, SystemNetwork().listen_datagrams):
        with pytest.raises(ValueError, match="localhost"):
            await attempt(Address("localhost", 0))


@scenario
async def test_accept_ends_when_the_listener_is_closed() -> None:
    listener = await SystemNetwork().listen(LOOPBACK)
    accepting = asyncio.create_task(listener.accept())
    await asyncio.sleep(0)
    await listener.aclose()
    await listener.aclose()
    with pytest.raises(OSError, match="closed"):
        await accepting
    with pytest.raises(OSError, match="closed"):
        await listener.accept()


@scenario
async def test_accept_can_be_cancelled() -> None:
    listener = await SystemNetwork().listen(LOOPBACK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await listener.accept()
    stream = await SystemNetwork().dial(listener.address)
    await (await listener.accept()).aclose()
    await stream.aclose()
    await listener.aclose()


class Gone(socket.socket):
    """A connection whose peer has reset it before it was accepted, as macOS has it."""

    def setsockopt(self, *args: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


class Late(socket.socket):
    """A listener whose connections are all like that."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, peer = super().accept()
        return Gone(fileno=connection.detach()), peer


@scenario
async def test_a_connection_that_is_gone_already_is_nobody_elses_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is accepted, and whoever serves it hears what became of it."""
    late = Late()
    late.bind(("127.0.0.1", 0))
    late.listen()
    listener = SocketListener(late)
    for _ in range(2):
        stream = await SystemNetwork().dial(listener.address)
        accepted = await listener.accept()
        reset(stream)
        with pytest.raises(ConnectionResetError):
            await accepted.receive()
        await accepted.aclose()
    await listener.aclose()
    assert not caplog.messages


class Unwatching(asyncio.SelectorEventLoop):
    """An event loop that cannot watch descriptors, as that of Windows."""

    def add_reader(self, *args: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_an_event_loop_need_not_watch_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        listener = await SystemNetwork().listen(LOOPBACK)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await listener.accept()
        accepting = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        stream = await SystemNetwork().dial(listener.address)
        await (await accepting).aclose()
        await stream.aclose()
        accepting = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        client = socket.socket()
        client.setblocking(False)
        with few_descriptors():
            await asyncio.get_running_loop().sock_connect(
                client, ("127.0.0.1", listener.address.port)
            )
            while not caplog.messages:
                await asyncio.sleep(0)
        await (await accepting).aclose()
        client.close()
        accepting = asyncio.create_task(listener.accept())
        for _ in range(3):
            await asyncio.sleep(0)
        await listener.aclose()
        with pytest.raises(OSError, match="closed"):
            await accepting

    with asyncio.Runner(loop_factory=Unwatching) as runner:
        runner.run(live())


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Let the process open no more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@scenario
async def test_a_lack_of_descriptors_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    """A listener neither dies of EMFILE nor spins: it says so, pauses, and goes on."""
    listener = await SystemNetwork().listen(LOOPBACK)
    client = socket.socket()
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", listener.address.port))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    with few_descriptors():
        accepting = asyncio.create_task(listener.accept())
        while not caplog.messages:
            await asyncio.sleep(0)
        counting = asyncio.create_task(count())
        # Somebody who spins would warn again and again; who pauses has the loop to itself.
        while turns < 100:
            await asyncio.sleep(0)
        assert len(caplog.messages) == 1
        assert not accepting.done()
    accepted = await accepting
    counting.cancel()
    assert "no more connections for now" in caplog.messages[0]
    await accepted.aclose()
    client.close()
    await listener.aclose()


@scenario
async def test_a_lack_of_descriptors_while_waiting_is_waited_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = await SystemNetwork().listen(LOOPBACK)
    accepting = asyncio.create_task(listener.accept())
    await asyncio.sleep(0)
    client = socket.socket()
    client.setblocking(False)
    with few_descriptors():
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", listener.address.port))
        while not caplog.messages:
            await asyncio.sleep(0)
    await (await accepting).aclose()
    client.close()
    await listener.aclose()
