"""The pool of the UDP modes: tables 1 and 2 of PT 3.0 section 1.5."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ptipc.aio import (
    Dialer,
    Listener,
    Network,
    SocketStream,
    Stream,
    StreamTransport,
    SystemNetwork,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT3_0
from ptipc.core.escapes import Args
from tests.aio.loopback import (
    Host,
    dispatching,
    nobody_listens,
    read_exactly,
    scenario,
    serving,
    silence,
    udp_echo,
)
from tests.aio.udp_tunnel import exchange, tunnel

HELLO = StreamTransport("hello")
NETWORK = SystemNetwork()


# --- the pool: tables 1 and 2 ---------------------------------------------------------------------


class Gate(StreamTransport):
    """A transport whose connections are made when the test says so."""

    def dialer(self, args: Args, network: Network) -> Dialer:
        return Gated(network)

    def listener(self, options: Args, network: Network) -> Listener:
        raise NotImplementedError


class Gated:
    dials = 0
    asked = asyncio.Event()
    gate = asyncio.Event()
    failing = False

    def __init__(self, network: Network) -> None:
        self.network = network

    async def dial(self, target: Address) -> Stream:
        Gated.dials += 1
        Gated.asked.set()
        await Gated.gate.wait()
        if Gated.failing:
            raise ConnectionRefusedError("no")
        return await self.network.dial(target)


@pytest.fixture(autouse=True)
def _gates() -> None:
    Gated.dials, Gated.failing = 0, False
    Gated.asked, Gated.gate = asyncio.Event(), asyncio.Event()


@contextlib.asynccontextmanager
async def gated(server: Address, **limits: Any) -> AsyncIterator[Host]:
    async with dispatching(
        Gate("hello"),
        client=["hello"],
        mode=Mode.TRANSPARENT_UDP,
        dialect=PT3_0,
        options={"hello": {"serverAddress": str(server)}},
        limits=Limits(**limits),
    ) as (_, client):
        yield client


@scenario
async def test_datagrams_before_there_is_a_connection_are_dropped() -> None:
    """Table 1: the first opens a connection and is lost, and so are those while it is made."""
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(stream: SocketStream) -> None:
        while data := await read_exactly(stream, 6):
            received.put_nowait(data)

    async with serving(serve) as server, gated(server) as client:
        conversation = await NETWORK.datagrams(client.address())
        for data in (b"lost", b"gone"):
            await conversation.send(data)
        await Gated.asked.wait()
        Gated.gate.set()
        while received.empty():
            await conversation.send(b"sent")
            await asyncio.sleep(0.005)
        assert Gated.dials == 1
        assert await received.get() == b"\0\4sent"
        await conversation.aclose()


@scenario
async def test_a_connection_that_cannot_be_made_leaves_the_pool() -> None:
    """Table 1: the next datagram asks for another."""
    Gated.failing = True
    Gated.gate.set()
    async with serving(silence) as server, gated(server) as client:
        conversation = await NETWORK.datagrams(client.address())
        while Gated.dials < 3:
            await conversation.send(b"x")
            await asyncio.sleep(0.005)
        await conversation.aclose()


@scenario
async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    """Table 1: the time of one that is waiting is over as well."""
    async with serving(silence) as server, gated(server, idle=0.02) as client:
        conversation = await NETWORK.datagrams(client.address())
        await conversation.send(b"x")
        await Gated.asked.wait()
        Gated.asked.clear()
        while not Gated.asked.is_set():
            await asyncio.sleep(0.05)
            await conversation.send(b"x")
        assert Gated.dials == 2
        await conversation.aclose()


@scenario
async def test_an_idle_connection_is_closed_at_both_ends() -> None:
    """Tables 1 and 2: a timeout since the last packet, in either direction."""
    closed = asyncio.Event()

    async def serve(stream: SocketStream) -> None:
        await stream.send(b"\0\1x")
        await silence(stream)
        closed.set()

    async with (
        serving(serve) as server,
        dispatching(
            HELLO,
            client=["hello"],
            mode=Mode.TRANSPARENT_UDP,
            dialect=PT3_0,
            options={"hello": {"serverAddress": str(server)}},
            limits=Limits(idle=0.05),
        ) as (_, client),
    ):
        conversation = await NETWORK.datagrams(client.address())
        assert await exchange(conversation, b"open") == b"x"
        await closed.wait()
        await conversation.aclose()
    async with (
        udp_echo() as target,
        dispatching(
            HELLO,
            server={"hello": "127.0.0.1:0"},
            target=target,
            mode=Mode.TRANSPARENT_UDP,
            dialect=PT3_0,
            limits=Limits(idle=0.05),
        ) as (_, server_host),
    ):
        stream = await NETWORK.dial(server_host.address())
        await silence(stream)
        await stream.aclose()


@scenario
async def test_a_connection_that_the_server_closes_is_made_anew() -> None:
    """Table 1, "connection closed"."""
    connections = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            return
        await stream.send(b"\0\1x")
        await silence(stream)

    async with (
        serving(serve) as server,
        dispatching(
            HELLO,
            client=["hello"],
            mode=Mode.TRANSPARENT_UDP,
            dialect=PT3_0,
            options={"hello": {"serverAddress": str(server)}},
        ) as (_, client),
    ):
        conversation = await NETWORK.datagrams(client.address())
        assert await exchange(conversation, b"open") == b"x"
        await conversation.aclose()
    assert connections == 2


@scenario
async def test_a_packet_that_cannot_be_written_ends_the_connection() -> None:
    """Tables 1 and 2, "write failure": it leaves the pool, and the next packet opens another."""
    dials = 0

    class Mute:
        """A stream that can be read from, but not written to."""

        peer = local = network = None
        half_close = True

        def __init__(self) -> None:
            self.closed = asyncio.Event()

        async def receive(self, limit: int = 0) -> bytes:
            await self.closed.wait()
            return b""

        async def send(self, data: bytes) -> None:
            raise BrokenPipeError("no")

        async def send_eof(self) -> None: ...

        async def aclose(self) -> None:
            self.closed.set()

    class MuteTransport(StreamTransport):
        def dialer(self, args: Args, network: Network) -> Any:
            return self

        async def dial(self, target: Address) -> Stream:
            nonlocal dials
            dials += 1
            return Mute()

    async with dispatching(
        MuteTransport("hello"),
        client=["hello"],
        mode=Mode.TRANSPARENT_UDP,
        dialect=PT3_0,
        options={"hello": {"serverAddress": "192.0.2.1:9"}},
    ) as (_, client):
        conversation = await NETWORK.datagrams(client.address())
        while dials < 3:
            await conversation.send(b"x")
            await asyncio.sleep(0.005)
        await conversation.aclose()


@scenario
async def test_newcomers_are_turned_away_when_the_pool_is_full() -> None:
    async with (
        udp_echo() as target,
        tunnel(
            HELLO,
            Mode.TRANSPARENT_UDP,
            target=target,
            server_limits=Limits(datagram_connections=1),
            client_limits=Limits(datagram_connections=1),
        ) as (client, server),
    ):
        one, other = [await NETWORK.datagrams(client.address()) for _ in range(2)]
        assert await exchange(one, b"1") == b"1"
        for _ in range(10):
            await other.send(b"2")
        while await exchange(one, b"end") != b"end":
            pass
        extra = await NETWORK.dial(server.address())
        await silence(extra)  # closed by the server, which has one connection already
        for each in (one, other, extra):
            await each.aclose()


@scenario
async def test_an_application_that_is_not_there_is_no_disaster() -> None:
    """Its packets are lost, as on any network, and nothing else happens."""
    place = nobody_listens()
    async with tunnel(HELLO, Mode.TRANSPARENT_UDP, target=place) as (client, server):
        conversation = await NETWORK.datagrams(client.address())
        for _ in range(20):
            await conversation.send(b"anybody?")
            await asyncio.sleep(0.002)
        assert not server.logged("broke")
        await conversation.aclose()


@scenario
async def test_a_name_that_nobody_knows_ends_the_connection() -> None:
    target = Address("no-such-host.invalid", 1)
    async with dispatching(
        HELLO,
        server={"hello": "127.0.0.1:0"},
        target=target,
        mode=Mode.TRANSPARENT_UDP,
        dialect=PT3_0,
    ) as (_, server):
        stream = await NETWORK.dial(server.address())
        await silence(stream)
        await stream.aclose()
