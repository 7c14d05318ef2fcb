"""What the polling example promises: a stream that does not mind if connections break."""

from __future__ import annotations

import asyncio
import os

import polling
import pytest
from polling import END, MESSAGE, REQUEST, ROOM, Polling

from ptipc.aio import StreamListener, SystemNetwork, in_process
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS
from tests.aio.loopback import LOOPBACK, read_all, read_exactly, scenario
from tests.examples.running import exchanged
from tests.examples.watching import Watched, WatchedStream

TOKEN = bytes(16)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "TIRED", 0.01)


async def listen() -> StreamListener:
    return await Polling().listener(NO_ARGS, SystemNetwork()).listen(LOOPBACK)


async def poll(address: Address, number: int, data: bytes = b"", *, flags: int = 0) -> bytes:
    """The reply to one poll, as it is on the wire; nothing if there is none."""
    stream = await SystemNetwork().dial(address)
    await stream.send(REQUEST.pack(TOKEN, number) + MESSAGE.pack(flags, ROOM, len(data)) + data)
    await stream.send_eof()
    try:
        return await read_all(stream)
    except ConnectionResetError:
        return b""
    finally:
        await stream.aclose()


@pytest.mark.parametrize("cut_at", [0, 5, 2000])
@scenario
async def test_polls_that_break_lose_and_double_nothing(cut_at: int) -> None:
    """Every second connection breaks, before the reply, in its head, or in what it carries."""

    def trouble(stream: WatchedStream) -> None:
        if len(network.streams) % 2 == 0:
            stream.cut_at = cut_at

    network, data = Watched(), os.urandom(500_000)
    network.trouble = trouble
    listening = await listen()
    near = await in_process(Polling(), network=network).dial(listening.address)
    returned = asyncio.create_task(exchanged(near, data))
    far = await listening.accept()
    while piece := await far.receive():
        await far.send(piece)
    await far.send_eof()
    assert await returned == data
    assert len(network.streams) > 10
    await listening.aclose()


@scenario
async def test_a_stream_ends_when_no_poll_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was received before can still be had."""
    monkeypatch.setattr(polling, "FORGOTTEN", 1.0)

    def trouble(stream: WatchedStream) -> None:
        if broken.is_set():
            raise ConnectionResetError("the network is gone")

    broken = asyncio.Event()
    network = Watched()
    network.trouble = trouble
    listening = await listen()
    near = await in_process(Polling(), network=network).dial(listening.address)
    far = await listening.accept()
    await far.send(b"last words")
    assert await read_exactly(near, 4) == b"last"
    broken.set()
    assert await read_exactly(near, 6) == b" words"
    with pytest.raises(ConnectionResetError, match="no poll gets through: the network is gone"):
        await near.receive()
    with pytest.raises(ConnectionResetError):
        await near.send(b"x" * 2 * ROOM)
    await near.aclose()
    await listening.aclose()
    with pytest.raises(ConnectionResetError, match="asks no more"):
        await far.receive()


@scenario
async def test_a_server_forgets_who_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "FORGOTTEN", 1.0)
    listening = await listen()
    await poll(listening.address, 1, b"and then?")
    far = await listening.accept()
    assert await read_exactly(far, 9) == b"and then?"
    with pytest.raises(ConnectionResetError, match="asks no more"):
        await far.receive()
    await listening.aclose()
    with pytest.raises(OSError, match="closed"):
        await listening.accept()


@scenario
async def test_a_poll_may_be_repeated_but_not_skipped() -> None:
    """The same number gets the same reply; one out of turn, or too much, gets none."""
    listening = await listen()
    first = await poll(listening.address, 1, b"once")
    far = await listening.accept()
    await far.send(b"answer")
    assert await poll(listening.address, 1, b"once") == first
    second = await poll(listening.address, 2)
    assert second.endswith(b"answer")
    assert await poll(listening.address, 2) == second
    assert await poll(listening.address, 4) == b""
    assert await poll(listening.address, 3, bytes(ROOM + 1)) == b""
    assert await poll(listening.address, 3, b" more", flags=END) != b""
    assert await read_all(far) == b"once more"
    await far.aclose()
    await listening.aclose()


@scenario
async def test_a_reader_that_is_slow_slows_down_the_sender() -> None:
    """No more than is welcome is kept at the other end, however much is sent."""
    listening = await listen()
    near = await in_process(Polling()).dial(listening.address)
    far = await listening.accept()
    sending = asyncio.create_task(near.send(bytes(10 * ROOM)))
    await read_exactly(far, ROOM // 2)
    assert not sending.done()
    received = await read_exactly(far, 10 * ROOM - ROOM // 2)
    assert len(received) == 10 * ROOM - ROOM // 2
    await sending
    await near.aclose()
    assert await far.receive() == b""
    await listening.aclose()


@scenario
async def test_streams_outlive_the_listener_that_accepted_them() -> None:
    listening = await listen()
    near = await in_process(Polling()).dial(listening.address)
    far = await listening.accept()
    await listening.aclose()
    await near.send(b"still here")
    assert await read_exactly(far, 10) == b"still here"
    with pytest.raises(ConnectionRefusedError, match="no more streams"):
        await in_process(Polling()).dial(listening.address)
    await near.aclose()
    assert await far.receive() == b""
