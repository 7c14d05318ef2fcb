"""Every example as a host launches it: in every edition, and in every mode."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from itertools import cycle
from pathlib import Path

import pytest

from ptipc.aio import LaunchError
from ptipc.core.codecs import Address, Mode, UpstreamProxy
from ptipc.core.dialects import DIALECTS, PT1, PT2_2, PT3_0, Dialect
from tests.aio.loopback import echo, scenario, serving, udp_echo
from tests.examples.running import (
    EVERY,
    STREAMS,
    answer_to,
    binding_request,
    client,
    command,
    environ,
    exchanged,
    in_each,
    mapped_address,
    server,
    stun_server,
    transparent_pair,
)
from tests.interop.upstream import Proxy, in_a_thread

SIZE = 1 << 20
WITH_MODES = (PT2_2, PT3_0)

with_streams = pytest.mark.parametrize("name", STREAMS)


@with_streams
@scenario
async def test_a_stream_and_both_its_ends_pass(name: str) -> None:
    """What is sent comes back whole, and its end after it, through two processes."""
    data = os.urandom(SIZE)

    async def check(dialect: Dialect) -> None:
        async with (
            serving(echo) as target,
            server(name, dialect, target) as far,
            client(name, dialect) as near,
        ):
            stream = await near.dial(far.bridge_line(name))
            assert await exchanged(stream, data) == data

    await in_each(DIALECTS, check)


@pytest.mark.parametrize(("name", "dialect"), list(zip(STREAMS[1:], cycle(DIALECTS))), ids=str)
def test_the_demo_shows_it(name: str, dialect: Dialect, tmp_path: Path) -> None:
    """``ptipc demo`` works as the header of each example says, in this edition or that."""
    demo = ["demo", "--transport", name, "--dialect", dialect.version, "--", *command(name)]
    words = [sys.executable, "-m", "ptipc", *demo]
    done = subprocess.run(words, env=environ(), cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"Every octet came back." in done.stdout


@with_streams
@scenario
async def test_transparent_tcp_leads_to_the_one_server(name: str) -> None:
    """An application that just connects reaches the server, args and all."""
    data = os.urandom(SIZE)

    async def check(dialect: Dialect) -> None:
        async with (
            serving(echo) as target,
            transparent_pair(name, dialect, target, Mode.TRANSPARENT_TCP) as (_, near),
        ):
            stream = await near.dialer(name).dial()
            assert await exchanged(stream, data) == data

    await in_each(WITH_MODES, check)


@pytest.mark.parametrize("name", EVERY)
@scenario
async def test_transparent_udp_carries_datagrams(name: str) -> None:
    """Datagrams come back from a UDP echo server as they were sent, each by itself."""

    async def check(dialect: Dialect) -> None:
        async with (
            udp_echo() as target,
            transparent_pair(name, dialect, target, Mode.TRANSPARENT_UDP) as (_, near),
        ):
            conversation = await near.dialer(name).dial_datagrams()
            for size in (1, 20, 1200, 1472):
                data = os.urandom(size)
                while (answer := await answer_to(conversation, data)) != data:
                    assert len(answer) < size  # to one that was sent twice
            await conversation.aclose()

    await in_each(WITH_MODES, check)


@pytest.mark.parametrize("name", EVERY)
@scenario
async def test_stun_carries_stun_and_nothing_else(name: str) -> None:
    """A binding request is answered by a STUN server; what is no STUN does not reach it."""

    async def check(dialect: Dialect) -> None:
        async with (
            stun_server() as stun,
            transparent_pair(name, dialect, stun.address, Mode.STUN) as (_, near),
        ):
            conversation = await near.dialer(name).dial_datagrams()
            for number in range(3):
                transaction = number.to_bytes(12, "big")
                await conversation.send(b"\xff is not how STUN begins")
                response = await answer_to(conversation, binding_request(transaction))
                while response[8:20] != transaction:  # to one that was sent twice
                    response = await answer_to(conversation, binding_request(transaction))
                assert mapped_address(response, transaction) in stun.clients
            await conversation.aclose()
        assert {len(message) for message in stun.asked} == {20}

    await in_each(WITH_MODES, check)


@pytest.mark.parametrize(
    ("dialect", "mode"),
    [(PT1, Mode.SOCKS5), (PT2_2, Mode.TRANSPARENT_TCP), (PT3_0, Mode.SOCKS5)],
    ids=str,
)
@scenario
async def test_datagrams_cannot_carry_a_stream(dialect: Dialect, mode: Mode) -> None:
    """A transport without streams says so in the modes that need them, as server and as client."""

    async def refused(launched: AbstractAsyncContextManager[object]) -> str:
        with pytest.raises(LaunchError, match="carries no streams") as failed:
            async with launched:
                pass
        return " ".join(event.line for event in failed.value.transcript)

    nowhere = Address("127.0.0.1", 9)
    options = {} if dialect is PT1 else {"key": "00" * 16, "serverAddress": str(nowhere)}
    said_by_server, said_by_client = await asyncio.gather(
        refused(server("datagram", dialect, nowhere, mode)),
        refused(client("datagram", dialect, mode, options=options)),
    )
    assert "SMETHOD-ERROR datagram" in said_by_server
    assert "CMETHOD-ERROR datagram" in said_by_client


@pytest.mark.parametrize("name", ["obfuscated", "multiplex", "several", "polling"])
@scenario
async def test_every_connection_goes_through_the_upstream_proxy(name: str) -> None:
    """However many connections there are to a stream, each of them is one through the proxy."""
    data = os.urandom(SIZE // 4)
    proxy = Proxy()
    with in_a_thread(proxy):
        async with (
            serving(echo) as target,
            server(name, PT1, target) as far,
            client(name, PT1, proxy=proxy.place) as near,
        ):
            bridge = far.bridge_line(name)
            assert await exchanged(await near.dial(bridge), data) == data
    assert {passage.target for passage in proxy.passages} == {bridge.address}
    assert proxy.carried > 2 * len(data)


@scenario
async def test_no_datagram_passes_by_the_upstream_proxy() -> None:
    """A transport that has only datagrams refuses a proxy, which carries none."""
    with pytest.raises(LaunchError, match="PROXY-ERROR"):
        async with client(
            "datagram",
            PT3_0,
            Mode.TRANSPARENT_UDP,
            options={"key": "00" * 16, "serverAddress": "127.0.0.1:9"},
            proxy=UpstreamProxy("socks5", Address("127.0.0.1", 9)),
        ):
            pass


@pytest.mark.parametrize(
    ("dialect", "name", "options", "reason"),
    [
        (PT2_2, "obfuscated", {}, "the arg cert is missing"),
        (PT3_0, "obfuscated", {"cert": "AAAA"}, "cert"),
        (PT2_2, "nested", {"cert": "AAAA"}, "cert"),
        (PT3_0, "several", {"lanes": "17"}, "lanes"),
        (PT2_2, "datagram", {}, "the option key is missing"),
        (PT3_0, "datagram", {"key": "xyz"}, "not hexadecimal"),
    ],
)
@scenario
async def test_bad_options_are_told_at_the_start(
    dialect: Dialect, name: str, options: dict[str, str], reason: str
) -> None:
    """What applications cannot say is judged when the client starts, and refused in words."""
    options["serverAddress"] = "127.0.0.1:9"
    with pytest.raises(LaunchError, match=reason):
        async with client(name, dialect, Mode.TRANSPARENT_UDP, options=options):
            pass


@scenario
async def test_bad_args_are_refused_at_once() -> None:
    """A bad cert in a connection's args is answered before anything is dialled."""
    async with client("obfuscated", PT1) as near:
        with pytest.raises(OSError, match="cannot connect"):
            await near.dial("obfuscated", Address("127.0.0.1", 9), {"cert": "short"})
