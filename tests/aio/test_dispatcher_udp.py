"""The modes transparent-UDP and STUN, through transports of streams and of datagrams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from ptipc.aio import (
    SocketStream,
    StreamTransport,
    SystemNetwork,
    Transport,
)
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT2_2, PT3_0, Dialect
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import launch_config
from ptipc.core.messages import CMethod
from tests.aio.loopback import (
    Reversing,
    dispatching,
    read_exactly,
    scenario,
    serving,
    silence,
    udp_echo,
)
from tests.aio.udp_tunnel import STUN, exchange, tunnel

HELLO = StreamTransport("hello")
NETWORK = SystemNetwork()
MODES = [Mode.TRANSPARENT_UDP, Mode.STUN]


@pytest.mark.parametrize("dialect", [PT2_2, PT3_0], ids=str)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("transport", [HELLO, Reversing()], ids=lambda transport: transport.name)
@scenario
async def test_datagrams_come_back(transport: Transport, mode: Mode, dialect: Dialect) -> None:
    async with (
        udp_echo() as target,
        tunnel(transport, mode, target=target, dialect=dialect) as (client, _),
    ):
        method = client.method(transport.name)
        assert isinstance(method, CMethod)
        assert method.protocol.value == mode.value
        one, other = [await NETWORK.datagrams(method.address) for _ in range(2)]
        for conversation, mark in ((one, b"1---"), (other, b"2---")):
            data = STUN[:-4] + mark
            assert await exchange(conversation, data) == data
        for conversation in (one, other):
            await conversation.aclose()


@scenario
async def test_datagrams_of_any_size_keep_their_boundaries() -> None:
    async with (
        udp_echo() as target,
        tunnel(HELLO, Mode.TRANSPARENT_UDP, target=target) as (client, _),
    ):
        conversation = await NETWORK.datagrams(client.address())
        await exchange(conversation, b"open")
        for data in (b"", b"x", bytes(60000)):
            await conversation.send(data)
            while await conversation.receive() != data:
                pass
        await conversation.aclose()


@pytest.mark.parametrize("transport", [HELLO, Reversing()], ids=lambda transport: transport.name)
@scenario
async def test_nothing_but_stun_goes_through_in_the_mode_stun(transport: Transport) -> None:
    """PT 3.0 section 1.5.5; in neither direction."""
    heard: list[bytes] = []

    class Talkative(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            heard.append(data)
            for answer in (b"not STUN", data):
                self.transport.sendto(answer, addr)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    application, _ = await loop.create_datagram_endpoint(Talkative, local_addr=("127.0.0.1", 0))
    target = Address(*application.get_extra_info("sockname"))
    async with tunnel(transport, Mode.STUN, target=target) as (client, _):
        conversation = await NETWORK.datagrams(client.address(transport.name))
        assert await exchange(conversation) == STUN
        await conversation.send(b"not STUN either")
        await conversation.send(STUN)
        while await conversation.receive() != STUN or len(heard) < 2:
            pass
        await conversation.aclose()
    application.close()
    assert set(heard) == {STUN}


# --- what is on the wire --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "dialect", "wire"),
    [
        (Mode.TRANSPARENT_UDP, PT3_0, len(STUN).to_bytes(2, "big") + STUN),
        (
            Mode.TRANSPARENT_UDP,
            evolve(PT2_2, datagram_length_order="little"),
            len(STUN).to_bytes(2, "little") + STUN,
        ),
        (Mode.STUN, PT3_0, STUN),
    ],
)
@scenario
async def test_the_framing_is_that_of_the_mode(mode: Mode, dialect: Dialect, wire: bytes) -> None:
    """And of a peer's habits (C59): the length is big-endian unless the dialect says otherwise."""
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(stream: SocketStream) -> None:
        seen.set_result(await read_exactly(stream, len(wire)))
        await stream.send(wire)
        await silence(stream)

    async with (
        serving(serve) as server,
        dispatching(
            HELLO,
            client=["hello"],
            mode=mode,
            dialect=dialect,
            options={"hello": {"serverAddress": str(server)}},
        ) as (_, client),
    ):
        conversation = await NETWORK.datagrams(client.address())
        assert await exchange(conversation) == STUN
        assert await seen == wire
        await conversation.aclose()


@scenario
async def test_a_peer_that_frames_otherwise_is_left() -> None:
    """Nobody knows where its next datagram begins; the application gets a new connection."""
    connections: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        connections.append(b"")
        if len(connections) == 1:
            await stream.send(b"\xff" * 100)
        else:
            await stream.send(STUN)
        await silence(stream)

    async with (
        serving(serve) as server,
        dispatching(
            HELLO,
            client=["hello"],
            mode=Mode.STUN,
            dialect=PT3_0,
            options={"hello": {"serverAddress": str(server)}},
        ) as (_, client),
    ):
        conversation = await NETWORK.datagrams(client.address())
        assert await exchange(conversation) == STUN
        await conversation.aclose()
    assert len(connections) == 2


# --- what does not fit ----------------------------------------------------------------------------


@scenario
async def test_datagrams_go_past_no_upstream_proxy() -> None:
    """A transport of streams carries them through it; one of datagrams cannot, and says so."""
    settings: dict[str, Any] = {
        "mode": Mode.TRANSPARENT_UDP,
        "dialect": PT3_0,
        "proxy": "socks5://127.0.0.1:9",
    }
    async with dispatching(
        HELLO,
        Reversing(),
        client=["hello", "reversing"],
        options={
            "hello": {"serverAddress": "192.0.2.1:9"},
            "reversing": {"serverAddress": "192.0.2.1:9"},
        },
        **settings,
    ) as (_, host):
        assert "PROXY DONE" in host.lines
        assert set(host.session.methods) == {"hello"}
        assert "no upstream proxy" in host.session.errors["reversing"]


@scenario
async def test_datagrams_need_a_target_at_the_server(tmp_path: Any) -> None:
    async with dispatching(
        HELLO,
        server={"hello": "127.0.0.1:0"},
        extended_port="127.0.0.1:9",
        auth_cookie=str(tmp_path / "cookie"),
        mode=Mode.STUN,
        dialect=PT3_0,
    ) as (_, host):
        assert "datagrams need a target" in host.session.errors["hello"]


def test_pt_1_has_no_such_modes() -> None:
    with pytest.raises(LocalProtocolError):
        launch_config(client=["hello"], mode=Mode.STUN).to_process()
