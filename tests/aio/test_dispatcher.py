"""One life of a transport process, inside this one: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from attrs import evolve

from ptipc.aio import (
    Capability,
    Dispatcher,
    Listener,
    Network,
    StreamListener,
    StreamTransport,
    SystemNetwork,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import PROXY, Address, LogLevel
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect
from ptipc.core.dialects import Stream as Output
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.launch import launch_config
from ptipc.core.messages import Log, Version
from ptipc.logs import LogLineHandler
from tests.aio.loopback import (
    Host,
    dispatching,
    echo,
    scenario,
    serving,
)

HELLO = StreamTransport("hello", version="1.0")
PROXY_THERE = "socks5://127.0.0.1:9"


def keywords(host: Host) -> list[str]:
    return [" ".join(line.split()[:2]) for line in host.lines]


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@scenario
async def test_a_client_says_its_lines_in_order(dialect: Dialect) -> None:
    """dialects.md section 4: VERSION, STATUS (PT 1), PROXY DONE, one line each, DONE."""
    async with dispatching(
        HELLO,
        StreamTransport("other"),
        client=["hello", "unknown", "other"],
        dialect=dialect,
        proxy=PROXY_THERE,
    ) as (_, host):
        status = ["STATUS TYPE=version"] if dialect is PT1 else []
        assert keywords(host) == [
            f"VERSION {dialect.version}",
            *status,
            "PROXY DONE",
            "CMETHOD hello",
            "CMETHOD other",
            "CMETHODS DONE",
        ]
        assert host.address("hello").is_loopback
        assert host.session.ignored == ("unknown",)
        assert host.errors == []


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@scenario
async def test_a_server_says_its_lines_in_order(dialect: Dialect) -> None:
    transport = StreamTransport("hello", publish=lambda options: Args({"seen": options["k"]}))
    async with dispatching(
        transport,
        server={"hello": "[::1]:0"},
        target="127.0.0.1:9",
        options={"hello": {"k": "v"}},
        dialect=dialect,
    ) as (_, host):
        assert keywords(host) == [f"VERSION {dialect.version}", "SMETHOD hello", "SMETHODS DONE"]
        method = host.method("hello")
        assert method.args == {"seen": "v"}  # type: ignore[union-attr]
        assert method.address.host == "::1"
        assert method.address.port


@scenario
async def test_the_version_is_the_token_that_was_offered() -> None:
    config = launch_config(client=["hello"], dialect=evolve(PT2_2, version="2.2.1"))
    async with dispatching(HELLO, config=config) as (_, host):
        assert host.lines[0] == "VERSION 2.2.1"


@scenario
async def test_without_transports_that_we_know_there_is_still_an_end() -> None:
    async with dispatching(HELLO, client=["unknown"]) as (_, host):
        assert keywords(host) == ["VERSION 1", "CMETHODS DONE"]


@scenario
async def test_a_transport_that_cannot_listen_does_not_stop_the_others() -> None:
    async with (
        serving(echo) as taken,
        dispatching(
            HELLO,
            StreamTransport("other"),
            server={"hello": taken, "other": "127.0.0.1:0"},
            target="127.0.0.1:9",
        ) as (_, host),
    ):
        assert "in use" in host.session.errors["hello"]
        assert set(host.session.methods) == {"other"}


class Broken(StreamTransport):
    """A transport with an author who makes mistakes."""

    def listener(self, options: Args, network: Network) -> Listener:
        raise ZeroDivisionError("division by zero\nor so")


@scenario
async def test_whatever_a_listener_raises_is_said() -> None:
    async with dispatching(Broken("hello"), server=["hello"], target="127.0.0.1:9") as (_, host):
        assert host.session.errors["hello"].startswith("ZeroDivisionError: division by zero")


@scenario
async def test_bad_options_are_said_as_they_are() -> None:
    def judge(options: Args) -> Args:
        raise ValueError("no key")

    async with dispatching(
        StreamTransport("hello", publish=judge), server=["hello"], target="127.0.0.1:9"
    ) as (_, host):
        assert host.session.errors == {"hello": "no key"}


@scenario
async def test_args_that_cannot_be_published_are_an_error_of_the_transport() -> None:
    transport = StreamTransport("hello", publish=lambda options: Args({"": "x"}))
    async with dispatching(transport, server=["hello"], target="127.0.0.1:9") as (_, host):
        assert "hello" in host.session.errors
        assert host.session.done


@scenario
async def test_what_cannot_be_said_is_not_listened_for() -> None:
    """A transport that could not be announced does not stay behind."""
    places: list[Address] = []

    class Noted(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            class Noting:
                args = Args({"": "cannot be written"})

                async def listen(self, address: Address) -> StreamListener:
                    listening = await network.listen(address)
                    places.append(listening.address)
                    return listening

            return Noting()

    async with dispatching(Noted("hello"), server=["hello"], target="127.0.0.1:9") as (_, host):
        assert "hello" in host.session.errors
        with pytest.raises(ConnectionRefusedError):
            await SystemNetwork().dial(places[0])


@scenario
async def test_a_version_that_cannot_be_said_is_no_reason_to_die() -> None:
    async with dispatching(StreamTransport("hello", version="1 2"), client=["hello"]) as (_, host):
        assert keywords(host) == ["VERSION 1", "CMETHOD hello", "CMETHODS DONE"]


@scenario
async def test_a_transport_that_takes_too_long_to_listen_is_given_up() -> None:
    class Slow(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            class Never:
                args = options

                async def listen(self, address: object) -> None:
                    await asyncio.Event().wait()

            return Never()

    async with dispatching(
        Slow("hello"), server=["hello"], target="127.0.0.1:9", limits=Limits(start=0.01)
    ) as (_, host):
        assert host.session.errors == {"hello": "it took too long"}


@scenario
async def test_a_transport_that_carries_no_streams_is_refused_in_a_mode_of_streams() -> None:
    transport = StreamTransport("hello", capabilities=Capability.DATAGRAM)
    for settings in ({"client": ["hello"]}, {"server": ["hello"], "target": "127.0.0.1:9"}):
        async with dispatching(transport, **settings) as (_, host):
            assert "carries no streams" in host.session.errors["hello"]


@scenario
async def test_warnings_about_the_configuration_are_logged() -> None:
    config = evolve(launch_config(client=["hello"]), warnings=("a strange setting",))
    async with dispatching(HELLO, config=config) as (_, host):
        assert host.lines[1] == 'LOG SEVERITY=warning MESSAGE="a strange setting"'


# --- the upstream proxy ---------------------------------------------------------------------------


@scenario
async def test_a_proxy_that_cannot_be_spoken_to_is_an_error() -> None:
    """HTTP has no user names with a colon; the host is told, and the exit status is 69."""
    config = evolve(
        launch_config(client=["hello"]), proxy=evolve(PROXY.parse("http://127.0.0.1:9"), user="a:b")
    )
    host = Host(config)
    assert await Dispatcher(config, [HELLO], host.hear).serve() == 69
    assert keywords(host) == ["VERSION 1", "STATUS TYPE=version", "PROXY-ERROR the"]


@scenario
async def test_a_proxy_that_no_transport_can_use_is_an_error() -> None:
    config = launch_config(client=["hello"], proxy=PROXY_THERE)
    host = Host(config)
    transport = StreamTransport("hello", capabilities=Capability.DATAGRAM)
    assert await Dispatcher(config, [transport], host.hear).serve() == 69
    assert host.session.failure is not None
    assert host.session.failure.code == "PROXY-ERROR"


# --- what is logged -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "threshold", "heard"),
    [
        (PT1, LogLevel.NONE, True),
        (PT2_0, LogLevel.NONE, False),
        (PT2_2, LogLevel.NONE, False),
        (PT2_2, LogLevel.INFO, True),
        (PT2_2, LogLevel.WARNING, False),
        (PT3_0, LogLevel.DEBUG, True),
    ],
)
@scenario
async def test_log_lines_are_said_to_those_who_want_them(
    dialect: Dialect, threshold: LogLevel, heard: bool
) -> None:
    async with dispatching(HELLO, client=["hello"], dialect=dialect, log_threshold=threshold) as (
        dispatcher,
        host,
    ):
        dispatcher.log(Log(LogLevel.INFO, "by the way"))
        assert host.logged("by the way") is heard


@scenario
async def test_what_is_logged_before_the_version_comes_behind_it() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [StreamTransport("hello")], host.hear)
    dispatcher.log(Log(LogLevel.INFO, "early"))
    assert host.lines == []
    dispatcher.stop()
    assert await dispatcher.serve() == 0
    assert host.lines[:2] == ["VERSION 1", 'LOG SEVERITY=info MESSAGE="early"']


@scenario
async def test_lines_that_were_lost_are_counted() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    reading = True

    def outlet(stream: Output, data: bytes) -> bool:
        if reading:
            host.hear(stream, data)
        return reading

    dispatcher = Dispatcher(config, [StreamTransport("hello")], outlet)
    serving = asyncio.create_task(dispatcher.serve())
    await host.until(lambda: host.session.done)
    reading = False
    for _ in range(3):
        dispatcher.log(Log(LogLevel.INFO, "lost"))
    reading = True
    dispatcher.log(Log(LogLevel.INFO, "kept"))
    dispatcher.log(Log(LogLevel.INFO, "also"))
    dispatcher.stop()
    await serving
    assert [line.split("MESSAGE=")[1] for line in host.lines[3:]] == [
        '"3 lines were lost, for nobody read them"',
        '"kept"',
        '"also"',
    ]


@scenario
async def test_an_outlet_that_logs_is_no_endless_circle() -> None:
    logger = logging.getLogger("test_dispatcher.outlet")
    config = launch_config(client=["hello"])
    host = Host(config)

    def outlet(stream: Output, data: bytes) -> None:
        host.hear(stream, data)
        logger.warning("said %r", data)

    dispatcher = Dispatcher(config, [StreamTransport("hello")], outlet)
    logger.addHandler(handler := LogLineHandler(dispatcher.log))
    dispatcher.stop()
    await dispatcher.serve()
    logger.warning("said by somebody else")
    logger.removeHandler(handler)
    assert [line.split()[0] for line in host.lines].count("LOG") == 1


@scenario
async def test_lines_of_many_threads_stay_whole() -> None:
    async with dispatching(HELLO, client=["hello"]) as (dispatcher, host):

        def talk() -> None:
            for number in range(100):
                dispatcher.log(Log(LogLevel.INFO, f"line {number}"))

        threads = [threading.Thread(target=talk) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert (
            sum(host.lines.count(f'LOG SEVERITY=info MESSAGE="line {n}"') for n in range(100))
            == 400
        )


@scenario
async def test_what_cannot_be_said_now_is_the_callers_mistake() -> None:
    async with dispatching(HELLO, client=["hello"]) as (dispatcher, host):
        with pytest.raises(LocalProtocolError):
            dispatcher.say(Version("1"))
        assert len(host.lines) == 4
