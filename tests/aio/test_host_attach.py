"""Dialers of transports that run already, or in this program, and chains of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ptipc.aio import (
    Capability,
    Datagrams,
    Dialer,
    Listener,
    MappedStream,
    Network,
    PortDialer,
    Stream,
    StreamTransport,
    SystemNetwork,
    attach,
    chain,
    drive,
    in_process,
    launch,
    relay,
)
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0, Dialect
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import Args
from ptipc.core.socks import SocksResponder

from .hosting import echo_server, nothing_left, program, run, unused_port

HELLO = Address("192.0.2.7", 443)


@asynccontextmanager
async def socks_server(dialect: Dialect = PT1) -> AsyncIterator[tuple[Address, list[Args]]]:
    """Where a transport listens that is nothing but SOCKS, and the args that it was given."""
    heard: list[Args] = []
    tasks: set[asyncio.Task[None]] = set()
    listener = await SystemNetwork().listen(Address("127.0.0.1", 0))

    async def serve(stream: Stream) -> None:
        machine = SocksResponder.for_dialect(dialect)
        await drive(machine, stream, 10)  # type: ignore[arg-type]
        heard.append(machine.args)
        assert machine.target is not None
        remote = await SystemNetwork().dial(machine.target)
        machine.grant()
        await drive(machine, stream, 10)  # type: ignore[arg-type]
        await relay(stream, remote)

    async def accept() -> None:
        while True:
            tasks.add(asyncio.create_task(serve(await listener.accept())))

    accepting = asyncio.create_task(accept())
    try:
        yield listener.address, heard
    finally:
        accepting.cancel()
        await listener.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)


async def echoes(dialer: Dialer, target: Address) -> bool:
    async with asyncio.timeout(10):
        stream = await dialer.dial(target)
        try:
            await stream.send(b"over and out")
            return await stream.receive() == b"over and out"
        finally:
            await stream.aclose()


def xor(data: bytes) -> bytes:
    return bytes(octet ^ 0x55 for octet in data)


async def disguise(stream: Stream, args: Args) -> Stream:
    return MappedStream(stream, xor, xor)


XOR = StreamTransport("xor", client=disguise, server=disguise)


# --- running already ------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "socks5://", "SOCKS5H://", "socks4://", "socks4a://"])
def test_a_running_transport_is_dialled_by_its_address(prefix: str) -> None:
    async def main() -> list[Args]:
        async with echo_server() as target, socks_server() as (address, heard):
            assert await echoes(attach(f"{prefix}{address}", {"k": "v"}), target)
            return heard

    with nothing_left():
        assert run(main()) == [Args({"k": "v"})]


def test_args_go_the_way_of_the_edition() -> None:
    """In PT 2.0 a running transport may be given them as JSON."""

    async def main() -> list[Args]:
        async with echo_server() as target, socks_server(PT2_0) as (address, heard):
            assert await echoes(attach(address, dialect=PT2_0).given({"k": "v"}), target)
            return heard

    assert run(main()) == [Args({"k": "v"})]


def test_in_a_transparent_mode_there_is_nothing_to_say() -> None:
    async def main() -> None:
        async with echo_server() as address:
            dialer = attach(f"transparent-TCP://{address}")
            stream = await dialer.dial()
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.aclose()
            with pytest.raises(LocalProtocolError, match="at its start"):
                await dialer.dial(HELLO)
            with pytest.raises(LocalProtocolError, match="at its start"):
                await dialer.given({"k": "v"}).dial()

    run(main())


@pytest.mark.parametrize("protocol", ["transparent-UDP", "STUN"])
def test_in_a_datagram_mode_datagrams_are_sent(protocol: str) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as transport:
            transport.bind(("127.0.0.1", 0))
            transport.setblocking(False)
            dialer = attach(f"{protocol}://{Address(*transport.getsockname())}")
            conversation = await dialer.dial_datagrams()
            await conversation.send(b"one")
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                data, peer = await loop.sock_recvfrom(transport, 100)
                assert data == b"one"
                await loop.sock_sendto(transport, b"two", peer)
                assert await conversation.receive() == b"two"
            await conversation.aclose()
            with pytest.raises(LocalProtocolError, match="in datagrams"):
                await dialer.dial()
            with pytest.raises(LocalProtocolError, match="at its start"):
                await dialer.dial_datagrams(HELLO)
            with pytest.raises(LocalProtocolError, match="another dialer"):
                await dialer.over(dialer).dial_datagrams()

    with nothing_left():
        run(main())


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("192.0.2.7:1080", "not on loopback"),
        ("http://127.0.0.1:1080", "not a protocol"),
        ("localhost:1080", "not the address"),
        ("socks5://127.0.0.1", "not the address"),
    ],
)
def test_a_place_that_cannot_be_used_is_our_callers_fault(place: str, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        attach(place)


def test_a_place_off_loopback_can_be_allowed() -> None:
    assert isinstance(attach("192.0.2.7:1080", allow_remote=True), PortDialer)


def test_nobody_there_is_said_with_the_name() -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError, match="port of obfs4 at 127"):
            await attach(Address("127.0.0.1", unused_port()), transport="obfs4").dial(HELLO)

    run(main())


def test_what_speaks_no_socks_is_said_with_the_name() -> None:
    async def main() -> None:
        async with echo_server() as address:
            with pytest.raises(RemoteProtocolError, match=r"port of obfs4 at 127.*not offered"):
                await attach(address, transport="obfs4").dial(HELLO)

    run(main())


# --- in this program ------------------------------------------------------------------------------


@asynccontextmanager
async def xor_server(target: Address) -> AsyncIterator[Address]:
    """The server of the transport, which leads to a target."""
    acceptor = await XOR.listener(Args(), SystemNetwork()).listen(Address("127.0.0.1", 0))
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            stream = await acceptor.accept()
            remote = await SystemNetwork().dial(target)
            tasks.add(asyncio.create_task(relay(stream, remote)))

    accepting = asyncio.create_task(accept())
    try:
        yield acceptor.address
    finally:
        accepting.cancel()
        await acceptor.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)


def test_a_transport_of_ours_has_the_same_dialer() -> None:
    async def main() -> None:
        async with echo_server() as target, xor_server(target) as address:
            assert await echoes(in_process(XOR), address)
        listener = await SystemNetwork().listen(Address("127.0.0.1", 0))
        stream = await in_process(XOR).dial(listener.address)
        await stream.send(b"hello")
        there = await listener.accept()
        assert await there.receive() == xor(b"hello")
        for each in (stream, there, listener):
            await each.aclose()

    with nothing_left():
        run(main())


def test_its_args_are_judged_at_once() -> None:
    def check(args: Args) -> None:
        if "cert" not in args:
            raise ValueError("no cert")

    transport = StreamTransport("strict", check=check)
    with pytest.raises(ValueError, match="no cert"):
        in_process(transport)
    dialer = in_process(transport, {"cert": "x"})
    with pytest.raises(ValueError, match="no cert"):
        dialer.given({})


def test_it_carries_datagrams_only_if_it_says_so() -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError, match="carries no datagrams"):
            await in_process(XOR).dial_datagrams(HELLO)
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            conversation = await in_process(Plain()).dial_datagrams(Address(*peer.getsockname()))
            await conversation.aclose()

    run(main())


class Plain:
    """A transport that changes nothing, not even datagrams."""

    name = "plain"
    capabilities = Capability.DATAGRAM

    def dialer(self, args: Args, network: Network) -> PlainDialer:
        return PlainDialer(network)

    def listener(self, options: Args, network: Network) -> Listener:
        raise NotImplementedError


class PlainDialer:
    def __init__(self, network: Network) -> None:
        self._network = network

    async def dial(self, target: Address) -> Stream:
        return await self._network.dial(target)

    async def dial_datagrams(self, target: Address) -> Datagrams:
        return await self._network.datagrams(target)


# --- one through another --------------------------------------------------------------------------


def test_one_leads_through_another() -> None:
    """A disguise within a disguise, led through a process and through a running transport."""

    async def main() -> list[Args]:
        async with (
            echo_server() as target,
            xor_server(target) as server,
            launch(program("honest"), client=["one"]) as process,
            socks_server() as (running, heard),
        ):
            near = process.dialer("one", {"who": "near"})
            assert await echoes(chain(near), target)
            assert await echoes(chain(near, in_process(XOR)), server)
            far = attach(running, {"who": "far"})
            assert await echoes(chain(near, far), target)
            assert await echoes(chain(near, far, in_process(XOR)), server)
            # The disguise is only undone if the running transport stands behind the server.
            async with xor_server(running) as disguised:
                through = chain(Fixed(disguised), in_process(XOR), far)
                assert await echoes(through, target)
            return heard

    with nothing_left():
        heard = run(main())
    assert heard == [Args({"who": "far"})] * 3


class Fixed:
    """A dialer that always goes to one place."""

    def __init__(self, place: Address) -> None:
        self._place = place

    async def dial(self, target: Address) -> Stream:
        return await SystemNetwork().dial(self._place)


def test_a_chain_gives_a_socket_only_if_one_carries_just_it() -> None:
    async def main() -> None:
        async with echo_server() as target, socks_server() as (running, _):
            with await attach(running).dial_socket(target) as connection:
                assert connection.gettimeout() == 0
            async with xor_server(running) as server:
                dialer = attach(running).over(chain(Fixed(server), in_process(XOR)))
                with pytest.raises(LocalProtocolError, match="no socket"):
                    await dialer.dial_socket(target)

    with nothing_left():
        run(main())
