"""Accepting and making connections, and the engine itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ptipc.aio import accepting
from ptipc.aio.accepting import serve_handshakes
from ptipc.aio.engine import READABLE, connect, running_engine, unless_broken
from ptipc.aio.streams import SocketStream
from ptipc.core.handshake import Handshake, Script
from tests.aio.connections import (
    WAYS,
    Run,
    connected,
    descriptors,
    listening,
    receive_all,
    reset,
    settle,
)
from tests.aio.greetings import Greeting, greeted, served

CHECKOUT = Path(__file__).parents[2]


# --- accepting ------------------------------------------------------------------------------------


def test_a_connection_that_is_gone_again_is_passed_over(
    run_engine: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [errno.ECONNABORTED, errno.EPROTO]
    accept = socket.socket.accept

    def failing(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return accept(listener)

    async def test() -> None:
        async with served(Greeting) as s:
            monkeypatch.setattr(socket.socket, "accept", failing)
            await greeted(s, b"nina")

    run_engine(test())
    assert failures == []
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("way", WAYS)
def test_without_descriptors_accepting_pauses(way: str) -> None:
    """A process of its own runs out of them; those it has are served, the others when there are."""
    program = textwrap.dedent(
        f"""
        import asyncio, logging, os, resource, select, socket, sys

        sys.path.append({str(CHECKOUT)!r})  # last, so that an installed ptipc is tried

        import uvloop

        from ptipc.aio.accepting import serve_handshakes
        from ptipc.aio.streams import SocketStream
        from tests.aio.connections import listening, settle
        from tests.aio.greetings import Greeting

        async def test():
            ready = asyncio.Queue()
            listener = listening()
            address = listener.getsockname()
            clients = [socket.socket() for _ in range(4)]
            serving = serve_handshakes(
                listener, Greeting, lambda *both: ready.put_nowait(both), None
            )
            taken = [os.dup(0)]
            used = len(os.listdir("/proc/self/fd")) - 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 3, 4096))
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            for _ in range(2):
                os.close(taken.pop())
            streams = []
            for client in clients:
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, address)
                streams.append(SocketStream(client))
                await streams[-1].send(b"otto\\n")
            first = [await ready.get() for _ in range(2)]
            for stream in streams[:2]:
                assert await stream.receive() == b"hello otto\\n"
            while not pauses:
                await asyncio.sleep(0)
            await settle()
            assert len(pauses) == 1, pauses
            assert ready.empty()
            for stream, _ in first:
                await stream.aclose()
            for stream in streams[2:]:
                assert await stream.receive() == b"hello otto\\n"
            serving.close()
            await settle()

        pauses = []
        logging.basicConfig(handlers=[logging.NullHandler()])
        logging.getLogger("ptipc.aio.accepting").addFilter(
            lambda record: pauses.append(record.getMessage()) or True
        )
        if {way!r} == "portable":
            del select.epoll
        factory = uvloop.new_event_loop if {way!r} == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test(), 60))
        print(pauses[0], flush=True)
        os._exit(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=90
    )
    assert done.stderr == ""
    assert "Too many open files" in done.stdout


def test_whoever_is_ready_may_close_the_server(run: Run) -> None:
    class Nothing(Handshake):
        def _run(self) -> Script:
            yield from ()

    async def test() -> None:
        def ready(stream: SocketStream, machine: Handshake) -> None:
            serving.close()
            stream.network.close()
            closed.set()

        closed = asyncio.Event()
        listener = listening()
        address = listener.getsockname()
        serving = serve_handshakes(listener, Nothing, ready, 60.0)
        clients = [SocketStream(socket.create_connection(address)) for _ in range(2)]
        await closed.wait()
        await settle()
        for client in clients:
            with contextlib.suppress(ConnectionError):
                assert await client.receive() == b""
            await client.aclose()

    run(test())


def test_a_server_that_is_closed_lets_nobody_in(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting, 60.0) as s:
            client = await s.client()
            done = await s.client()
            await done.send(b"pia\n")
            stream, _ = await s.ready.get()
            s.serving.close()
            s.serving.close()
            with contextlib.suppress(ConnectionError):
                assert await receive_all(client) in (b"", b"goodbye\n")
            await settle()
            with pytest.raises(ConnectionRefusedError):
                await s.client()
            # Who was ready goes on.
            await stream.send(b"on\n")
            assert await done.receive() == b"hello pia\non\n"
            for each in (client, done, stream):
                await each.aclose()

    run(test())


