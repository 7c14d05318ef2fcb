"""What a transport holds for its connections: how long it is shared, and when it is given up."""

from __future__ import annotations

import asyncio

import pytest

from ptipc.aio import (
    Dialer,
    Listener,
    Nested,
    Network,
    Stream,
    StreamListener,
    StreamTransport,
    SystemNetwork,
    in_process,
    service,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT3_0
from ptipc.core.errors import Refused
from ptipc.core.escapes import NO_ARGS, Args
from tests.aio.loopback import (
    DEADLINE,
    connect,
    dispatching,
    echo,
    ping,
    scenario,
    serving,
)


class Holding:
    """A transport whose dialers and listeners say when they are made, used and closed."""

    def __init__(self, name: str = "hello", said: list[str] | None = None) -> None:
        self.name = name
        self.said: list[str] = [] if said is None else said
        self.may_dial = asyncio.Event()
        self.may_dial.set()
        self._news = asyncio.Event()

    def say(self, text: str) -> None:
        self.said.append(f"{self.name} {text}")
        self._news.set()

    async def until(self, text: str) -> None:
        while text not in self.said:
            self._news.clear()
            await self._news.wait()

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

    async def dial(self, target: Address) -> Stream:
        self.transport.say(f"dials {self.key}")
        await self.transport.may_dial.wait()
        return await self.network.dial(target)

    async def aclose(self) -> None:
        self.transport.say(f"closes {self.key}")


class HoldingListener:
    args = NO_ARGS

    def __init__(self, transport: Holding, network: Network) -> None:
        self.transport = transport
        self.network = network

    async def listen(self, address: Address) -> StreamListener:
        return await self.network.listen(address)

    async def aclose(self) -> None:
        self.transport.say("closes")


@scenario
async def test_connections_with_the_same_args_have_the_same_dialer() -> None:
    """Which is closed once, after the last of them."""
    transport = Holding()
    async with serving(echo) as server:
        async with dispatching(transport, client=["hello"]) as (dispatcher, host):
            streams = [await connect(host, server, {"k": key}) for key in ("1", "1", "2", "1")]
            dispatcher.stop()
            for stream in streams:
                await ping(stream)
                await stream.aclose()
        makes = ["hello makes 1", "hello dials 1", "hello dials 1", "hello makes 2"]
        closes = ["hello closes 1", "hello closes 2"]
        assert transport.said[:6] == [*makes, "hello dials 2", "hello dials 1"]
        assert sorted(transport.said[6:]) == closes


@scenario
async def test_a_dialer_that_judges_its_args_bad_is_not_kept() -> None:
    transport = Holding()
    async with (
        serving(echo) as server,
        dispatching(transport, client=["hello"]) as (_, host),
    ):
        for _ in range(2):
            with pytest.raises(Refused):
                await connect(host, server, {"bad": "1"})
    assert transport.said == []


@scenario
async def test_the_dialers_that_are_kept_have_a_limit() -> None:
    """The one that was not used for the longest time has to go; its streams go on."""
    transport = Holding()
    limits = Limits(dialers=2, drain=DEADLINE)
    async with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], limits=limits) as (_, host),
    ):
        streams = [await connect(host, server, {"k": key}) for key in ("1", "2", "1", "3")]
        await transport.until("hello closes 2")
        for stream in streams:
            await ping(stream)
            await stream.aclose()
        assert "hello closes 1" not in transport.said


@scenario
async def test_a_dialer_is_not_closed_while_it_dials() -> None:
    transport = Holding()
    limits = Limits(dialers=1, drain=DEADLINE)
    async with serving(echo) as server:
        async with dispatching(transport, client=["hello"], limits=limits) as (_, host):
            transport.may_dial.clear()
            dialling = [
                asyncio.create_task(connect(host, server, {"k": key})) for key in ("1", "2")
            ]
            for key in ("1", "2"):
                await transport.until(f"hello dials {key}")
            assert not any("closes" in said for said in transport.said)
            transport.may_dial.set()
            for task in dialling:
                stream = await task
                await ping(stream)
                await stream.aclose()
        assert sorted(transport.said[4:]) == ["hello closes 1", "hello closes 2"]


@scenario
async def test_options_are_judged_by_the_dialer_that_is_used_then() -> None:
    """In the transparent modes, where there are no other args."""
    transport = Holding()
    async with (
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
            stream = await SystemNetwork().dial(host.address())
            await ping(stream)
            await stream.aclose()
        assert transport.said[1:] == ["hello dials 1"] * 2


@scenario
async def test_what_is_nested_is_shared_and_closed_as_well() -> None:
    """The inner one first, which may have something to say through the outer."""
    said: list[str] = []
    nested = Nested("hello", Holding("outer", said), Holding("inner", said))
    async with serving(echo) as server:
        async with dispatching(nested, client=["hello"]) as (_, host):
            for _ in range(2):
                stream = await connect(host, server, {"k": "1"})
                await ping(stream)
                await stream.aclose()
        dials = ["inner dials 1", "outer dials 1"]
        assert said == [
            *("outer makes 1", "inner makes 1"),
            *(dials * 2),
            *("inner closes 1", "outer closes 1"),
        ]
        said.clear()
        async with dispatching(nested, server=["hello"], target=server):
            assert said == []
        assert said == ["inner closes", "outer closes"]


@scenario
async def test_a_listener_is_closed_after_the_last_connection() -> None:
    transport = Holding()
    async with serving(echo) as target:
        async with dispatching(transport, server=["hello"], target=target) as (dispatcher, host):
            stream = await SystemNetwork().dial(host.address())
            await ping(stream)
            dispatcher.stop()
            await ping(stream)
            assert transport.said == []
            await stream.aclose()
        assert transport.said == ["hello closes"]


@scenario
async def test_what_cannot_be_closed_is_logged_and_holds_up_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LAST_WORDS", 0.02)

    class Stuck(HoldingListener):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    class Broken(HoldingListener):
        async def aclose(self) -> None:
            raise ZeroDivisionError("oops")

    class Bad(Holding):
        def listener(self, options: Args, network: Network) -> Listener:
            return {"stuck": Stuck, "broken": Broken, "good": HoldingListener}[self.name](
                self, network
            )

    transports = [Bad(name) for name in ("stuck", "broken", "good")]
    async with dispatching(
        *transports, server=[each.name for each in transports], target="127.0.0.1:9"
    ):
        pass
    assert transports[2].said == ["good closes"]
    assert sorted(caplog.messages) == [
        "broken: not closed in good order: oops",
        "stuck: not closed in good order: it took too long",
    ]


@scenario
async def test_inside_an_application_its_owner_closes_a_dialer() -> None:
    transport = Holding()
    async with serving(echo) as server:
        dialer = in_process(transport, {"k": "1"})
        stream = await dialer.dial(server)
        await dialer.aclose()
        await ping(stream)  # type: ignore[arg-type]
        await stream.aclose()
        await in_process(StreamTransport("holds nothing")).aclose()
    assert transport.said == ["hello makes 1", "hello dials 1", "hello closes 1"]
