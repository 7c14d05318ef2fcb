"""One life of a transport process in threads: what it says, whom it serves, and how it ends."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve

from ptipc.blocking import (
    Capability,
    Dispatcher,
    Listener,
    Network,
    Stream,
    StreamTransport,
)
from ptipc.blocking.service import Limits
from ptipc.core.codecs import PROXY, Address, LogLevel, Mode
from ptipc.core.dialects import DIALECTS, PT1, PT3_0, Dialect
from ptipc.core.dialects import Stream as Output
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.launch import launch_config
from ptipc.core.messages import Log, Version
from tests.blocking.loopback import (
    DEADLINE,
    NETWORK,
    Doing,
    Host,
    connect,
    dispatching,
    echo,
    nobody_listens,
    ping,
    serving,
)

HELLO = StreamTransport("hello", version="1.0")
NOWHERE = Address("192.0.2.1", 9)


def keywords(host: Host) -> list[str]:
    return [" ".join(line.split()[:2]) for line in host.lines]


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_client_says_its_lines_in_order(dialect: Dialect) -> None:
    with dispatching(
        HELLO,
        StreamTransport("other"),
        client=["hello", "unknown", "other"],
        dialect=dialect,
        proxy="socks5://127.0.0.1:9",
    ) as (_, host):
        status = ["STATUS TYPE=version"] if dialect is PT1 else []
        said = keywords(host)
        assert said[: len(status) + 2] == [f"VERSION {dialect.version}", *status, "PROXY DONE"]
        # Each is started in a thread, so which one comes first is left open.
        assert sorted(said[-3:-1]) == ["CMETHOD hello", "CMETHOD other"]
        assert said[-1] == "CMETHODS DONE"
        assert host.address("hello").is_loopback
        assert host.session.ignored == ("unknown",)
        assert host.errors == []


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_server_says_its_lines_in_order(dialect: Dialect) -> None:
    transport = StreamTransport("hello", publish=lambda options: Args({"seen": options["k"]}))
    with dispatching(
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


def test_without_transports_that_we_know_there_is_still_an_end() -> None:
    with dispatching(HELLO, client=["unknown"]) as (_, host):
        assert keywords(host) == ["VERSION 1", "CMETHODS DONE"]


class Broken(StreamTransport):
    """A transport with an author who makes mistakes."""

    def listener(self, options: Args, network: Network) -> Listener:
        raise ZeroDivisionError("division by zero\nor so")


def test_what_cannot_be_started_is_said_and_stops_nobody_else() -> None:
    def judge(options: Args) -> Args:
        raise ValueError("no key")

    with (
        serving(echo) as taken,
        dispatching(
            HELLO,
            StreamTransport("other"),
            Broken("broken"),
            StreamTransport("judging", publish=judge),
            StreamTransport("mute", publish=lambda options: Args({"": "x"})),
            server={name: taken if name == "hello" else None for name in NAMES},
            target="127.0.0.1:9",
        ) as (_, host),
    ):
        errors = host.session.errors
        assert "in use" in errors["hello"]
        assert errors["broken"].startswith("ZeroDivisionError: division by zero")
        assert errors["judging"] == "no key"
        assert "mute" in errors
        assert set(host.session.methods) == {"other"}


NAMES = ("hello", "other", "broken", "judging", "mute")


def test_a_transport_that_takes_too_long_to_listen_is_given_up() -> None:
    """And should it listen after all, it does so no more."""
    gate, closed = threading.Event(), threading.Event()

    class Late:
        args = Args()
        address = nobody_listens()

        def listen(self, address: object) -> Late:
            gate.wait(DEADLINE)
            return self

        def accept(self) -> Stream:
            closed.wait(DEADLINE)
            raise OSError("closed")

        def close(self) -> None:
            closed.set()

    class Slow(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            return Late()

    with dispatching(
        Slow("hello"), server=["hello"], target="127.0.0.1:9", limits=Limits(start=0.01)
    ) as (_, host):
        assert host.session.errors == {"hello": "it took too long"}
        gate.set()
        assert closed.wait(DEADLINE)


def test_threads_carry_streams_only() -> None:
    transport = StreamTransport("hello", capabilities=Capability.DATAGRAM)
    for settings in ({"client": ["hello"]}, {"server": ["hello"], "target": "127.0.0.1:9"}):
        with dispatching(transport, **settings) as (_, host):
            assert "carries no streams" in host.session.errors["hello"]
    for mode in (Mode.TRANSPARENT_UDP, Mode.STUN):
        config = launch_config(client=["hello"], dialect=PT3_0, mode=mode, target="127.0.0.1:9")
        with dispatching(HELLO, config=config) as (_, host):
            assert "threads carry streams only" in host.session.errors["hello"]


def test_a_version_that_cannot_be_said_is_no_reason_to_die() -> None:
    with dispatching(StreamTransport("hello", version="1 2"), client=["hello"]) as (_, host):
        assert keywords(host) == ["VERSION 1", "CMETHOD hello", "CMETHODS DONE"]


def test_warnings_about_the_configuration_are_logged() -> None:
    config = evolve(launch_config(client=["hello"]), warnings=("a strange setting",))
    with dispatching(HELLO, config=config) as (_, host):
        assert host.lines[1] == 'LOG SEVERITY=warning MESSAGE="a strange setting"'


def test_a_proxy_that_cannot_be_used_is_an_error() -> None:
    config = launch_config(client=["hello"])
    odd = evolve(config, proxy=evolve(PROXY.parse("http://127.0.0.1:9"), user="a:b"))
    host = Host(odd)
    assert Dispatcher(odd, [HELLO], host.hear).serve() == 69
    assert keywords(host) == ["VERSION 1", "STATUS TYPE=version", "PROXY-ERROR the"]


def test_what_is_logged_before_the_version_comes_behind_it() -> None:
    config = launch_config(client=["hello"])
    host = Host(config)
    dispatcher = Dispatcher(config, [StreamTransport("hello")], host.hear)
    dispatcher.log(Log(LogLevel.INFO, "early"))
    assert host.lines == []
    dispatcher.stop()
    assert dispatcher.serve() == 0
    assert host.lines[:2] == ["VERSION 1", 'LOG SEVERITY=info MESSAGE="early"']


def test_what_cannot_be_said_now_is_the_callers_mistake() -> None:
    with (
        dispatching(HELLO, client=["hello"]) as (dispatcher, _),
        pytest.raises(LocalProtocolError),
    ):
        dispatcher.say(Version("1"))


# --- its end --------------------------------------------------------------------------------------


def begun(drain: float, *transports: Any, **settings: Any) -> tuple[Dispatcher, Host, Doing]:
    config = launch_config(**(settings or {"client": ["hello"]}))
    host = Host(config)
    limits = Limits(drain=drain)
    dispatcher = Dispatcher(config, transports or [HELLO], host.hear, limits=limits)
    serving = Doing(dispatcher.serve)
    host.until(lambda: host.session.done)
    return dispatcher, host, serving


def test_with_no_connection_it_ends_at_once() -> None:
    """However long the connections might have: the deadline of the test is shorter."""
    dispatcher, _, life = begun(10 * DEADLINE)
    dispatcher.stop()
    assert life.result() == 0
    assert dispatcher.stopping


def test_it_stops_listening_and_lets_connections_finish() -> None:
    dispatcher, host, life = begun(10 * DEADLINE)
    with serving(echo) as server:
        stream = connect(host, server)
        ping(stream)
        dispatcher.stop()
        with suppress(ConnectionError):
            while True:
                NETWORK.dial(host.address()).close()
        ping(stream)
        assert life.thread.is_alive()
        stream.close()
        assert life.result() == 0


@pytest.mark.parametrize("twice", [False, True])
def test_connections_that_do_not_finish_are_ended(twice: bool) -> None:
    """When their time is over, or when somebody says now."""
    dispatcher, host, life = begun(10 * DEADLINE if twice else 0.05)
    with serving(echo) as server:
        stream = connect(host, server)
        ping(stream)
        dispatcher.stop()
        if twice:
            dispatcher.stop(now=True)
        assert life.result() == 0
        with suppress(ConnectionResetError):
            assert stream.receive() == b""
        stream.close()
    dispatcher.stop()  # too late, and no mistake


def test_it_may_be_stopped_before_it_is_ready() -> None:
    gate = threading.Event()

    class Slow(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            class Never:
                args = options

                def listen(self, address: object) -> None:
                    dispatcher.stop()
                    gate.wait(DEADLINE)
                    raise OSError("too late")

            return Never()

    config = launch_config(server=["hello"], target="127.0.0.1:9")
    host = Host(config)
    dispatcher = Dispatcher(config, [Slow("hello")], host.hear)
    assert dispatcher.serve() == 0
    gate.set()
    assert host.lines == ["VERSION 1"]


def test_a_fault_of_our_own_is_said() -> None:
    """Nothing dies silently between the launch and DONE."""

    def outlet(stream: Output, data: bytes) -> None:
        host.hear(stream, data)
        if data.startswith(b"VERSION"):
            raise RuntimeError("a mistake")

    config = launch_config(client=["hello"])
    host = Host(config)
    assert Dispatcher(config, [HELLO], outlet).serve() == 70
    assert host.lines == ["VERSION 1", "ENV-ERROR the transport process failed: a mistake"]


def test_a_listener_that_does_not_close_does_not_keep_us() -> None:
    gate = threading.Event()

    class Stuck:
        args = Args()
        address = nobody_listens()

        def listen(self, address: object) -> Stuck:
            return self

        def accept(self) -> Stream:
            gate.wait(DEADLINE)
            raise OSError("too late")

        def close(self) -> None:
            gate.wait(DEADLINE)

    class Sticky(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            return Stuck()

    dispatcher, _, life = begun(0.05, Sticky("hello"), server=["hello"], target="127.0.0.1:9")
    dispatcher.stop()
    assert life.result() == 0
    gate.set()


def test_a_listener_that_fails_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        args = Args()
        address = nobody_listens()

        def listen(self, address: object) -> Failing:
            return self

        def accept(self) -> Stream:
            raise ZeroDivisionError("oops")

        def close(self) -> None: ...

    class Failed(StreamTransport):
        def listener(self, options: Args, network: Network) -> Any:
            return Failing()

    with dispatching(Failed("hello"), server=["hello"], target="127.0.0.1:9"):
        while "hello listens no more: oops" not in caplog.messages:
            threading.Event().wait(0.001)


# --- inside an application ------------------------------------------------------------------------


def test_it_runs_in_a_thread_and_leaves_the_process_alone() -> None:
    """PT 3.0 Base section 4.4: no process, no streams, no signals; the same conversation."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM))
    config = launch_config(client=["hello"], dialect=PT3_0)
    hosts = Host(config), Host(config)
    dispatchers = [Dispatcher(config, [HELLO], host.hear) for host in hosts]
    threads = [dispatcher.start_thread() for dispatcher in dispatchers]
    for host in hosts:
        host.until(lambda host=host: host.session.done)  # type: ignore[misc]
    assert hosts[0].address() != hosts[1].address()
    assert (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM)) == before
    for dispatcher, thread in zip(dispatchers, threads, strict=True):
        dispatcher.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()