def test_a_server_may_be_closed_before_it_has_begun(run: Run) -> None:
    async def test() -> None:
        async with served(Greeting) as s:
            s.serving.close()
            await settle()
            with pytest.raises(ConnectionRefusedError):
                await s.client()

    run(test())


# --- connecting -----------------------------------------------------------------------------------


def test_a_connection_is_made(run: Run) -> None:
    async def test() -> None:
        with listening() as listener:
            connection = SocketStream(socket.socket())
            await connect(connection.network, listener.getsockname())
            accepted, address = listener.accept()
            assert address == connection.network.getsockname()
            accepted.close()
            await connection.aclose()

    run(test())


def test_a_connection_that_is_refused_says_so(run: Run) -> None:
    async def test() -> None:
        with listening() as listener:
            address = listener.getsockname()
        connection = SocketStream(socket.socket())
        with pytest.raises(ConnectionRefusedError):
            await connect(connection.network, address)
        await connection.aclose()

    run(test())


def test_a_connection_that_cannot_even_be_tried_says_so(run: Run) -> None:
    async def test() -> None:
        connection = SocketStream(socket.socket())
        with pytest.raises(OSError, match=r"unreachable|Invalid argument"):
            await connect(connection.network, ("255.255.255.255", 1))
        await connection.aclose()

    run(test())


def test_connecting_can_be_cancelled(run: Run) -> None:
    """Nobody answers at a listener whose queue is full."""

    async def test() -> None:
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = []
            for _ in range(3):
                connection = stack.enter_context(socket.socket())
                connection.setblocking(False)
                waiting.append(asyncio.create_task(connect(connection, listener.getsockname())))
            await settle()
            assert not waiting[-1].done()
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert waiting[-1].cancelled()

    run(test())


# --- the engine -----------------------------------------------------------------------------------


def test_a_connection_that_breaks_is_noticed(run_engine: Run) -> None:
    """But not that its peer says something, or has sent its last."""

    async def test() -> None:
        one, other = connected()
        broken = asyncio.Event()
        with unless_broken(one.network, broken.set):
            await settle()
            await other.send(b"hello")
            await other.send_eof()
            await settle()
            assert not broken.is_set()
            reset(other)
            await broken.wait()
        await one.aclose()

    run_engine(test())


def test_what_is_not_broken_is_left_alone(run: Run) -> None:
    """Whether there was time to watch it, or a way to do so, or not."""

    async def test() -> None:
        one, other = connected()
        for wait in (settle, one.aclose):
            with unless_broken(one.network, lambda: pytest.fail("it is not broken")):
                await wait()
        with unless_broken(other.network, lambda: pytest.fail("it is not broken")):
            pass
        await settle()
        await other.aclose()

    run(test())


def test_what_cannot_be_watched_leaves_no_engine_behind(run_engine: Run) -> None:
    async def test() -> None:
        before = descriptors()
        engine = running_engine()
        assert engine is not None
        with open(os.devnull) as file, pytest.raises(PermissionError):
            engine.add(file.fileno(), print, READABLE)
        assert descriptors() == before

    run_engine(test())


def test_who_was_removed_in_the_meantime_is_not_called(run_engine: Run) -> None:
    async def test() -> None:
        engine = running_engine()
        assert engine is not None
        called = []
        pairs = [connected() for _ in range(2)]

        def first_come(events: int) -> None:
            called.append(events)
            for (_, stream), handler in zip(pairs, handlers, strict=True):
                engine.remove(stream.network.fileno(), handler)

        handlers = [lambda events: first_come(events), lambda events: first_come(events)]
        for (peer, stream), handler in zip(pairs, handlers, strict=True):
            engine.add(stream.network.fileno(), handler, READABLE)
            await peer.send(b"x")
        await settle()
        assert called == [READABLE]
        for pair in pairs:
            for stream in pair:
                await stream.aclose()

    run_engine(test())


def test_an_event_loop_that_watches_nothing_has_no_engine() -> None:
    class Loop(asyncio.SelectorEventLoop):
        adds = False

        def add_reader(self, fd: object, callback: object, *args: object) -> None:
            raise NotImplementedError

    async def test() -> None:
        before = descriptors()
        assert running_engine() is None
        assert descriptors() == before
        async with served(Greeting) as s:
            assert type(s.serving) is accepting._TaskServing

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(test())
