"""Every example inside an application: no process, no SOCKS, the same objects."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from datagram import Datagram
from multiplex import Multiplex
from nested import nested
from obfuscated import Obfuscated
from polling import Polling
from several import Several

from ptipc.aio import InProcessDialer, Stream, StreamTransport, SystemNetwork, Transport, in_process
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS
from ptipc.osdep import State
from tests.aio.loopback import LOOPBACK, read_all, read_exactly, scenario
from tests.examples.running import exchanged

STREAM_TRANSPORTS: list[Any] = [
    StreamTransport("hello"),
    Obfuscated(),
    nested,
    Multiplex(),
    Several(),
    Polling(),
]

with_streams = pytest.mark.parametrize(
    "transport", STREAM_TRANSPORTS, ids=lambda transport: transport.name
)


@contextlib.asynccontextmanager
async def served(
    transport: Transport, tmp_path: Path
) -> AsyncIterator[tuple[InProcessDialer, Address, asyncio.Queue[Stream]]]:
    """A server of a transport, a dialer that knows what it publishes, and who has come."""
    state = State(str(tmp_path / "state"))
    listener = transport.listener(NO_ARGS, SystemNetwork(state=state))
    listening = await listener.listen(LOOPBACK)
    arrived: asyncio.Queue[Stream] = asyncio.Queue()

    async def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                arrived.put_nowait(await listening.accept())

    accepting = asyncio.create_task(accept())
    try:
        yield in_process(transport, listener.args), listening.address, arrived
    finally:
        await listening.aclose()
        await accepting


@with_streams
@scenario
async def test_each_direction_ends_by_itself(transport: Transport, tmp_path: Path) -> None:
    """After the end of one direction the other still carries a megabyte, and then its own end."""
    there, back = os.urandom(1 << 20), os.urandom(1 << 20)
    async with served(transport, tmp_path) as (dialer, address, arrived):
        near = await dialer.dial(address)
        returned = asyncio.create_task(exchanged(near, there))
        far = await arrived.get()
        assert await read_all(far) == there
        await far.send(back)
        await far.send_eof()
        assert await returned == back
        await far.aclose()


@with_streams
@scenario
async def test_closing_loses_nothing_that_was_sent(transport: Transport, tmp_path: Path) -> None:
    """Whoever sends and closes at once has sent; the other end hears all of it, and the end."""
    data = os.urandom(300_000)
    async with served(transport, tmp_path) as (dialer, address, arrived):
        near = await dialer.dial(address)
        await near.send(b"come")
        far = await arrived.get()
        sending = asyncio.create_task(far.send(data))
        assert await read_exactly(far, 4) == b"come"
        received = asyncio.create_task(read_all(near))
        await sending
        await far.aclose()
        assert await received == data
        await near.aclose()
        await near.aclose()


@with_streams
@scenario
async def test_a_receive_that_is_given_up_loses_nothing(
    transport: Transport, tmp_path: Path
) -> None:
    """A deadline around ``receive`` may pass again and again; no octet is lost by it."""
    data = os.urandom(100_000)
    async with served(transport, tmp_path) as (dialer, address, arrived):
        near = await dialer.dial(address)
        await near.send(b"come")
        far = await arrived.get()

        async def send() -> None:
            for start in range(0, len(data), 10_000):
                await near.send(data[start : start + 10_000])
            await near.send_eof()

        sending = asyncio.create_task(send())
        received = b""
        while True:
            try:
                async with asyncio.timeout(0.001):
                    piece = await far.receive(1000)
            except TimeoutError:
                continue
            if not piece:
                break
            received += piece
        await sending
        assert received == b"come" + data
        await far.aclose()
        await near.aclose()


@with_streams
@scenario
async def test_nobody_is_there(transport: Transport, tmp_path: Path) -> None:
    """To dial where nobody listens raises what the operating system says."""
    async with served(transport, tmp_path) as (dialer, address, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        await dialer.dial(address)


@with_streams
@scenario
async def test_a_listener_that_is_closed_says_so(transport: Transport, tmp_path: Path) -> None:
    """``accept`` raises OSError after ``aclose``, which may be called again."""
    listener = transport.listener(NO_ARGS, SystemNetwork(state=State(str(tmp_path))))
    listening = await listener.listen(LOOPBACK)
    accepting = asyncio.ensure_future(listening.accept())
    await asyncio.wait({accepting}, timeout=0)
    await listening.aclose()
    await listening.aclose()
    with pytest.raises(OSError, match="closed"):
        await accepting
    with pytest.raises(OSError, match="closed"):
        await listening.accept()


@scenario
async def test_datagrams_go_both_ways() -> None:
    """The datagram transport has the shape of ``Datagrams`` at both ends."""
    transport = Datagram()
    listener = transport.listener(NO_ARGS, SystemNetwork())
    listening = await listener.listen_datagrams(LOOPBACK)
    dialer = transport.dialer(listener.args, SystemNetwork())
    near = await dialer.dial_datagrams(listening.address)
    await near.send(b"")
    far = await listening.accept()
    assert await far.receive() == b""
    await far.send(b"answer")
    assert await near.receive() == b"answer"
    assert near.peer == listening.address
    await near.aclose()
    assert await near.receive() is None
    await listening.aclose()
    assert await far.receive() is None
