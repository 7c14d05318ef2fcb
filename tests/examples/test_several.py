"""What the example over several connections promises."""

from __future__ import annotations

import asyncio
import os

import pytest
import several
from several import MOST, PIECE, Several

from ptipc.aio import SocketStream, StreamListener, SystemNetwork, in_process
from ptipc.core.escapes import NO_ARGS, Args
from tests.aio.loopback import LOOPBACK, read_all, read_exactly, scenario, serving, silence
from tests.examples.watching import Watched, WatchedStream


async def listen() -> StreamListener:
    return await Several().listener(NO_ARGS, SystemNetwork()).listen(LOOPBACK)


@pytest.mark.parametrize("count", [1, 2, MOST])
@scenario
async def test_a_stream_is_spread_over_its_lanes(count: int) -> None:
    """Each lane carries its share, and the octets come out in order."""
    network, data = Watched(), os.urandom(3 * MOST * PIECE)
    listening = await listen()
    dialer = in_process(Several(), {"lanes": str(count)}, network=network)
    near = await dialer.dial(listening.address)
    far = await listening.accept()
    sending = asyncio.create_task(near.send(data))
    assert await read_exactly(far, len(data)) == data
    await sending
    assert len(network.streams) == count
    assert all(len(lane.sent) > len(data) // count for lane in network.streams)
    assert near.network is None
    assert near.peer == listening.address
    assert far.peer == network.streams[0].local
    await near.aclose()
    await far.aclose()
    await listening.aclose()


@pytest.mark.parametrize("lanes", ["0", "17", "-1", "many"])
def test_a_bad_number_of_lanes_is_judged_at_once(lanes: str) -> None:
    with pytest.raises(ValueError, match=r"lanes|literal"):
        Several().dialer(Args({"lanes": lanes}), Watched())


@scenario
async def test_a_stream_without_all_its_lanes_is_none() -> None:
    """If one lane cannot be had, those that are there already are closed."""

    def trouble(stream: WatchedStream) -> None:
        if len(network.streams) == 3:
            raise ConnectionResetError("the third")

    network = Watched()
    network.trouble = trouble
    async with serving(silence) as address:
        with pytest.raises(ConnectionResetError, match="the third"):
            await in_process(Several(), network=network).dial(address)
    for lane in network.streams:
        assert isinstance(lane.inner, SocketStream)
        assert lane.inner.closed


@scenario
async def test_lanes_that_wait_in_vain_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane without the others, one that says nothing, and one that is none of ours."""
    monkeypatch.setattr(several, "PATIENCE", 0.1)
    listening = await listen()
    for hello in (bytes(16) + b"\3\0", b"", bytes(16) + b"\3\3", bytes(16) + b"\xff\0"):
        lane = await SystemNetwork().dial(listening.address)
        await lane.send(hello)
        assert await read_all(lane) == b""
        await lane.aclose()
    await listening.aclose()


@scenario
async def test_a_lane_that_breaks_breaks_the_stream() -> None:
    network = Watched()
    listening = await listen()
    near = await in_process(Several(), network=network).dial(listening.address)
    far = await listening.accept()
    await network.streams[0].send(b"\0\5and no more")
    assert await far.receive(5) == b"and n"
    await network.streams[1].send(b"\0\x50 not all of it")
    await network.streams[1].aclose()
    with pytest.raises(ConnectionResetError, match="within a piece"):
        await far.receive()
    await near.aclose()
    await far.aclose()
    await listening.aclose()


@scenario
async def test_a_listener_that_is_closed_leaves_no_lane_behind() -> None:
    """Neither one that waits for others, nor a stream that nobody has accepted."""
    listening = await listen()
    lane = await SystemNetwork().dial(listening.address)
    await lane.send(bytes(16) + b"\2\0")
    near = await in_process(Several()).dial(listening.address)
    last = await SystemNetwork().dial(listening.address)
    await last.send(bytes(16) + b"\3\3")
    assert await read_all(last) == b""  # so those before it have been accepted as well
    await last.aclose()
    await listening.aclose()
    assert await read_all(lane) == b""
    assert await read_all(near) == b""
    await lane.aclose()
    await near.aclose()
