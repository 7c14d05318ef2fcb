"""The server's side: to the host's port, and to its Extended ORPort."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from ptipc.aio import SocketStream, StreamTransport, SystemNetwork, drive
from ptipc.aio.service import Limits
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect
from ptipc.core.extorport import ExtOrPortResponder, serialize_cookie_file
from ptipc.core.launch import launch_config
from tests.aio.loopback import (
    DEADLINE,
    Visitors,
    answer_at_the_end,
    dispatching,
    echo,
    nobody_listens,
    read_all,
    read_exactly,
    scenario,
    serving,
    silence,
)

HELLO = StreamTransport("hello")
NETWORK = SystemNetwork()


async def ping(address: Address) -> SocketStream:
    stream = await NETWORK.dial(address)
    await stream.send(b"ping")
    assert await read_exactly(stream, 4) == b"ping"
    return stream


@pytest.mark.parametrize("dialect", [PT1, PT2_0, PT2_2, PT3_0], ids=str)
@scenario
async def test_a_client_reaches_the_host(dialect: Dialect) -> None:
    async with (
        serving(echo) as target,
        dispatching(HELLO, server={"hello": "127.0.0.1:0"}, target=target, dialect=dialect) as (
            _,
            host,
        ),
    ):
        await (await ping(host.address())).aclose()


@pytest.mark.parametrize("dialect", [PT2_0, PT2_2, PT3_0], ids=str)
@scenario
async def test_the_host_may_have_a_name(dialect: Dialect) -> None:
    async with serving(echo) as target:
        name = Address("localhost", target.port)
        async with dispatching(
            HELLO, server={"hello": "127.0.0.1:0"}, target=name, dialect=dialect
        ) as (_, host):
            await (await ping(host.address())).aclose()


@scenario
async def test_it_listens_on_ipv6() -> None:
    async with (
        serving(echo, Address("::1", 0)) as target,
        dispatching(HELLO, server={"hello": "[::1]:0"}, target=target) as (_, host),
    ):
        await (await ping(host.address())).aclose()


@scenario
async def test_without_an_address_it_chooses_one() -> None:
    async with (
        serving(echo) as target,
        dispatching(HELLO, server=["hello"], target=target) as (_, host),
    ):
        await (await ping(host.address())).aclose()


@scenario
async def test_the_end_of_one_direction_leaves_the_other() -> None:
    async with (
        serving(answer_at_the_end) as target,
        dispatching(HELLO, server=["hello"], target=target) as (_, host),
    ):
        stream = await NETWORK.dial(host.address())
        await stream.send(bytes(1_000_000))
        await stream.send_eof()
        assert await read_all(stream) == b"1000000 octets"
        await stream.aclose()


@scenario
async def test_a_client_of_a_host_that_is_gone_is_sent_away() -> None:
    async with dispatching(HELLO, server=["hello"], target=nobody_listens()) as (_, host):
        stream = await NETWORK.dial(host.address())
        assert await read_all(stream) == b""
        await stream.aclose()


@scenario
async def test_the_way_to_the_host_has_no_source_address() -> None:
    """Outbound addresses are for the world; and a server has no proxy."""
    async with serving(echo) as target:
        config = evolve(launch_config(server=["hello"], target=target), outbound_v4="192.0.2.1")
        async with dispatching(HELLO, config=config) as (_, host):
            await (await ping(host.address())).aclose()


# --- the Extended ORPort --------------------------------------------------------------------------


class ExtendedPort:
    """A host that wants to know who its clients are, and decides whom it wants."""

    def __init__(self, cookie_file: Path, *, deny: bool = False) -> None:
        self.cookie_file = cookie_file
        self.deny = deny
        self.clients: list[tuple[Address | None, str | None]] = []
        self.new_cookie()

    def new_cookie(self) -> None:
        self.cookie = os.urandom(32)
        self.cookie_file.write_bytes(serialize_cookie_file(self.cookie))

    def current(self) -> bytes:
        """The cookie to prove."""
        return self.cookie

    async def __call__(self, stream: SocketStream) -> None:
        machine = ExtOrPortResponder(self.current, os.urandom(32))
        await drive(machine, stream, DEADLINE)
        self.clients.append((machine.client_address, machine.transport))
        if self.deny:
            machine.deny()
        else:
            machine.accept()
        await drive(machine, stream, DEADLINE)
        if not self.deny:
            await echo(stream)


@pytest.mark.parametrize("place", ["127.0.0.1:0", "[::1]:0"])
@scenario
async def test_the_host_hears_who_comes_and_by_what(tmp_path: Path, place: str) -> None:
    """Not even its ORPort is asked, if there is one as well (C58)."""
    extended, visitors = ExtendedPort(tmp_path / "cookie"), Visitors()
    async with (
        serving(extended) as port,
        serving(visitors) as target,
        dispatching(
            HELLO,
            server={"hello": place},
            target=target,
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
        ) as (_, host),
    ):
        stream = await ping(host.address())
        assert extended.clients == [(stream.local, "hello")]
        await stream.aclose()
    assert visitors.count == 0


@scenario
async def test_the_cookie_is_read_for_each_connection(tmp_path: Path) -> None:
    """It may come late, and change when the host restarts (tor bug 15240)."""
    extended = ExtendedPort(tmp_path / "cookie")
    extended.cookie_file.unlink()
    async with (
        serving(extended) as port,
        dispatching(
            HELLO,
            server=["hello"],
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
        ) as (_, host),
    ):
        stream = await NETWORK.dial(host.address())
        assert await read_all(stream) == b""
        await stream.aclose()
        for _ in range(2):
            extended.new_cookie()
            await (await ping(host.address())).aclose()


class Changing(ExtendedPort):
    """A host that has a new cookie whenever somebody has just read the old one, twice."""

    changes = 2

    def current(self) -> bytes:
        if self.changes:
            self.changes -= 1
            self.new_cookie()
        return self.cookie


@scenario
async def test_a_cookie_that_changes_meanwhile_is_read_again(tmp_path: Path) -> None:
    extended = Changing(tmp_path / "cookie")
    async with (
        serving(extended) as port,
        dispatching(
            HELLO,
            server=["hello"],
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
        ) as (_, host),
    ):
        stream = await ping(host.address())
        assert extended.clients == [(stream.local, "hello")]
        await stream.aclose()
    assert extended.changes == 0


@scenario
async def test_who_is_not_wanted_is_sent_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extended = ExtendedPort(tmp_path / "cookie", deny=True)
    with caplog.at_level("INFO"):
        async with (
            serving(extended) as port,
            dispatching(
                HELLO,
                server=["hello"],
                extended_port=port,
                auth_cookie=str(extended.cookie_file),
            ) as (_, host),
        ):
            stream = await NETWORK.dial(host.address())
            assert await read_all(stream) == b""
            await stream.aclose()
    assert "hello: a connection broke: the host wants no traffic from this client" in caplog.text


@scenario
async def test_a_host_that_does_not_know_its_cookie_gets_no_client(tmp_path: Path) -> None:
    extended = ExtendedPort(tmp_path / "cookie")
    extended.cookie = bytes(32)
    async with (
        serving(extended) as port,
        dispatching(
            HELLO,
            server=["hello"],
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
        ) as (_, host),
    ):
        stream = await NETWORK.dial(host.address())
        assert await read_all(stream) == b""
        await stream.aclose()
    assert extended.clients == []


@scenario
async def test_a_silent_extended_port_has_a_deadline(tmp_path: Path) -> None:
    extended = ExtendedPort(tmp_path / "cookie")
    async with (
        serving(silence) as port,
        dispatching(
            HELLO,
            server=["hello"],
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
            limits=Limits(handshake=0.02),
        ) as (_, host),
    ):
        stream = await NETWORK.dial(host.address())
        assert await read_all(stream) == b""
        await stream.aclose()


@scenario
async def test_an_extended_port_without_a_cookie_is_of_no_use() -> None:
    """arti gives no cookie: the ORPort is what is left, and without it nothing is."""
    async with serving(echo) as target, serving(silence) as port:
        config = launch_config(server=["hello"], target=target, extended_port=port)
        async with dispatching(HELLO, config=config) as (_, host):
            await (await ping(host.address())).aclose()
        async with dispatching(HELLO, config=evolve(config, target=None)) as (_, host):
            assert "neither a target nor" in host.session.errors["hello"]
