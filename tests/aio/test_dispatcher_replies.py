"""What a SOCKS client is told: why there is no connection, and when there is one."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from ptipc.aio import (
    Dialer,
    Network,
    Stream,
    StreamTransport,
    SystemNetwork,
)
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT2_2
from ptipc.core.errors import Refused
from ptipc.core.escapes import Args
from ptipc.core.socks import (
    ArgsRefused,
    RequestRefused,
    reply_for,
)
from tests.aio.loopback import (
    Noting,
    Visitors,
    connect,
    dispatching,
    echo,
    ping,
    read_all,
    scenario,
    serving,
)

HELLO = StreamTransport("hello")
NOWHERE = Address("192.0.2.1", 9)


ERRORS = [
    (Exception("?"), 1),
    (PermissionError(errno.EACCES, "no"), 2),
    (OSError(errno.ENETUNREACH, "no"), 3),
    (OSError(errno.EHOSTUNREACH, "no"), 4),
    (ConnectionRefusedError(errno.ECONNREFUSED, "no"), 5),
    (TimeoutError(), 6),
    (OSError(errno.EAFNOSUPPORT, "no"), 8),
    (ValueError("bad args"), 0x13),
    (RequestRefused("the proxy says so", 4), 4),
    (Refused("HTTP", 502), 1),
]


@scenario
async def test_the_reply_tells_why_there_is_no_connection() -> None:
    transport = Noting(*(error for error, _ in ERRORS))
    async with dispatching(transport, client=["hello"], dialect=PT2_2) as (_, host):
        for error, code in ERRORS:
            with pytest.raises(RequestRefused) as caught:
                await connect(host, NOWHERE)
            assert caught.value.code == code == reply_for(error, PT2_2)


@scenario
async def test_pt_1_has_no_code_for_bad_args() -> None:
    async with dispatching(Noting(ValueError("bad args")), client=["hello"]) as (_, host):
        with pytest.raises(RequestRefused) as caught:
            await connect(host, NOWHERE)
        assert caught.value.code == 1


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        ("05 01 00  05 02 00 01 7f000001 0001", 7),
        ("05 01 00  05 03 00 01 7f000001 0001", 7),
        ("05 01 00  05 01 00 05", 8),
        ("05 01 09  00000003 7b7b7b", 0x12),
        ("05 01 09  00000002 5b5d", 0x12),
        ("05 01 09  ffffffff", 0x10),
        ("05 01 09  00000009 7b", 0x11),
    ],
)
@scenario
async def test_what_a_client_does_wrong_has_a_reply_as_well(octets: str, reply: int) -> None:
    async with dispatching(
        HELLO, client=["hello"], dialect=PT2_2, limits=Limits(handshake=2.0)
    ) as (_, host):
        stream = await SystemNetwork().dial(host.address())
        await stream.send(bytes.fromhex(octets))
        assert (await read_all(stream))[2:] == bytes((5, reply, 0, 1)) + bytes(6)
        await stream.aclose()


@scenario
async def test_args_are_judged_before_anything_is_dialled() -> None:
    def check(args: Args) -> None:
        raise ValueError("no key")

    visitors = Visitors()
    async with (
        serving(visitors) as server,
        dispatching(StreamTransport("hello", check=check), client=["hello"], dialect=PT2_2) as (
            _,
            host,
        ),
    ):
        with pytest.raises(ArgsRefused):
            await connect(host, server, {"k": "v"})
    assert visitors.count == 0


@scenario
async def test_a_refusal_is_read_even_if_the_client_has_said_too_much() -> None:
    """Octets that nobody reads would turn the answer into a reset."""
    transport = Noting(ConnectionRefusedError(errno.ECONNREFUSED, "no"))
    async with dispatching(transport, client=["hello"]) as (_, host):
        stream = await SystemNetwork().dial(host.address())
        await stream.send(b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton("127.0.0.1") + b"\0\1")
        await stream.send(bytes(10_000))
        await stream.send_eof()
        assert (await read_all(stream)).startswith(b"\5\0\5\5\0\1")
        await stream.aclose()


@scenario
async def test_a_transport_that_does_not_connect_in_time_is_given_up() -> None:
    class Never(StreamTransport):
        def dialer(self, args: Args, network: Network) -> Dialer:
            class Waiting:
                async def dial(self, target: Address) -> Stream:
                    await asyncio.Event().wait()
                    raise AssertionError

            return Waiting()

    async with dispatching(Never("hello"), client=["hello"], limits=Limits(dial=0.01)) as (_, host):
        with pytest.raises(RequestRefused) as caught:
            await connect(host, NOWHERE)
        assert caught.value.code == 6


@scenario
async def test_the_reply_comes_when_there_is_a_connection() -> None:
    """Unless the transport asks for it: then it comes before."""
    async with dispatching(
        Noting(ConnectionRefusedError(errno.ECONNREFUSED, "no")), client=["hello"]
    ) as (_, host):
        with pytest.raises(ConnectionRefusedError):
            await connect(host, NOWHERE)
    early = Noting(ConnectionRefusedError(errno.ECONNREFUSED, "no"), grant_early=True)
    async with serving(echo) as server, dispatching(early, client=["hello"]) as (_, host):
        stream = await connect(host, server)  # granted, and then closed
        assert await read_all(stream) == b""
        await stream.aclose()
        stream = await connect(host, server)
        await ping(stream)
        await stream.aclose()
