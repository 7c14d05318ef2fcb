"""How a dispatcher ends, and that it can live inside an application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from typing import Any

import pytest

from ptipc.aio import (
    Dispatcher,
    Network,
    SocketStream,
    Stream,
    StreamTransport,
    SystemNetwork,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT3_0
from ptipc.core.dialects import Stream as Output
from ptipc.core.escapes import Args
from ptipc.core.launch import launch_config
from ptipc.core.session import HostSession
from tests.aio.loopback import (
    DEADLINE,
    Host,
    connect,
    dispatching,
    echo,
    nobody_listens,
    read_exactly,
    scenario,
    serving,
)

HELLO = StreamTransport("hello", version="1.0")


# --- its end --------------------------------------------------------------------------------------


async def one_connection(host: Host, server: Any) -> SocketStream:
    stream = await connect(host, server)
    await stream.send(b"ping")
    assert await read_exactly(stream, 4) == b"ping"
    return stream


async def until_nobody_listens(address: Address) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await (await SystemNetwork().dial(address)).aclose()


@scenario
async def test_with_no_connection_it_ends_at_once() -> None:
    """However long the connections might have: the deadline of the test is shorter."""
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [HELLO], host.hear, limits=Limits(drain=10 * DEADLINE))
    task = asyncio.create_task(dispatcher.serve())
    await host.until(lambda: host.session.done)
    dispatcher.stop()
    assert await task == 0


@scenario
async def test_it_stops_listening_and_lets_connections_finish() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [HELLO], host.hear, limits=Limits(drain=10 * DEADLINE))
    task = asyncio.create_task(dispatcher.serve())
    await host.until(lambda: host.session.done)
    async with serving(echo) as server:
        stream = await one_connection(host, server)
        dispatcher.stop()
        await until_nobody_listens(host.address())
        await stream.send(b"pong")
        assert await read_exactly(stream, 4) == b"pong"
        assert not task.done()
        await stream.aclose()
        assert await task == 0


@scenario
async def test_connections_that_do_not_finish_are_ended() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [HELLO], host.hear, limits=Limits(drain=0.05))
    task = asyncio.create_task(dispatcher.serve())
    await host.until(lambda: host.session.done)
    async with serving(echo) as server:
        stream = await one_connection(host, server)
        dispatcher.stop()
        assert await task == 0
        assert await stream.receive() == b""
        await stream.aclose()


@scenario
async def test_now_means_now() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [HELLO], host.hear, limits=Limits(drain=10 * DEADLINE))
    task = asyncio.create_task(dispatcher.serve())
    await host.until(lambda: host.session.done)
    async with serving(echo) as server:
        stream = await one_connection(host, server)
        dispatcher.stop()
        await asyncio.sleep(0)
        dispatcher.stop(now=True)
        assert await task == 0
        assert await stream.receive() == b""
        await stream.aclose()
    dispatcher.stop()  # too late, and no mistake


@scenario
async def test_it_may_be_stopped_before_it_is_ready() -> None:
    class Slow(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            class Never:
                args = options

                async def listen(self, address: object) -> None:
                    dispatcher.stop()
                    await asyncio.Event().wait()

            return Never()

    config = launch_config(server=["hello"], target="127.0.0.1:9")
    host = Host(config)
    dispatcher = Dispatcher(config, [Slow("hello")], host.hear)
    assert await dispatcher.serve() == 0
    assert host.lines == ["VERSION 1"]


@scenario
async def test_a_fault_of_our_own_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing dies silently between the launch and DONE."""

    def outlet(stream: Output, data: bytes) -> None:
        host.hear(stream, data)
        if data.startswith(b"VERSION"):
            raise RuntimeError("a mistake")

    config = launch_config(client=["hello"])
    host = Host(config)
    assert await Dispatcher(config, [HELLO], outlet).serve() == 70
    assert host.lines == ["VERSION 1", "ENV-ERROR the transport process failed: a mistake"]


@scenario
async def test_a_listener_that_does_not_close_does_not_keep_us() -> None:
    class Stuck:
        args = Args()
        address = nobody_listens()

        async def listen(self, address: object) -> Stuck:
            return self

        async def accept(self) -> Stream:
            await asyncio.Event().wait()
            raise AssertionError

        async def aclose(self) -> None:
            await asyncio.Event().wait()

    class Sticky(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            return Stuck()

    async with dispatching(
        Sticky("hello"), server=["hello"], target="127.0.0.1:9", limits=Limits(drain=0.05)
    ) as (_, host):
        assert host.session.done


@scenario
async def test_a_listener_that_fails_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    class Failing:
        args = Args()
        address = nobody_listens()

        async def listen(self, address: object) -> Failing:
            return self

        async def accept(self) -> Stream:
            failed.set()
            raise ZeroDivisionError("oops")

        async def aclose(self) -> None:
            raise ValueError("and again")

    class Failed(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            return Failing()

    async with dispatching(Failed("hello"), server=["hello"], target="127.0.0.1:9"):
        await failed.wait()
    assert "hello listens no more: oops" in caplog.messages


# --- inside an application ------------------------------------------------------------------------


def test_it_runs_in_a_thread_and_is_heard_by_a_function() -> None:
    """PT 3.0 Base section 4.4: no process, no streams, no signals; the same conversation."""
    config = launch_config(client=["hello"], dialect=PT3_0)
    session = HostSession([PT3_0], config.role, config.transports)
    ready = threading.Event()

    def hear(stream: Output, data: bytes) -> None:
        session.receive_data(stream, data)
        if session.done:
            ready.set()

    dispatcher = Dispatcher(config, [HELLO], hear)
    thread = dispatcher.start_thread()
    assert ready.wait(DEADLINE)
    assert session.methods["hello"].address.is_loopback
    dispatcher.stop()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_two_of_them_do_not_know_each_other() -> None:
    async def both() -> None:
        config = launch_config(client=["hello"])
        async with (
            dispatching(HELLO, config=config) as (_, one),
            dispatching(HELLO, config=config) as (_, other),
        ):
            assert one.address() != other.address()

    asyncio.run(both())


def test_it_leaves_the_process_alone() -> None:
    """No handler at the root of logging, no signal handler, no thread that stays."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM))

    async def live() -> None:
        async with dispatching(HELLO, client=["hello"]):
            assert (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM)) == before

    asyncio.run(live())
