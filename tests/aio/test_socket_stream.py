"""A connection of the operating system as a stream: who waits is woken, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from ptipc.aio import receive_exactly
from ptipc.aio.streams import see_off
from tests.aio.connections import Run, connected, settle


def test_closing_wakes_a_receiver(run: Run) -> None:
    """Whoever waits for octets of a stream that is closed hears its end."""

    async def test() -> None:
        one, other = connected()
        waiting = asyncio.create_task(one.receive())
        await settle()
        await one.aclose()
        assert await waiting == b""
        await other.aclose()

    run(test())


def test_closing_wakes_a_sender(run: Run) -> None:
    """Whoever waits for room in a stream that is closed hears that there will be none."""

    async def test() -> None:
        one, other = connected()
        sending = asyncio.create_task(one.send(bytes(100_000_000)))
        await settle()
        await one.aclose()
        with pytest.raises(OSError, match="closed"):
            await sending
        await other.aclose()

    run(test())


def test_the_next_connection_is_not_taken_for_a_closed_one(run: Run) -> None:
    """A descriptor's number is given away again at once; its next bearer is watched as well."""

    async def test() -> None:
        for _ in range(3):
            one, other = connected()
            waiting = asyncio.create_task(one.receive())
            await settle()
            await one.aclose()
            await other.aclose()
            await waiting
        one, other = connected()
        waiting = asyncio.create_task(one.receive())
        await settle()
        await other.send(b"hello")
        assert await waiting == b"hello"
        await one.aclose()
        await other.aclose()

    run(test())


def test_a_call_that_is_cancelled_loses_nothing(run: Run) -> None:
    """Octets that have come when the call is cancelled are there for the next one."""

    async def test() -> None:
        one, other = connected()
        for _ in range(20):
            waiting = asyncio.create_task(one.receive())
            await settle()
            other.network.send(b"hello")
            # In the turn in which it would be woken, and in others.
            await asyncio.sleep(0)
            waiting.cancel()
            received = b""
            try:
                received = await waiting
            except asyncio.CancelledError:
                received = await one.receive()
            assert received == b"hello"
        await one.aclose()
        await other.aclose()

    run(test())


def test_sending_waits_for_room(run: Run) -> None:
    """More than the kernel keeps is sent as the peer takes it."""

    async def test() -> None:
        one, other = connected()
        data = bytes(range(256)) * 40_000
        sending = asyncio.create_task(one.send(data))
        received = bytearray()
        while len(received) < len(data):
            received += await other.receive()
        await sending
        assert received == data
        await one.aclose()
        await other.aclose()

    run(test())


def test_last_words_are_heard_while_the_peer_goes_on(run: Run) -> None:
    """But not for ever, be the peer silent or not."""

    async def test() -> None:
        one, other = connected()
        await other.send(bytes(200_000))
        await one.send(b"goodbye")
        await see_off(one, timeout=0.01)
        await one.aclose()
        assert await other.receive() == b"goodbye"
        assert await other.receive() == b""
        await other.aclose()

        one, other = connected()
        sending = asyncio.create_task(other.send(bytes(1 << 30)))
        await see_off(one, timeout=60)
        await one.aclose()
        with pytest.raises(OSError, match=r"."):
            await sending
        await see_off(one)  # which is closed
        await other.aclose()

    run(test())


def test_exactly_so_many_octets_or_an_error(run: Run) -> None:
    """A handshake's field is received whole, and a stream that ends within it has broken."""

    async def test() -> None:
        one, other = connected()
        await other.send(b"ab")
        receiving = asyncio.create_task(receive_exactly(one, 3))
        await settle()
        await other.send(b"cde")
        assert await receiving == b"abc"
        await other.send_eof()
        with pytest.raises(ConnectionResetError, match="after 2 of 4"):
            await receive_exactly(one, 4)
        await one.aclose()
        await other.aclose()

    run(test())
