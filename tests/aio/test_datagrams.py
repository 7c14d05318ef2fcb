"""Datagrams: UDP with one peer and with many, and datagrams on a stream."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ptipc.aio import Datagrams, SystemNetwork
from ptipc.aio.datagrams import (
    OVERHEAD,
    QUEUE,
    DatagramQueue,
    FramedDatagrams,
    UdpAcceptor,
    UdpSocket,
)
from ptipc.aio.network import SocketListener
from ptipc.aio.streams import SocketStream
from ptipc.core.codecs import Address
from ptipc.core.datagrams import LengthFraming, StunFraming
from ptipc.core.errors import RemoteProtocolError
from ptipc.sockets import listening_socket
from tests.aio.loopback import LOOPBACK, nobody_listens, scenario, udp_echo

NETWORK = SystemNetwork()
STUN = bytes.fromhex("0001 0000 2112a442") + bytes(12)


@scenario
async def test_datagrams_keep_their_boundaries() -> None:
    async with udp_echo() as server:
        conversation = await NETWORK.datagrams(server)
        assert isinstance(conversation, Datagrams)
        assert conversation.peer == server
        assert conversation.local.host == "127.0.0.1"
        for data in (b"one", b"", bytes(60000)):
            await conversation.send(data)
            assert await conversation.receive() == data
        await conversation.aclose()


@scenario
async def test_a_conversation_may_be_with_a_name() -> None:
    async with udp_echo() as server:
        conversation = await NETWORK.datagrams(Address("localhost", server.port))
        await conversation.aclose()


@scenario
async def test_a_conversation_ends_once() -> None:
    async with udp_echo() as server:
        conversation = await NETWORK.datagrams(server)
        receiving = asyncio.create_task(conversation.receive())
        await asyncio.sleep(0)
        await conversation.aclose()
        await conversation.aclose()
        assert await receiving is None
        assert await conversation.receive() is None
        with pytest.raises(BrokenPipeError):
            await conversation.send(b"late")


@scenario
async def test_a_peer_that_is_not_there_is_an_error_of_receive() -> None:
    """The operating system tells so when it hears of it, which is behind what was received."""
    conversation = await NETWORK.datagrams(nobody_listens())
    await conversation.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        await conversation.receive()
    await conversation.aclose()


@scenario
async def test_a_datagram_that_cannot_be_sent_is_an_error_of_receive() -> None:
    async with udp_echo() as server:
        conversation = await NETWORK.datagrams(server)
        await conversation.send(bytes(100_000))
        with pytest.raises(OSError, match="too long"):
            await conversation.receive()
        await conversation.aclose()


@scenario
async def test_a_queue_that_nobody_reads_is_bounded() -> None:
    queue = DatagramQueue()
    for _ in range(10 * QUEUE // OVERHEAD):
        queue.put(b"")
    queue.put(bytes(QUEUE))
    queue.end()
    queue.put(b"late")
    count = 0
    while await queue.get() is not None:
        count += 1
    assert count == QUEUE // OVERHEAD


@scenario
async def test_a_full_socket_drops_and_does_not_wait() -> None:
    """As UDP does: nothing is kept for later, and nobody is told."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    sender = await UdpSocket.connect(sink.getsockname(), lambda data, peer: None)
    for _ in range(2000):
        sender.send(bytes(1000))
    sender.close()
    sender.send(b"late")
    sender.close()
    sink.close()


# --- many peers on one socket ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@scenario
async def test_each_remote_address_has_a_conversation(host: str) -> None:
    acceptor = await NETWORK.listen_datagrams(Address(host, 0))
    one, other = [await NETWORK.datagrams(acceptor.address) for _ in range(2)]
    await one.send(b"one")
    await other.send(b"other")
    first, second = await acceptor.accept(), await acceptor.accept()
    assert (first.peer, second.peer) == (one.local, other.local)
    assert await first.receive() == b"one"
    assert await second.receive() == b"other"
    await one.send(b"more")
    assert await first.receive() == b"more"
    await second.send(b"back")
    assert await other.receive() == b"back"
    for each in (one, other):
        await each.aclose()
    await acceptor.aclose()
    assert await first.receive() is None
    with pytest.raises(BrokenPipeError):
        await first.send(b"late")


