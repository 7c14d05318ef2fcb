"""The client's side: SOCKS in all its forms, and the transparent mode."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from ptipc.aio import (
    Dialer,
    Network,
    SocketStream,
    Stream,
    StreamTransport,
    SystemNetwork,
    drive,
    relay,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect
from ptipc.core.escapes import Args
from ptipc.core.messages import CMethod
from ptipc.core.socks import (
    JsonBlock,
    NoAuth,
    RequestRefused,
    SocksInitiator,
    SocksResponder,
    UserPass,
)
from tests.aio.connections import reset, settle
from tests.aio.loopback import (
    DEADLINE,
    Noting,
    Visitors,
    answer_at_the_end,
    connect,
    dispatching,
    echo,
    nobody_listens,
    ping,
    read_all,
    scenario,
    serving,
    silence,
    socks,
)

HELLO = StreamTransport("hello")
NOWHERE = Address("192.0.2.1", 9)


# --- versions and methods -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "version"), [(PT1, 4), (PT1, 5), (PT2_0, 5), (PT2_2, 5), (PT3_0, 5)], ids=str
)
@scenario
async def test_args_arrive_by_every_version_of_socks(dialect: Dialect, version: int) -> None:
    transport = Noting()
    args = {"cert": "a;b=c\\d", "iat-mode": "0"}
    async with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], dialect=dialect) as (_, host),
    ):
        for each in (args, {}):
            stream = await connect(host, server, each, version=version)
            await ping(stream)
            await stream.aclose()
    assert transport.seen == [args, {}]


@scenario
async def test_socks4a_and_socks5_may_say_a_name() -> None:
    """Which the transport is given as it is."""
    async with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        for version in (4, 5):
            target = Address("localhost", server.port)
            stream = await connect(host, target, {"k": "v"}, version=version)
            await ping(stream)
            await stream.aclose()


@scenario
async def test_all_methods_work_on_one_port() -> None:
    """What editions before used, and what comes without args, in one process of PT 2.2."""
    transport = Noting()
    async with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], dialect=PT2_2) as (_, host),
    ):
        for method in (UserPass(), JsonBlock(0x09)):
            stream = await socks(host, SocksInitiator(server, method, {"k": "v"}))
            await ping(stream)
            await stream.aclose()
        stream = await socks(host, SocksInitiator(server))
        await stream.aclose()
    assert transport.seen == [{"k": "v"}, {"k": "v"}, {}]


@pytest.mark.parametrize("length", [254, 255, 256, 509, 510, 511])
@scenario
async def test_long_args_arrive_whole(length: int) -> None:
    """PT 1, 3.5: 255 octets in the user name, as many in the password, and no more than that."""
    transport = Noting()
    args = {"k": "v" * (length - 2)}
    async with serving(echo) as server, dispatching(transport, client=["hello"]) as (_, host):
        if length > 510:
            with pytest.raises(Exception, match="510"):
                await connect(host, server, args)
        else:
            await (await connect(host, server, args)).aclose()
            assert transport.seen == [args]
        # SOCKS4 has no such limit.
        await (await connect(host, server, args, version=4)).aclose()
    assert transport.seen[-1] == args


@scenario
async def test_ipv6_is_served_and_dialled() -> None:
    async with (
        serving(echo, Address("::1", 0)) as server,
        dispatching(HELLO, client=["hello"], dialect=PT2_2, listen="[::1]:0") as (_, host),
    ):
        assert host.address().host == "::1"
        stream = await connect(host, server)
        await ping(stream)
        await stream.aclose()


@scenario
async def test_options_apply_to_all_connections_and_their_own_args_go_first() -> None:
    """PT 3.0 section 1.4."""
    transport = Noting()
    async with (
        serving(echo) as server,
        dispatching(
            transport,
            client=["hello"],
            dialect=PT3_0,
            options={"hello": {"shared": "1", "both": "option"}},
        ) as (_, host),
    ):
        await (await connect(host, server, {"both": "arg", "own": "2"})).aclose()
        await (await connect(host, server)).aclose()
    assert dict(transport.seen[0]) == {"shared": "1", "both": "arg", "own": "2"}
    assert dict(transport.seen[1]) == {"shared": "1", "both": "option"}


# --- data -----------------------------------------------------------------------------------------


@scenario
async def test_whatever_a_client_says_early_is_kept() -> None:
    """All of it in one piece, before any answer: greeting, args, request and data."""
    async with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        request = b"\5\1\0\1" + socket.inet_aton(server.host) + struct.pack("!H", server.port)
        stream = await SystemNetwork().dial(host.address())
        await stream.send(b"\5\1\2" + b"\1\3k=v\1\0" + request + b"early data")
        await stream.send_eof()
        assert await read_all(stream) == b"\5\2" + b"\1\0" + b"\5\0\0\1" + bytes(6) + b"early data"
        await stream.aclose()


@scenario
async def test_the_end_of_one_direction_leaves_the_other() -> None:
    async with (
        serving(answer_at_the_end) as server,
        dispatching(HELLO, client=["hello"]) as (_, host),
    ):
        stream = await connect(host, server)
        await stream.send(bytes(1_000_000))
        await stream.send_eof()
        assert await read_all(stream) == b"1000000 octets"
        await stream.aclose()


@scenario
async def test_a_silent_client_delays_nobody_and_is_sent_away() -> None:
    async with (
        serving(echo) as server,
        dispatching(HELLO, client=["hello"], limits=Limits(handshake=1.5)) as (_, host),
    ):
        silent = await SystemNetwork().dial(host.address())
        stream = await connect(host, server)
        await ping(stream)
        assert await read_all(silent) == b""
        await ping(stream)  # the deadline is of the handshake only
        await stream.aclose()
        await silent.aclose()


@scenario
async def test_args_of_4_gib_are_refused_unread() -> None:
    """PT 2.0, 3.3.4: reply 0x10, which the client hears although it goes on to send."""
    async with (
        serving(echo) as server,
        dispatching(HELLO, client=["hello"], dialect=PT2_2) as (_, host),
    ):
        stream = await SystemNetwork().dial(host.address())
        await stream.send(b"\5\1\x09\xff\xff\xff\xff" + bytes(1000))
        assert (await read_all(stream)).startswith(b"\5\x09\5\x10")
        await stream.aclose()
        stream = await connect(host, server)
        await ping(stream)
        await stream.aclose()


@scenario
async def test_a_client_that_hangs_up_while_we_connect_is_no_disaster() -> None:
    async with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        for _ in range(20):
            stream = await SystemNetwork().dial(host.address())
            await stream.send(b"\5\1\0\5\1\0\1" + socket.inet_aton(server.host))
            await stream.send(struct.pack("!H", server.port))
            stream.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        stream = await connect(host, server)
        await ping(stream)
        await stream.aclose()


@scenario
async def test_a_connection_whose_client_is_gone_is_closed_again() -> None:
    """It was made for nobody: the server sees its end."""
    asked, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Waiting(StreamTransport):
        def dialer(self, args: Args, network: Network) -> Dialer:
            class Later:
                async def dial(self, target: Address) -> Stream:
                    asked.set()
                    await gate.wait()
                    return await network.dial(target)

            return Later()

    async def serve(stream: SocketStream) -> None:
        await silence(stream)
        ended.set()

    async with (
        serving(serve) as server,
        dispatching(Waiting("hello"), client=["hello"]) as (_, host),
    ):
        stream = await SystemNetwork().dial(host.address())
        request = b"\5\1\0\1" + socket.inet_aton(server.host) + struct.pack("!H", server.port)
        await stream.send(b"\5\1\0" + request)
        await asked.wait()
        stream.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        gate.set()
        await ended.wait()


@pytest.mark.parametrize("mode", [Mode.SOCKS5, Mode.TRANSPARENT_TCP])
@pytest.mark.parametrize("half_closed", [False, True])
@scenario
async def test_nobody_is_dialled_for_a_client_that_is_gone(mode: Mode, half_closed: bool) -> None:
    """What never answers is given up; who has sent its last, and reads on, is not gone."""
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def wait(stream: Stream, args: Args) -> Stream:
        asked.set()
        try:
            await stream.receive()
        finally:
            given_up.set()
        return stream

    async with (
        serving(silence) as server,
        dispatching(
            StreamTransport("hello", client=wait),
            client=["hello"],
            dialect=PT2_2,
            mode=mode,
            target=None if mode is Mode.SOCKS5 else server,
        ) as (_, host),
    ):
        stream = await SystemNetwork().dial(host.address())
        request = b"\5\1\0\1" + socket.inet_aton(server.host) + struct.pack("!H", server.port)
        await stream.send(b"\5\1\0" + request)
        await asked.wait()
        if half_closed:
            await stream.send_eof()
            await settle()
            assert not given_up.is_set()
        reset(stream)
        await given_up.wait()


# --- the upstream proxy ---------------------------------------------------------------------------


@scenario
async def test_every_connection_goes_through_the_upstream_proxy() -> None:
    """And what the proxy answers is what the client hears."""
    visitors = Visitors()
    asked: list[Address] = []

    async def proxy(stream: SocketStream) -> None:
        machine = SocksResponder(NoAuth())
        await drive(machine, stream, DEADLINE)
        assert machine.target is not None
        asked.append(machine.target)
        if machine.target.ip is None:
            machine.grant()
            await drive(machine, stream, DEADLINE)
            await relay(stream, await SystemNetwork().dial(server))
        else:
            machine.refuse(3)
            await drive(machine, stream, DEADLINE)

    async with (
        serving(visitors) as direct,
        serving(echo) as server,
        serving(proxy) as place,
        dispatching(HELLO, client=["hello"], proxy=f"socks5://{place}") as (_, host),
    ):
        name = Address("no-such-host.invalid", 443)
        stream = await connect(host, name)
        await ping(stream)
        await stream.aclose()
        with pytest.raises(RequestRefused) as caught:
            await connect(host, direct)
        assert caught.value.code == 3
    assert asked == [name, direct]
    assert visitors.count == 0


# --- where it listens -----------------------------------------------------------------------------


@scenario
async def test_it_listens_where_it_is_told() -> None:
    place = nobody_listens()
    async with dispatching(HELLO, client=["hello"], dialect=PT2_2, listen=place) as (_, host):
        assert host.address() == place


@scenario
async def test_one_place_is_for_one_transport() -> None:
    """There is one -proxylistenaddr for all transports: the first has it, the others say so."""
    place = nobody_listens()
    async with dispatching(
        HELLO,
        StreamTransport("other"),
        client=["hello", "other"],
        dialect=PT2_2,
        listen=place,
    ) as (_, host):
        assert host.address() == place
        assert "taken by 'hello'" in host.session.errors["other"]


@scenario
async def test_without_a_port_the_place_is_for_all() -> None:
    async with dispatching(
        HELLO,
        StreamTransport("other"),
        client=["hello", "other"],
        dialect=PT2_2,
        listen="[::1]:0",
    ) as (_, host):
        assert host.address("hello").host == host.address("other").host == "::1"


@scenario
async def test_a_place_that_is_open_to_everybody_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with dispatching(HELLO, client=["hello"], dialect=PT2_2, listen="0.0.0.0:0") as (_, host):
        assert "hello" in {*host.session.methods, *host.session.errors}
    assert "open to everybody" in caplog.text


@scenario
async def test_a_taken_place_is_an_error() -> None:
    async with (
        serving(silence) as taken,
        dispatching(HELLO, client=["hello"], dialect=PT2_2, listen=taken) as (_, host),
    ):
        assert "in use" in host.session.errors["hello"]


# --- transparent-TCP ------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [PT2_2, PT3_0], ids=str)
@scenario
async def test_transparent_connections_go_to_the_server(dialect: Dialect) -> None:
    """PT 3.0 has the option serverAddress for it, 2.2 the flag -target as well."""
    transport = Noting()
    async with serving(echo) as server:
        settings = (
            {"options": {"hello": {"serverAddress": str(server), "key": "1"}}}
            if dialect is PT3_0
            else {"target": server, "options": {"hello": {"key": "1"}}}
        )
        async with dispatching(
            transport, client=["hello"], dialect=dialect, mode=Mode.TRANSPARENT_TCP, **settings
        ) as (_, host):
            method = host.method("hello")
            assert isinstance(method, CMethod)
            assert method.protocol.value == "transparent-TCP"
            stream = await SystemNetwork().dial(method.address)
            await ping(stream)
            await stream.send_eof()
            assert await read_all(stream) == b""
            await stream.aclose()
    assert transport.seen[-1]["key"] == "1"


@pytest.mark.parametrize(
    ("options", "text"),
    [({}, "option serverAddress"), ({"serverAddress": "nonsense"}, "serverAddress: ")],
)
@scenario
async def test_transparent_connections_need_a_server(options: dict[str, str], text: str) -> None:
    async with dispatching(
        HELLO,
        client=["hello"],
        dialect=PT3_0,
        mode=Mode.TRANSPARENT_TCP,
        options={"hello": options},
    ) as (_, host):
        assert text in host.session.errors["hello"]


@scenario
async def test_options_that_the_transport_cannot_use_are_known_at_the_start() -> None:
    def check(args: Args) -> None:
        raise ValueError("no key")

    async with dispatching(
        StreamTransport("hello", check=check),
        client=["hello"],
        dialect=PT2_2,
        mode=Mode.TRANSPARENT_TCP,
        target=NOWHERE,
    ) as (_, host):
        assert host.session.errors == {"hello": "no key"}


@scenario
async def test_a_transparent_connection_that_fails_is_closed() -> None:
    async with dispatching(
        HELLO,
        client=["hello"],
        dialect=PT2_2,
        mode=Mode.TRANSPARENT_TCP,
        target=nobody_listens(),
    ) as (_, host):
        stream = await SystemNetwork().dial(host.address())
        assert await read_all(stream) == b""
        await stream.aclose()
