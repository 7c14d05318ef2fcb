"""What a transport in threads holds for its connections: how long, and when it is given up."""

from __future__ import annotations

import threading

import pytest

from ptipc.blocking import (
    Dialer,
    Listener,
    Nested,
    Network,
    Stream,
    StreamListener,
    StreamTransport,
    in_process,
    service,
)
from ptipc.blocking.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT3_0
from ptipc.core.errors import Refused
from ptipc.core.escapes import NO_ARGS, Args
from tests.blocking.loopback import (
    DEADLINE,
    NETWORK,
    Doing,
    connect,
    dispatching,
    echo,
    ping,
    serving,
)


class Holding:
    """A transport whose dialers and listeners say when they are made, used and closed."""

    def __init__(self, name: str = "hello", said: list[str] | None = None) -> None:
        self.name = name
        self.said: list[str] = [] if said is None else said
        self.may_dial = threading.Event()
        self.may_dial.set()
        self._news = threading.Condition()

    def say(self, text: str) -> None:
        with self._news:
            self.said.append(f"{self.name} {text}")
            self._news.notify_all()

    def until(self, text: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: text in self.said, DEADLINE)

    def dialer(self, args: Args, network: Network) -> Dialer:
        if "bad" in args:
            raise ValueError("bad")
        self.say(f"makes {args.get('k')}")
        return HoldingDialer(self, args.get("k"), network)

    def listener(self, options: Args, network: Network) -> Listener:
        return HoldingListener(self, network)


class HoldingDialer:
    def __init__(self, transport: Holding, key: str | None, network: Network) -> None:
        self.transport = transport
        self.key = key
        self.network = network

    def dial(self, target: Address) -> Stream:
        self.transport.say(f"dials {self.key}")
        assert self.transport.may_dial.wait(DEADLINE)
        return self.network.dial(target)

    def close(self) -> None:
        self.transport.say(f"closes {self.key}")


class HoldingListener:
    args = NO_ARGS

    def __init__(self, transport: Holding, network: Network) -> None:
        self.transport = transport
        self.network = network

    def listen(self, address: Address) -> StreamListener:
        return self.network.listen(address)

    def close(self) -> None:
        self.transport.say("closes")


def test_connections_with_the_same_args_have_the_same_dialer() -> None:
    """Which is closed once, after the last of them."""
    transport = Holding()
    with serving(echo) as server:
        with dispatching(transport, client=["hello"]) as (dispatcher, host):
            streams = [connect(host, server, {"k": key}) for key in ("1", "1", "2", "1")]
            dispatcher.stop()
            for stream in streams:
                ping(stream)
                stream.close()
        makes = ["hello makes 1", "hello dials 1", "hello dials 1", "hello makes 2"]
        assert transport.said[:6] == [*makes, "hello dials 2", "hello dials 1"]
        assert sorted(transport.said[6:]) == ["hello closes 1", "hello closes 2"]


def test_a_dialer_that_judges_its_args_bad_is_not_kept() -> None:
    transport = Holding()
    with serving(echo) as server, dispatching(transport, client=["hello"]) as (_, host):
        for _ in range(2):
            with pytest.raises(Refused):
                connect(host, server, {"bad": "1"})
    assert transport.said == []


def test_the_dialers_that_are_kept_have_a_limit() -> None:
    """The one that was not used for the longest time has to go; its streams go on."""
    transport = Holding()
    limits = Limits(dialers=2, drain=DEADLINE)
    with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], limits=limits) as (_, host),
    ):
        streams = [connect(host, server, {"k": key}) for key in ("1", "2", "1", "3")]
        transport.until("hello closes 2")
        for stream in streams:
            ping(stream)
            stream.close()
        assert "hello closes 1" not in transport.said


def test_a_dialer_is_not_closed_while_it_dials() -> None:
    transport = Holding()
    limits = Limits(dialers=1, drain=DEADLINE)
    with serving(echo) as server:
        with dispatching(transport, client=["hello"], limits=limits) as (_, host):
            transport.may_dial.clear()
            args: list[dict[str, str]] = [{"k": "1"}, {"k": "2"}]
            dialling = [Doing(lambda each=each: connect(host, server, each)) for each in args]  # type: ignore[misc]
            for key in ("1", "2"):
                transport.until(f"hello dials {key}")
            assert not any("closes" in said for said in transport.said)
            transport.may_dial.set()
            for each in dialling:
                stream = each.result()
                ping(stream)
                stream.close()
        closed = [said for said in transport.said if "closes" in said]
        assert sorted(closed) == ["hello closes 1", "hello closes 2"]