@scenario
async def test_a_conversation_that_was_ended_begins_anew() -> None:
    acceptor = await NETWORK.listen_datagrams(LOOPBACK)
    client = await NETWORK.datagrams(acceptor.address)
    await client.send(b"first")
    first = await acceptor.accept()
    await first.aclose()
    await first.aclose()
    await client.send(b"second")
    second = await acceptor.accept()
    assert second is not first
    assert await second.receive() == b"second"
    await client.aclose()
    await acceptor.aclose()


@scenario
async def test_an_idle_conversation_ends_by_itself() -> None:
    acceptor = await UdpAcceptor.listen(LOOPBACK, idle_timeout=0.05)
    early, late = [await NETWORK.datagrams(acceptor.address) for _ in range(2)]
    await early.send(b"x")
    first = await acceptor.accept()
    await late.send(b"x")
    second = await acceptor.accept()
    assert await first.receive() == b"x"
    assert await second.receive() == b"x"
    assert await first.receive() is None
    assert await second.receive() is None
    for each in (early, late):
        await each.aclose()
    await acceptor.aclose()


@scenario
async def test_newcomers_are_dropped_when_there_are_too_many() -> None:
    acceptor = await UdpAcceptor.listen(LOOPBACK, limit=1)
    one, other = [await NETWORK.datagrams(acceptor.address) for _ in range(2)]
    await one.send(b"1")
    first = await acceptor.accept()
    await other.send(b"dropped")
    await one.send(b"2")
    assert [await first.receive(), await first.receive()] == [b"1", b"2"]
    await first.aclose()
    await other.send(b"welcome")
    assert await (await acceptor.accept()).receive() == b"welcome"
    for each in (one, other):
        await each.aclose()
    await acceptor.aclose()


@scenario
async def test_accepting_ends_when_the_acceptor_is_closed() -> None:
    acceptor = await UdpAcceptor.listen(LOOPBACK)
    accepting = [asyncio.create_task(acceptor.accept()) for _ in range(2)]
    await asyncio.sleep(0)
    await acceptor.aclose()
    await acceptor.aclose()
    for task in accepting:
        with pytest.raises(OSError, match="closed"):
            await task


@scenario
async def test_a_port_that_is_taken_is_an_error() -> None:
    acceptor = await UdpAcceptor.listen(LOOPBACK)
    with pytest.raises(OSError, match="in use"):
        await UdpAcceptor.listen(acceptor.address)
    await acceptor.aclose()


# --- on a stream ----------------------------------------------------------------------------------


async def pair() -> tuple[SocketStream, SocketStream]:
    listener = SocketListener(listening_socket(LOOPBACK))
    one = await NETWORK.dial(listener.address)
    other = await listener.accept()
    await listener.aclose()
    return one, other


@scenario
async def test_datagrams_on_a_stream_keep_their_boundaries() -> None:
    one, other = await pair()
    here, there = FramedDatagrams(one, LengthFraming()), FramedDatagrams(other, LengthFraming())
    assert isinstance(here, Datagrams)
    assert here.peer == one.peer
    sent = [b"one", b"", bytes(65535)]
    for data in sent:
        await here.send(data)
    assert [await there.receive() for _ in sent] == sent
    await here.aclose()
    assert await there.receive() is None
    await there.aclose()


@scenario
async def test_what_cannot_be_framed_is_lost_and_nothing_else() -> None:
    one, other = await pair()
    here, there = FramedDatagrams(one, StunFraming()), FramedDatagrams(other, StunFraming())
    for data in (b"not STUN", STUN):
        await here.send(data)
    assert await there.receive() == STUN
    await here.aclose()
    await there.aclose()


@scenario
async def test_a_datagram_that_was_cut_is_lost() -> None:
    one, other = await pair()
    there = FramedDatagrams(other, LengthFraming())
    await one.send(b"\0\5hel")
    await one.aclose()
    assert await there.receive() is None
    await there.aclose()


@scenario
async def test_a_peer_that_frames_otherwise_is_an_error() -> None:
    one, other = await pair()
    there = FramedDatagrams(other, StunFraming())
    await one.send(b"\xff\xff\xff\xff")
    with pytest.raises(RemoteProtocolError):
        await there.receive()
    await one.aclose()
    await there.aclose()
