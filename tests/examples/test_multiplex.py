"""What the multiplexing example promises: one connection, and nobody in anybody's way."""

from __future__ import annotations

import asyncio
import os
import socket

import multiplex
import pytest
from multiplex import CREDIT, HEAD, MOST, WINDOW, Kind, Multiplex

from ptipc.aio import (
    Nested,
    SocketStream,
    Stream,
    StreamListener,
    StreamTransport,
    SystemNetwork,
    in_process,
)
from ptipc.core.escapes import NO_ARGS
from tests.aio.loopback import (
    LOOPBACK,
    connect,
    dispatching,
    nobody_listens,
    read_all,
    read_exactly,
    scenario,
    serving,
)
from tests.examples.running import exchanged
from tests.examples.watching import Watched


async def listen() -> StreamListener:
    return await Multiplex().listener(NO_ARGS, SystemNetwork()).listen(LOOPBACK)


def frame(number: int, kind: int, data: bytes = b"") -> bytes:
    return HEAD.pack(number, kind, len(data)) + data


async def give_back(stream: Stream) -> None:
    while data := await stream.receive():
        await stream.send(data)
    await stream.send_eof()
    await stream.aclose()


@scenario
async def test_many_streams_share_one_connection() -> None:
    """They are opened at the same time, and each has its own octets and its own end."""
    network, data = Watched(), [os.urandom(100_000) for _ in range(30)]
    listening = await listen()
    dialer = in_process(Multiplex(), network=network)

    async def visit(data: bytes) -> None:
        assert await exchanged(await dialer.dial(listening.address), data) == data

    async with asyncio.TaskGroup() as group:
        for piece in data:
            group.create_task(visit(piece))
        for _ in data:
            group.create_task(give_back(await listening.accept()))
    assert len(network.streams) == 1
    # The next one finds the connection still there.
    near = await dialer.dial(listening.address)
    assert len(network.streams) == 1
    assert near.network is None
    assert near.peer == listening.address
    await near.aclose()
    await listening.aclose()


@scenario
async def test_each_server_has_a_connection_of_its_own() -> None:
    network = Watched()
    dialer = in_process(Multiplex(), network=network)
    listeners = [await listen(), await listen()]
    for listening in listeners:
        near = await dialer.dial(listening.address)
        await near.aclose()
    assert [stream.peer for stream in network.streams] == [each.address for each in listeners]
    for listening in listeners:
        await listening.aclose()


@scenario
async def test_who_does_not_read_holds_up_nobody_else() -> None:
    """Their sender has to wait after a window, and all others go on."""
    listening = await listen()
    dialer = in_process(Multiplex())
    lazy = await dialer.dial(listening.address)
    unread = await listening.accept()
    sending = asyncio.create_task(lazy.send(bytes(3 * WINDOW)))
    busy = await dialer.dial(listening.address)
    data = os.urandom(3 * WINDOW)
    giving_back = asyncio.create_task(give_back(await listening.accept()))
    assert await exchanged(busy, data) == data
    await giving_back
    assert not sending.done()
    assert len(await read_exactly(unread, 3 * WINDOW)) == 3 * WINDOW
    await sending
    for stream in (lazy, unread):
        await stream.aclose()
    await listening.aclose()


@scenario
async def test_the_end_of_the_connection_is_that_of_its_streams() -> None:
    """What was received can still be had, and the next stream gets a new connection."""
    network = Watched()
    listening = await listen()
    dialer = in_process(Multiplex(), network=network)
    near = await dialer.dial(listening.address)
    await near.send(b"still there")
    far = await listening.accept()
    assert await far.receive(5) == b"still"
    link = network.streams[0].network
    assert link is not None
    link.shutdown(socket.SHUT_RDWR)
    for stream in (near, far):
        with pytest.raises(ConnectionResetError):
            await stream.send(bytes(3 * WINDOW))
        with pytest.raises(ConnectionResetError):
            await read_all(stream)
        await stream.aclose()
    again = await dialer.dial(listening.address)
    assert len(network.streams) == 2
    await again.aclose()
    await listening.aclose()


