"""Relays under adverse conditions: slow readers, connections that break, kernels that refuse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import socket

import pytest

from ptipc.aio.relaying import End, Relay
from ptipc.aio.streams import SocketStream, map_stream, relay, start_relay
from tests.aio.connections import (
    MUCH,
    Relayed,
    Run,
    Wrap,
    connected,
    descriptors,
    engine_is_at_rest,
    fill,
    passes_much,
    receive_all,
    receive_exactly,
    relayed,
    reset,
    same,
    send_and_end,
    settle,
)

# --- back-pressure --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda stream: stream, lambda stream: map_stream(stream, same, same)]
)
def test_who_does_not_read_stops_who_writes(run: Run, wrap: Wrap) -> None:
    """The relay takes no more than the kernel's buffers and one chunk of its own can hold."""

    async def test() -> None:
        async with relayed(wrap, buffer=65536) as r:
            sent = await fill(r.client)
            assert sent < 3 << 20
            # The other direction is not concerned.
            await r.server.send(b"hello")
            assert await r.client.receive() == b"hello"
            await r.client.send_eof()
            assert len(await receive_all(r.server)) == sent
            await r.server.send_eof()
            await r.task

    run(test())


def test_a_stalled_relay_costs_nothing(run_engine: Run) -> None:
    async def test() -> None:
        async with relayed(buffer=65536) as r:
            await fill(r.client)
            await fill(r.server)
            assert engine_is_at_rest()
            await r.client.aclose()
            await r.server.aclose()
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                await r.task

    run_engine(test())


# --- connections that break -----------------------------------------------------------------------


async def ends_broken(r: Relayed, stream: SocketStream) -> None:
    with pytest.raises(OSError, match=r"reset|[Bb]roken|not connected"):
        await r.task
    with contextlib.suppress(ConnectionError):
        assert await receive_all(stream) == b""


