"""Streams: what a MappedStream owes its caller, and what relays owe to streams of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from attrs import define, field

from ptipc.aio.streams import SocketStream, Stream, map_stream, relay, start_relay
from tests.aio.connections import (
    MUCH,
    Run,
    Wrap,
    connected,
    engine_is_at_rest,
    fill,
    flipped,
    receive_all,
    relayed,
    reset,
    same,
    send_and_end,
    settle,
)


def tagged(tag: bytes) -> Callable[[bytes], bytes]:
    """A function that shows where it was called, and for what."""
    return lambda data: tag + b"(" + data + b")"


# --- MappedStream ---------------------------------------------------------------------------------


def test_octets_pass_through_both_functions(run: Run) -> None:
    async def test() -> None:
        one, other = connected()
        mapped = map_stream(one, tagged(b"e"), tagged(b"d"))
        await mapped.send(b"abc")
        assert await other.receive() == b"e(abc)"
        await other.send(b"xyz")
        assert await mapped.receive() == b"d(xyz)"
        await mapped.send_eof()
        assert await other.receive() == b""
        await other.aclose()
        assert await mapped.receive() == b""
        await mapped.aclose()

    run(test())


def test_a_mapped_stream_never_receives_more_than_was_asked_for(run: Run) -> None:
    async def test() -> None:
        one, other = connected()
        mapped = map_stream(one, same, lambda data: data * 5)
        await send_and_end(other, b"ab")
        received = []
        while data := await mapped.receive(4):
            received.append(data)
        assert received == [b"abab", b"abab", b"ab"]
        await mapped.aclose()
        await other.aclose()

    run(test())


def test_a_function_that_keeps_everything_is_not_the_end(run: Run) -> None:
    async def test() -> None:
        one, other = connected()
        mapped = map_stream(one, lambda data: b"", lambda data: data.replace(b"-", b""))
        await other.send(b"-")
        receiving = asyncio.create_task(mapped.receive())
        await settle()
        await other.send(b"-a-")
        assert await receiving == b"a"
        await mapped.send(b"never sent")
        await mapped.send_eof()
        assert await other.receive() == b""
        await mapped.aclose()
        await other.aclose()

    run(test())


# --- the end of a relay ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda stream: stream, lambda stream: map_stream(stream, flipped, flipped)]
)
def test_the_client_may_end_first_and_still_hear_the_answer(run: Run, wrap: Wrap) -> None:
    async def test() -> None:
        async with relayed(wrap, wrap) as r:
            await send_and_end(r.client, b"question")
            assert await receive_all(r.server) == b"question"
            assert not r.task.done()
            await send_and_end(r.server, b"answer")
            assert await receive_all(r.client) == b"answer"
            await r.task

    run(test())


def test_the_server_may_end_first_and_still_be_talked_to(run: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await send_and_end(r.server, b"banner")
            assert await receive_all(r.client) == b"banner"
            for word in (b"still", b"here"):
                await r.client.send(word)
                assert await r.server.receive() == word
            await r.client.send_eof()
            assert await receive_all(r.server) == b""
            await r.task

    run(test())


def test_both_may_end_without_a_word(run: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await r.client.send_eof()
            await r.server.send_eof()
            await r.task

    run(test())


def test_the_end_comes_behind_what_was_sent_before_it(run: Run) -> None:
    """Even if the reader did not begin to read until the writer was gone."""

    async def test() -> None:
        async with relayed(buffer=65536) as r:
            sending = asyncio.create_task(send_and_end(r.client, MUCH))
            await settle()
            assert not sending.done()
            assert await receive_all(r.server) == MUCH
            await sending
            await r.server.send_eof()
            await r.task

    run(test())


def test_a_half_closed_relay_costs_nothing(run_engine: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await r.client.send_eof()
            assert await receive_all(r.server) == b""
            await settle()
            assert engine_is_at_rest()
            await r.server.send_eof()
            await r.task

    run_engine(test())


# --- what a relay moves ---------------------------------------------------------------------------


def test_octets_that_came_early_are_first(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        here.unreceive(b"early ")
        there.unreceive(b"EARLY ")
        task = asyncio.create_task(relay(here, there))
        await send_and_end(client, b"late")
        await send_and_end(server, b"LATE")
        assert await receive_all(server) == b"early late"
        assert await receive_all(client) == b"EARLY LATE"
        await task
        await client.aclose()
        await server.aclose()

    run(test())


def test_many_octets_arrive_both_ways_at_once(run: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            other_way = flipped(MUCH[:65536]) * 128
            _, _, up, down = await asyncio.gather(
                send_and_end(r.client, MUCH),
                send_and_end(r.server, other_way),
                receive_all(r.server),
                receive_all(r.client),
            )
            assert up == MUCH
            assert down == other_way
            await r.task

    run(test())


def test_many_octets_arrive_through_functions(run: Run) -> None:
    """Functions that change the length, too."""

    async def test() -> None:
        def doubled(data: bytes) -> bytes:
            return data + data

        length = 0

        def counted(data: bytes) -> bytes:
            nonlocal length
            length += len(data)
            return b""

        async with relayed(right=lambda s: map_stream(s, doubled, counted)) as r:
            data = bytes(len(MUCH))
            sending = asyncio.gather(send_and_end(r.client, data), send_and_end(r.server, MUCH))
            assert await receive_all(r.server) == data + data
            assert await receive_all(r.client) == b""
            await sending
            await r.task
            assert length == len(MUCH)

    run(test())


def test_functions_are_called_in_the_order_of_the_streams(run: Run) -> None:
    async def test() -> None:
        def left(stream: SocketStream) -> Stream:
            inner = map_stream(stream, tagged(b"le"), tagged(b"ld"))
            return map_stream(inner, tagged(b"LE"), tagged(b"LD"))

        def right(stream: SocketStream) -> Stream:
            return map_stream(stream, tagged(b"re"), tagged(b"rd"))

        async with relayed(left, right) as r:
            await send_and_end(r.client, b"up")
            assert await receive_all(r.server) == b"re(LD(ld(up)))"
            await send_and_end(r.server, b"down")
            assert await receive_all(r.client) == b"le(LE(rd(down)))"
            await r.task

    run(test())


def test_what_mapped_streams_have_left_is_relayed_first(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        inner = map_stream(here, same, lambda data: data.upper() * 2)
        outer = map_stream(inner, same, lambda data: data + b".")
        await client.send(b"a")
        assert await outer.receive(1) == b"A"  # "." is left further out and "A" further in
        here.unreceive(b"e")
        task = asyncio.create_task(relay(outer, there))
        await settle()
        await send_and_end(client, b"f")
        assert await receive_all(server) == b"." + b"A." + b"EE." + b"FF."
        await server.send_eof()
        await task
        await client.aclose()
        await server.aclose()

    run(test())


def test_any_stream_can_be_relayed(run: Run) -> None:
    """Also one that is only of the shape of a stream."""

    @define
    class Echo:
        echoes: asyncio.Queue[bytes] = field(factory=asyncio.Queue)
        network: None = None
        peer: None = None
        local: None = None
        half_close: bool = True

        async def receive(self, limit: int = 65536) -> bytes:
            return await self.echoes.get()

        async def send(self, data: bytes) -> None:
            self.echoes.put_nowait(data)

        async def send_eof(self) -> None:
            self.echoes.put_nowait(b"")

        async def aclose(self) -> None:
            pass

    async def test() -> None:
        for wrap in (same_stream, lambda stream: map_stream(stream, same, same)):
            client, here = connected()
            task = asyncio.create_task(relay(here, wrap(Echo())))
            await send_and_end(client, b"hello")
            assert await receive_all(client) == b"hello"
            await task
            assert here.closed
            await client.aclose()

    def same_stream(stream: Stream) -> Stream:
        return stream

    run(test())


def test_a_derived_stream_keeps_what_it_adds(run: Run) -> None:
    class Loud(SocketStream):
        async def receive(self, limit: int = 65536) -> bytes:
            return (await super().receive(limit)).upper()

    async def test() -> None:
        async with relayed(lambda stream: Loud(stream.network)) as r:
            await send_and_end(r.client, b"hello")
            assert await receive_all(r.server) == b"HELLO"
            await r.server.send_eof()
            await r.task

    run(test())


# --- functions that fail --------------------------------------------------------------------------


def test_the_error_of_an_authors_function_ends_the_relay(run: Run) -> None:
    async def test() -> None:
        def bad(data: bytes) -> bytes:
            raise LookupError("no key for this")

        wraps: list[Wrap] = [lambda s: map_stream(s, bad, same), lambda s: map_stream(s, same, bad)]
        for wrap in wraps:
            async with relayed(right=wrap) as r:
                await r.client.send(b"up")
                await r.server.send(b"down")
                with pytest.raises(LookupError, match="no key for this"):
                    await r.task

    run(test())


def test_an_error_over_early_octets_ends_the_relay(run: Run) -> None:
    async def test() -> None:
        def bad(data: bytes) -> bytes:
            raise LookupError("no key for this")

        client, here = connected()
        there, server = connected()
        here.unreceive(b"early")
        with pytest.raises(LookupError, match="no key for this"):
            await relay(here, map_stream(there, bad, same))
        assert here.closed
        assert there.closed
        await client.aclose()
        await server.aclose()

    run(test())


def test_an_error_that_coroutines_cannot_raise_ends_the_relay(run: Run) -> None:
    async def test() -> None:
        keys = iter([1])
        stream = lambda s: map_stream(s, lambda data: bytes([next(keys)]) + data, same)  # noqa: E731
        async with relayed(right=stream) as r:
            await r.client.send(b"a")
            assert await r.server.receive() == b"\1a"
            await r.client.send(b"b")
            with pytest.raises(RuntimeError, match="StopIteration"):
                await r.task

    run(test())


# --- cancellation and callbacks -------------------------------------------------------------------


def test_a_relay_that_is_cancelled_closes_both_streams(run: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await r.client.send(b"hello")
            assert await r.server.receive() == b"hello"
            r.task.cancel()
            await asyncio.wait([r.task])
            assert r.task.cancelled()
            assert await receive_all(r.client) == await receive_all(r.server) == b""
        async with relayed(buffer=65536) as r:
            await fill(r.client)
            r.task.cancel()

    run(test())


def test_a_relay_without_a_task_says_when_it_is_over(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        start_relay(here, there, ended.set_result)
        await send_and_end(client, b"hello")
        assert await receive_all(server) == b"hello"
        await server.send_eof()
        assert await ended is None
        assert here.closed
        assert there.closed
        await client.aclose()
        await server.aclose()

    run(test())


def test_a_relay_without_a_task_says_what_went_wrong(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        start_relay(here, there, ended.set_result)
        reset(client)
        assert isinstance(await ended, ConnectionResetError)
        await server.aclose()

    run(test())


def test_a_relay_without_a_task_that_is_cancelled_says_nothing(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        ended: list[BaseException | None] = []
        relaying = start_relay(here, there, ended.append)
        await settle()
        relaying.cancel()
        relaying.cancel()
        assert await receive_all(client) == await receive_all(server) == b""
        await settle()
        assert ended == []
        assert here.closed
        assert there.closed
        await client.aclose()
        await server.aclose()

    run(test())


def test_a_function_may_cancel_its_own_relay(run_engine: Run) -> None:
    async def test() -> None:
        def cancel(data: bytes) -> bytes:
            relaying.cancel()
            return data

        client, here = connected()
        there, server = connected()
        ended: list[BaseException | None] = []
        relaying = start_relay(here, map_stream(there, cancel, same), ended.append)
        await client.send(b"hello")
        assert await receive_all(client) == await receive_all(server) == b""
        assert ended == []
        await client.aclose()
        await server.aclose()

    run_engine(test())


def test_a_relay_that_ends_while_it_is_cancelled_is_cancelled(run_engine: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await r.client.send_eof()
            await r.server.send_eof()
            asyncio.get_running_loop().call_soon(r.task.cancel)
            await asyncio.wait([r.task])

    run_engine(test())
