"""What is carried, counted and told of, without any process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from ptipc.aio import SocketStream, SystemNetwork
from ptipc.aio.datagrams import Datagrams
from ptipc.cli.carrying import Carrier, octets, reason
from ptipc.cli.interrupts import Interrupts, first_of
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError

LOCAL = Address("127.0.0.1", 0)


@contextlib.contextmanager
def pair() -> Iterator[tuple[SocketStream, SocketStream]]:
    """Two ends of a connection, which are closed afterwards."""
    one, other = socket.socketpair()
    with one, other:
        yield SocketStream(one), SocketStream(other)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_octets_are_few_characters(count: int, text: str) -> None:
    assert octets(count) == text


def test_reasons_are_words() -> None:
    """Neither a number nor nothing at all."""
    assert reason(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"
    assert reason(LocalProtocolError("some text")) == "some text"
    assert reason(TimeoutError()) == "TimeoutError"


def test_octets_are_counted_while_they_pass() -> None:
    """In both directions, and as long as the connection is open."""

    async def main(near: SocketStream, far: SocketStream) -> list[str]:
        told: list[str] = []

        async def dial() -> SocketStream:
            return far

        carrier = Carrier(dial=dial, tell=lambda text, tone: told.append(text))
        carrying = asyncio.create_task(carrier.carry(near, Address("192.0.2.7", 5)))
        await client.send(b"hello")
        assert await server.receive() == b"hello"
        await server.send(b"you")
        assert await client.receive() == b"you"
        assert (carrier.up, carrier.down, len(carrier.open)) == (5, 3, 1)
        assert carrier.summary == "1 open, 1 so far  |  5 B up, 3 B down"
        await client.send_eof()
        assert await server.receive() == b""
        await server.aclose()
        await asyncio.gather(carrying, carrier.idle())
        assert (carrier.up, carrier.down, len(carrier.open)) == (5, 3, 0)
        return told

    with pair() as (near, client), pair() as (far, server):
        told = asyncio.run(main(near, far))
    assert told[0] == "#1 from 192.0.2.7:5 is connected"
    assert told[1].startswith("#1 from 192.0.2.7:5 is closed; 5 B up, 3 B down in 0.")


@pytest.mark.parametrize("error", [OSError(5, "no way"), LookupError("no way")])
def test_what_cannot_be_connected_is_closed_and_told(error: Exception) -> None:
    async def main() -> None:
        told = []

        async def dial() -> SocketStream:
            raise error

        carrier = Carrier(dial=dial, tell=lambda text, tone: told.append((text, tone)))
        await carrier.carry(near, None)
        assert await client.receive() == b""
        assert told == [("#1: no way", "bad")]
        assert carrier.summary == "0 open, 0 so far, 1 failed  |  0 B up, 0 B down"

    with pair() as (near, client):
        asyncio.run(main())


def test_an_error_of_ours_is_not_hidden() -> None:
    """What no connection can be blamed for is raised."""

    async def main() -> None:
        async def dial() -> SocketStream:
            raise ZeroDivisionError

        carrier = Carrier(dial=dial, tell=lambda text, tone: None)
        with pytest.raises(ZeroDivisionError):
            await carrier.carry(near, None)

    with pair() as (near, _):
        asyncio.run(main())


def test_a_connection_that_breaks_is_told_of() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        network = SystemNetwork()
        listener = await network.listen(LOCAL)

        async def dial() -> SocketStream:
            return far

        carrier = Carrier(dial=dial, tell=lambda text, tone: told.append(text))
        accepting = asyncio.create_task(carrier.accept_from(listener))
        client = await network.dial(listener.address)
        await client.send(b"x")
        assert await server.receive() == b"x"
        client.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await client.aclose()
        await carrier.idle()
        await listener.aclose()
        await accepting
        return told

    with pair() as (far, server):
        assert "broke: Connection reset by peer; 1 B up" in asyncio.run(main())[-1]


async def _until(true: object) -> None:
    while not true():  # type: ignore[operator]
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[Address]:
    """A server that sends every datagram back."""
    listener = await SystemNetwork().listen_datagrams(LOCAL)

    async def serve(conversation: Datagrams) -> None:
        while (data := await conversation.receive()) is not None:
            await conversation.send(data)

    async def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                tasks.append(asyncio.create_task(serve(await listener.accept())))

    tasks = []
    tasks.append(asyncio.create_task(accept()))
    try:
        yield listener.address
    finally:
        await listener.aclose()
        await asyncio.gather(*tasks)


def test_datagrams_are_carried_one_by_one() -> None:
    async def main() -> None:
        network = SystemNetwork()
        async with udp_echo() as place:

            async def dial_datagrams() -> Datagrams:
                return await network.datagrams(place)

            async def dial() -> SocketStream:
                raise AssertionError

            carrier = Carrier(
                dial=dial, dial_datagrams=dial_datagrams, tell=lambda text, tone: None
            )
            listener = await network.listen_datagrams(LOCAL)
            accepting = asyncio.create_task(carrier.accept_datagrams_from(listener))
            client = await network.datagrams(listener.address)
            for data in (b"one", b"", b"three"):
                await client.send(data)
                assert await client.receive() == data
            assert (carrier.up, carrier.down, len(carrier.open)) == (8, 8, 1)
            await listener.aclose()
            await asyncio.gather(accepting, carrier.idle())
            await client.aclose()

    asyncio.run(main())


def test_whatever_is_left_is_ended() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        network = SystemNetwork()
        listener = await network.listen(LOCAL)

        async def never() -> SocketStream:
            await asyncio.Event().wait()
            raise AssertionError

        carrier = Carrier(dial=never, tell=lambda text, tone: told.append(text))
        accepting = asyncio.create_task(carrier.accept_from(listener))
        client = await network.dial(listener.address)
        await _until(lambda: carrier.open)
        await carrier.aclose()
        assert await client.receive() == b""
        await listener.aclose()
        await accepting
        await client.aclose()
        return told

    assert "is ended; 0 B up, 0 B down" in asyncio.run(main())[0]


# --- requests to end ------------------------------------------------------------------------------


def test_the_first_request_cancels_what_is_starting() -> None:
    async def main() -> None:
        with Interrupts() as interrupts:
            interrupts.ask()
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_afterwards_there_are_two_of_them() -> None:
    async def main() -> None:
        with Interrupts() as interrupts:
            interrupts.starting = False
            interrupts.ask()
            assert (interrupts.asked.is_set(), interrupts.urgent.is_set()) == (True, False)
            interrupts.ask()
            assert interrupts.urgent.is_set()

    asyncio.run(main())


def test_the_first_thing_that_happens_is_waited_for() -> None:
    async def main() -> None:
        never = asyncio.Event()
        await first_of(never.wait(), asyncio.sleep(0))
        await first_of(never.wait(), timeout=0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