@scenario
async def test_a_connection_that_fails_is_not_remembered() -> None:
    """All who wait for it hear why; the next one tries again."""
    address = nobody_listens()
    dialer = in_process(Multiplex())
    waiting = await asyncio.gather(
        *(dialer.dial(address) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(error, ConnectionRefusedError) for error in waiting)
    listening = await Multiplex().listener(NO_ARGS, SystemNetwork()).listen(address)
    near = await dialer.dial(address)
    await near.aclose()
    await listening.aclose()


@scenario
async def test_a_full_connection_gets_a_sister() -> None:
    network = Watched()
    listening = await listen()
    dialer = in_process(Multiplex(), network=network)
    streams = [await dialer.dial(listening.address) for _ in range(MOST + 1)]
    assert len(network.streams) == 2
    for stream in streams:
        await stream.aclose()
    await listening.aclose()


@scenario
async def test_a_connection_without_streams_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while of which others can make use."""
    monkeypatch.setattr(multiplex, "IDLE", 0.01)
    server = await SystemNetwork().listen(LOOPBACK)
    near = await in_process(Multiplex()).dial(server.address)
    link = await server.accept()
    await near.aclose()
    said = frame(1, Kind.OPEN) + frame(1, Kind.END) + frame(1, Kind.STOP)
    assert await read_all(link) == said
    await link.aclose()
    await server.aclose()


@scenario
async def test_streams_outlive_the_listener_that_accepted_them() -> None:
    """And those that nobody has accepted are closed."""
    listening = await listen()
    dialer = in_process(Multiplex())
    near = await dialer.dial(listening.address)
    far = await listening.accept()
    unwanted = await dialer.dial(listening.address)
    await near.send(b"one")
    assert await read_exactly(far, 3) == b"one"
    await listening.aclose()
    assert await read_all(unwanted) == b""
    refused = await dialer.dial(listening.address)
    with pytest.raises(ConnectionResetError):
        await refused.receive()
    await near.send(b"two")
    assert await read_exactly(far, 3) == b"two"
    for stream in (near, far, unwanted, refused):
        await stream.aclose()


@scenario
async def test_a_dialer_that_is_closed_says_farewell_and_lets_streams_finish() -> None:
    """An idle connection ends at once; one with streams on it after the last of them."""
    network = Watched()
    listeners = [await listen(), await listen()]
    dialer = in_process(Multiplex(), network=network)
    idle, busy = [await dialer.dial(listening.address) for listening in listeners]
    await idle.aclose()
    await dialer.aclose()
    assert [stream.closed for stream in network.streams] == [True, False]
    giving_back = asyncio.create_task(give_back(await listeners[1].accept()))
    assert await exchanged(busy, b"still there") == b"still there"
    await giving_back
    await dialer.aclose()
    assert [stream.closed for stream in network.streams] == [True, True]
    for listening in listeners:
        await listening.aclose()


@scenario
async def test_it_is_shared_in_a_transport_process_and_ended_with_it() -> None:
    """Also inside another transport: one connection for all applications, which hears the end."""
    farewells: list[bytes] = []

    async def server(stream: SocketStream) -> None:
        farewells.append(await read_all(stream))

    nested = Nested("nested", outer=StreamTransport("outer"), inner=Multiplex())
    async with serving(server) as address:
        for name, transport in (("multiplex", Multiplex()), ("nested", nested)):
            async with dispatching(transport, client=[name]) as (_, host):
                for _ in range(3):
                    await (await connect(host, address, name=name)).aclose()
            opened = [farewells[-1].count(frame(number, Kind.OPEN)) for number in (1, 2, 3)]
            assert opened == [1, 1, 1]
    assert len(farewells) == 2


@pytest.mark.parametrize(
    "wire",
    [
        frame(1, 9),
        frame(1, Kind.OPEN) * 2,
        frame(1, Kind.OPEN) + frame(1, Kind.CREDIT, b"?"),
        frame(1, Kind.OPEN) + frame(1, Kind.END) + frame(1, Kind.DATA, b"after the end"),
        frame(1, Kind.OPEN) + frame(1, Kind.DATA, bytes(1 << 14)) * 17,
    ],
    ids=["a kind that is none", "opened twice", "bad credit", "data after the end", "too much"],
)
@scenario
async def test_who_breaks_the_rules_is_cut_off(wire: bytes) -> None:
    listening = await listen()
    rude = await SystemNetwork().dial(listening.address)
    await rude.send(wire)
    await read_all(rude)
    await rude.aclose()
    await listening.aclose()


@scenario
async def test_a_server_cannot_open_streams() -> None:
    server = await SystemNetwork().listen(LOOPBACK)
    near = await in_process(Multiplex()).dial(server.address)
    far = await server.accept()
    await far.send(frame(2, Kind.OPEN))
    with pytest.raises(ConnectionResetError):
        await near.receive()
    await far.aclose()
    await server.aclose()


@scenario
async def test_frames_for_a_stream_that_is_no_more_are_passed_over() -> None:
    listening = await listen()
    client = await SystemNetwork().dial(listening.address)
    await client.send(frame(7, Kind.DATA, b"?") + frame(7, Kind.CREDIT, CREDIT.pack(1)))
    await client.send(frame(1, Kind.OPEN) + frame(1, Kind.DATA, b"!"))
    far = await listening.accept()
    assert await far.receive() == b"!"
    await client.aclose()
    await far.aclose()
    await listening.aclose()