def test_options_are_judged_by_the_dialer_that_is_used_then() -> None:
    """In the transparent mode, where there are no other args."""
    transport = Holding()
    with (
        serving(echo) as server,
        dispatching(
            transport,
            dialect=PT3_0,
            client=["hello"],
            mode=Mode.TRANSPARENT_TCP,
            options={"hello": {"k": "1", "serverAddress": str(server)}},
        ) as (_, host),
    ):
        assert transport.said == ["hello makes 1"]
        for _ in range(2):
            stream = NETWORK.dial(host.address())
            ping(stream)
            stream.close()
        assert transport.said[1:] == ["hello dials 1"] * 2


def test_what_is_nested_is_shared_and_closed_as_well() -> None:
    """The inner one first, which may have something to say through the outer."""
    said: list[str] = []
    nested = Nested("hello", Holding("outer", said), Holding("inner", said))
    with serving(echo) as server:
        with dispatching(nested, client=["hello"]) as (_, host):
            for _ in range(2):
                stream = connect(host, server, {"k": "1"})
                ping(stream)
                stream.close()
        dials = ["inner dials 1", "outer dials 1"]
        assert said == [
            *("outer makes 1", "inner makes 1"),
            *(dials * 2),
            *("inner closes 1", "outer closes 1"),
        ]
        said.clear()
        with dispatching(nested, server=["hello"], target=server):
            assert said == []
        assert said == ["inner closes", "outer closes"]


def test_a_listener_is_closed_after_the_last_connection() -> None:
    transport = Holding()
    with serving(echo) as target:
        with dispatching(transport, server=["hello"], target=target) as (dispatcher, host):
            stream = NETWORK.dial(host.address())
            ping(stream)
            dispatcher.stop()
            ping(stream)
            assert transport.said == []
            stream.close()
        assert transport.said == ["hello closes"]


def test_what_cannot_be_closed_is_logged_and_holds_up_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LAST_WORDS", 0.05)
    stuck = threading.Event()

    class Stuck(HoldingListener):
        def close(self) -> None:
            stuck.wait(DEADLINE)

    class Broken(HoldingListener):
        def close(self) -> None:
            raise ZeroDivisionError("oops")

    class Bad(Holding):
        def listener(self, options: Args, network: Network) -> Listener:
            return {"stuck": Stuck, "broken": Broken, "good": HoldingListener}[self.name](
                self, network
            )

    transports = [Bad(name) for name in ("stuck", "broken", "good")]
    with dispatching(*transports, server=[each.name for each in transports], target="127.0.0.1:9"):
        pass
    stuck.set()
    transports[2].until("good closes")
    assert sorted(caplog.messages) == [
        "broken: not closed in good order: oops",
        "stuck: not closed in good order: it took too long",
    ]


def test_inside_an_application_its_owner_closes_a_dialer() -> None:
    transport = Holding()
    with serving(echo) as server:
        dialer = in_process(transport, {"k": "1"})
        stream = dialer.dial(server)
        dialer.close()
        ping(stream)
        stream.close()
        in_process(StreamTransport("holds nothing")).close()
    assert transport.said == ["hello makes 1", "hello dials 1", "hello closes 1"]


class Sharing:
    """A transport whose connections share the first of them, for want of a better one."""

    name = "hello"

    def dialer(self, args: Args, network: Network) -> Dialer:
        return SharingDialer(network)

    def listener(self, options: Args, network: Network) -> Listener:
        raise NotImplementedError


class SharingDialer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.shared: Stream | None = None

    def dial(self, target: Address) -> Stream:
        if self.shared is None:
            self.shared = self.network.dial(target)
        ping(self.shared)
        return self.network.dial(target)

    def close(self) -> None:
        if self.shared is not None:
            self.shared.close()


def test_what_is_shared_outlives_the_connection_that_needed_it_first() -> None:
    with serving(echo) as server, dispatching(Sharing(), client=["hello"]) as (_, host):
        for _ in range(3):
            stream = connect(host, server)
            ping(stream)
            stream.send_eof()
            assert stream.receive() == b""
            stream.close()