def test_a_reset_ends_both_connections(run: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            await r.client.send(b"hello")
            assert await r.server.receive() == b"hello"
            reset(r.client)
            await ends_broken(r, r.server)
        async with relayed() as r:
            reset(r.server)
            await ends_broken(r, r.client)

    run(test())


def test_a_reset_after_half_a_close_is_noticed(run_engine: Run) -> None:
    """Nobody receives from that connection any more, and nobody sends to it just now."""

    async def test() -> None:
        async with relayed() as r:
            await r.client.send_eof()
            assert await receive_all(r.server) == b""
            reset(r.client)
            await ends_broken(r, r.server)

    run_engine(test())


def test_a_reset_in_the_middle_of_much_ends_the_relay(run: Run) -> None:
    async def test() -> None:
        for who in ("client", "server"):
            async with relayed(buffer=65536) as r:
                sent = asyncio.create_task(r.client.send(MUCH))
                await receive_exactly(r.server, 1 << 20)
                sent.cancel()
                await asyncio.wait([sent])
                reset(getattr(r, who))
                with contextlib.suppress(ConnectionError):
                    await receive_all(r.server)
                with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                    await r.task

    run(test())


def test_a_reset_of_the_sink_ends_a_stalled_relay(run: Run) -> None:
    async def test() -> None:
        async with relayed(buffer=65536) as r:
            await fill(r.client)
            reset(r.server)
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                await r.task

    run(test())


def test_what_came_before_a_reset_is_sent_on(run_engine: Run) -> None:
    """A stalled source that broke is not watched in circles, and noticed in the end."""

    async def test() -> None:
        async with relayed(buffer=65536) as r:
            sent = await fill(r.client)
            reset(r.client)
            await settle()
            assert engine_is_at_rest()
            assert not r.task.done()
            received = 0
            with contextlib.suppress(ConnectionError):
                while data := await r.server.receive():
                    received += len(data)
            # What the client's own kernel still had is lost; what had come to us is not.
            assert sent // 4 < received <= sent
            with pytest.raises(ConnectionResetError):
                await r.task

    run_engine(test())


def test_a_stream_that_is_closed_cannot_be_relayed(run: Run) -> None:
    async def test() -> None:
        client, here = connected()
        there, server = connected()
        await there.aclose()
        await client.send(b"hello")
        with pytest.raises(BrokenPipeError):
            await relay(here, there)
        assert here.closed
        await client.aclose()
        await server.aclose()

    run(test())


def test_a_connection_is_relayed_once(run_engine: Run) -> None:
    async def test() -> None:
        async with relayed() as r:
            there, server = connected()
            ended: list[BaseException | None] = []
            start_relay(there, r.ends[0], ended.append)
            assert ended == []
            await settle()
            assert [type(error) for error in ended] == [FileExistsError]
            assert there.closed
            await server.aclose()
            # The first relay finds out that somebody has closed its connection.
            await r.server.send(b"hello")
            with pytest.raises(OSError, match="Bad file descriptor"):
                await r.task

    run_engine(test())


def test_a_number_that_now_belongs_to_another_connection_is_left_alone(run_engine: Run) -> None:
    """Somebody closes a stream that is relayed; a new connection gets its number."""

    async def test() -> None:
        def renumbered(stream: SocketStream) -> SocketStream:
            os.dup2(stream.network.fileno(), number)
            stream.network.close()
            return SocketStream(socket.socket(fileno=number))

        async with relayed() as r:
            number = r.ends[0].network.fileno()
            await r.ends[0].aclose()
            async with relayed(left=renumbered) as other:
                r.task.cancel()
                await asyncio.wait([r.task])
                await other.client.send(b"hello")
                assert await other.server.receive() == b"hello"
                await other.client.send_eof()
                await other.server.send_eof()

    run_engine(test())


# --- splicing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("working", [0, 1, 2, 3, 4, 5])
def test_a_kernel_that_does_not_splice_is_no_obstacle(
    run_engine: Run, monkeypatch: pytest.MonkeyPatch, working: int
) -> None:
    """Whenever it says so: into the pipe or out of it."""
    splice, left = os.splice, working

    def sometimes(source: int, sink: int, count: int, *, flags: int) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        left -= 1
        return splice(source, sink, count, flags=flags)

    monkeypatch.setattr(os, "splice", sometimes)
    run_engine(passes_much())
    assert left == 0


def test_without_descriptors_for_a_pipe_octets_are_copied(
    run_engine: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe2", none_left)
    run_engine(passes_much())


@pytest.mark.parametrize("size", [65536, 8192])
def test_a_pipe_may_be_small(run_engine: Run, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The kernel refuses to enlarge it when a user has too many, and later has but small ones."""
    control = fcntl.fcntl

    def crowded(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return size if command == fcntl.F_GETPIPE_SZ else control(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", crowded)
    run_engine(passes_much())


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The pipes that were made."""
    made = []
    pipe2 = os.pipe2

    def recorded(flags: int) -> tuple[int, int]:
        made.append(pipe2(flags))
        return made[-1]

    monkeypatch.setattr(os, "pipe2", recorded)
    return made


def test_an_idle_relay_has_given_its_pipe_back(
    run_engine: Run, pipes: list[tuple[int, int]]
) -> None:
    """One pipe serves many relays, one after the other."""

    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                r = await stack.enter_async_context(relayed())
                stack.push_async_callback(r.client.send_eof)
                stack.push_async_callback(r.server.send_eof)
                _, received = await asyncio.gather(
                    r.client.send(MUCH), receive_exactly(r.server, len(MUCH))
                )
                assert received == MUCH
                await settle()
            assert len(pipes) == 1

    run_engine(test())


def test_a_pipe_that_is_not_empty_is_not_used_again(
    run_engine: Run, pipes: list[tuple[int, int]]
) -> None:
    async def test() -> None:
        async with relayed() as lasting:
            async with relayed(buffer=65536) as r:
                await fill(r.client)
                r.task.cancel()
            assert len(pipes) == 1
            _, received = await asyncio.gather(
                send_and_end(lasting.client, MUCH), receive_all(lasting.server)
            )
            assert received == MUCH
            assert len(pipes) == 2
            await lasting.server.send_eof()

    run_engine(test())


def test_who_gets_no_pipe_because_others_hold_them_all_copies(
    run_engine: Run, pipes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptipc.pipes.LENT", 1)

    async def test() -> None:
        async with relayed(buffer=65536) as stalled:
            await fill(stalled.client)
            await passes_much()
            assert len(pipes) == 1
            stalled.task.cancel()

    run_engine(test())


# --- nothing is left ------------------------------------------------------------------------------


def test_a_thousand_relays_leave_nothing_behind(run: Run) -> None:
    async def test() -> None:
        async with relayed() as lasting:  # so that the engine lasts, too
            before = 0
            for number in range(1000):
                async with relayed() as r:
                    await send_and_end(r.client, b"hello")
                    assert await receive_all(r.server) == b"hello"
                    if number % 3 == 0:
                        reset(r.server)
                    else:
                        await r.server.send_eof()
                    with contextlib.suppress(OSError):
                        await r.task
                before = before or descriptors()
            assert descriptors() == before
            await lasting.client.send_eof()
            await lasting.server.send_eof()

    run(test())


def test_a_relay_leaves_nothing_for_the_garbage_collector(run_engine: Run) -> None:
    async def test() -> None:
        for reset_it in (False, True):
            for wrap in (lambda stream: stream, lambda stream: map_stream(stream, same, same)):
                async with relayed(wrap) as r:
                    await send_and_end(r.client, b"hello")
                    if reset_it:
                        reset(r.server)
                    else:
                        await r.server.send_eof()
                    await asyncio.wait([r.task])
                    assert bool(r.task.exception()) == reset_it
                del r
                assert [thing for thing in gc.get_objects() if isinstance(thing, End | Relay)] == []

    gc.collect()
    gc.disable()
    try:
        run_engine(test())
    finally:
        gc.enable()


def test_an_engine_goes_with_an_event_loop_that_was_closed_too_early() -> None:
    async def test() -> list[SocketStream]:
        client, here = connected()
        there, server = connected()
        start_relay(here, there, lambda error: None)
        return [client, here, there, server]

    before = descriptors()
    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(test())
    loop.close()
    for stream in left:
        stream.network.close()
    asyncio.run(passes_much())
    assert descriptors() == before
