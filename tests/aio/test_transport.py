"""The Transport API: two small functions, and what they may rely on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from pathlib import Path

import pytest

from ptipc.aio import (
    Capability,
    Dialer,
    Listener,
    Network,
    SocketStream,
    Stream,
    StreamTransport,
    SystemNetwork,
    Transport,
    map_stream,
    receive_exactly,
    wrap_dialer,
    wrap_listener,
)
from ptipc.aio.transport import (
    STREAMS,
    WholeStream,
    capabilities_of,
    described,
    grants_early,
    version_of,
)
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.osdep import State
from tests.aio.loopback import (
    LOOPBACK,
    Visitors,
    answer_at_the_end,
    echo,
    read_all,
    read_exactly,
    scenario,
    serving,
)

NETWORK = SystemNetwork()


class Bare:
    """A transport with nothing but what it has to have."""

    name = "bare"

    def dialer(self, args: Args, network: object) -> object:
        return network

    def listener(self, options: Args, network: object) -> object:
        return network


def flipped(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)


async def flip(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, flipped, flipped)


def test_anything_of_the_shape_is_a_transport() -> None:
    assert isinstance(Bare(), Transport)
    assert isinstance(StreamTransport("hello"), Transport)
    assert not isinstance(object(), Transport)


def test_a_transport_that_does_not_say_carries_streams_and_waits_for_the_connection() -> None:
    bare: Transport = Bare()  # type: ignore[assignment]
    assert capabilities_of(bare) is STREAMS
    assert version_of(bare) is None
    assert not grants_early(bare)


def test_what_a_transport_declares_is_seen() -> None:
    transport = StreamTransport(
        "x", capabilities=Capability.STREAM, version="1.0", grant_early=True
    )
    assert Capability.HALF_CLOSE not in capabilities_of(transport)
    assert version_of(transport) == "1.0"
    assert grants_early(transport)


@scenario
async def test_bad_args_cost_no_connection() -> None:
    """They are judged when the dialer is made, and it is made before anything is dialled."""

    def check(args: Args) -> None:
        if "key" not in args:
            raise ValueError("no key")

    visitors = Visitors()
    async with serving(visitors) as server:
        transport = StreamTransport("x", check=check)
        with pytest.raises(ValueError, match="no key"):
            transport.dialer(NO_ARGS, NETWORK)
        stream = await transport.dialer(Args({"key": "1"}), NETWORK).dial(server)
        await visitors.came.wait()
        await stream.aclose()
    assert visitors.count == 1


@scenario
async def test_what_one_side_does_the_other_undoes() -> None:
    transport = StreamTransport("flip", client=flip, server=flip)
    listener = await transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    client = await transport.dialer(NO_ARGS, NETWORK).dial(listener.address)
    server = await listener.accept()
    await client.send(b"hello")
    await client.send_eof()
    assert await read_all(server) == b"hello"
    assert client.peer == listener.address == server.local
    assert client.local == server.peer
    assert isinstance(client.network, type(server.network))
    await server.aclose()
    await client.aclose()
    await listener.aclose()


class Vouched:
    """A transport with a key that it keeps, whose client shows a voucher from somewhere else."""

    name = "vouched"

    def __init__(self, office: Address) -> None:
        self.office = office

    def dialer(self, args: Args, network: Network) -> Dialer:
        key = bytes.fromhex(args["key"])

        async def client(stream: Stream) -> Stream:
            office = await network.dial(self.office)
            await office.send(key)
            await stream.send(await read_exactly(office, len(key)))
            await office.aclose()
            return map_stream(stream, flipped, flipped)

        return wrap_dialer(self, network, client)

    def listener(self, options: Args, network: Network) -> Listener:
        assert network.state is not None
        key = network.state.kept("key", b"secret".lower)

        async def server(stream: Stream) -> Stream:
            if await read_exactly(stream, len(key)) != key:
                raise ValueError("not vouched for")
            return map_stream(stream, flipped, flipped)

        return wrap_listener(self, network, server, Args({"key": key.hex()}))


@scenario
async def test_a_handshake_may_need_the_network_and_what_is_kept(tmp_path: Path) -> None:
    """Then the transport is a class; what it publishes comes from the state directory."""
    network = SystemNetwork(state=State(str(tmp_path)))
    async with serving(echo) as office:
        transport: Transport = Vouched(office)
        made = transport.listener(NO_ARGS, network)
        assert made.args == transport.listener(NO_ARGS, network).args
        listener = await made.listen(LOOPBACK)
        client = await transport.dialer(made.args, NETWORK).dial(listener.address)
        server = await listener.accept()
        await client.send(b"hello")
        assert await read_exactly(server, 5) == b"hello"
        for each in (client, server, listener):
            await each.aclose()


@scenario
async def test_a_server_publishes_what_clients_need() -> None:
    transport = StreamTransport("x", publish=lambda options: Args({"seen": options["secret"][:1]}))
    assert transport.listener(Args({"secret": "abc"}), NETWORK).args == {"seen": "a"}


@scenario
async def test_a_client_that_fails_closes_its_connection() -> None:
    async def fail(stream: Stream, args: Args) -> Stream:
        raise ValueError("no")

    closed = asyncio.Event()

    async def serve(stream: SocketStream) -> None:
        assert await stream.receive() == b""
        closed.set()

    async with serving(serve) as server:
        with pytest.raises(ValueError, match="no"):
            await StreamTransport("x", client=fail).dialer(NO_ARGS, NETWORK).dial(server)
        await closed.wait()


@scenario
async def test_a_silent_or_broken_client_holds_up_nobody() -> None:
    """Each client's handshake has a task and a deadline of its own."""

    async def first_octet(stream: Stream, args: Args) -> Stream:
        if await read_exactly(stream, 1) != b"!":
            raise ValueError("not one of ours")
        return stream

    transport = StreamTransport("x", server=first_octet)
    listener = await transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    silent = await NETWORK.dial(listener.address)
    wrong = await NETWORK.dial(listener.address)
    await wrong.send(b"?")
    assert await wrong.receive() == b""
    right = await NETWORK.dial(listener.address)
    await right.send(b"!data")
    accepted = await listener.accept()
    assert await read_exactly(accepted, 4) == b"data"
    await listener.aclose()
    assert await silent.receive() == b""  # it was given up with the listener
    await accepted.send(b"on")  # what was accepted goes on
    assert await read_exactly(right, 2) == b"on"
    for stream in (silent, wrong, right, accepted):
        await stream.aclose()


@scenario
async def test_a_handshake_has_a_deadline_and_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    async def for_ever(stream: Stream, args: Args) -> Stream:
        await asyncio.Event().wait()
        return stream

    transport = StreamTransport(
        "slow", server=for_ever, handshake_timeout=0.01, logger=logging.getLogger("mine")
    )
    with caplog.at_level(logging.INFO, "mine"):
        listener = await transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
        client = await NETWORK.dial(listener.address)
        assert await client.receive() == b""
        await client.aclose()
        await listener.aclose()
    assert caplog.messages == ["slow: a client failed: it took too long"]


@scenario
async def test_of_too_many_handshakes_the_oldest_goes() -> None:
    """Who is through with it is not concerned."""

    async def name(stream: Stream, args: Args) -> Stream:
        await receive_exactly(stream, 5)
        return stream

    transport = StreamTransport("x", server=name, half_open=2)
    listener = await transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    early = await NETWORK.dial(listener.address)
    await early.send(b"hello")
    one = await listener.accept()
    silent = [await NETWORK.dial(listener.address) for _ in range(4)]
    for stream in silent[:2]:
        assert await stream.receive() == b""
    honest = await NETWORK.dial(listener.address)
    await honest.send(b"hello")
    other = await listener.accept()
    assert other.peer == honest.local
    await early.send(b"still here")
    assert await read_exactly(one, 10) == b"still here"
    for each in (one, other, early, honest, *silent):
        await each.aclose()
    await listener.aclose()


@scenario
async def test_a_client_that_came_just_before_the_listener_was_closed_is_let_go() -> None:
    """However little has been done for it."""
    for turns in range(12):
        listener = await StreamTransport("x").listener(NO_ARGS, NETWORK).listen(LOOPBACK)
        client = await NETWORK.dial(listener.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        await listener.aclose()
        with contextlib.suppress(ConnectionResetError):
            assert await client.receive() == b""
        await client.aclose()


@scenario
async def test_accepting_ends_when_the_listener_is_closed() -> None:
    listener = await StreamTransport("x").listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    accepting = [asyncio.create_task(listener.accept()) for _ in range(2)]
    await asyncio.sleep(0)
    await listener.aclose()
    await listener.aclose()
    for task in accepting:
        with pytest.raises(OSError, match="closed"):
            await task


@scenario
async def test_an_accepted_stream_that_nobody_took_is_closed_with_the_listener() -> None:
    made = asyncio.Event()

    async def note(stream: Stream, args: Args) -> Stream:
        made.set()
        return stream

    listener = await StreamTransport("x", server=note).listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    client = await NETWORK.dial(listener.address)
    await made.wait()
    await asyncio.sleep(0)
    await listener.aclose()
    assert await client.receive() == b""
    await client.aclose()


@scenario
async def test_a_network_that_fails_to_accept_is_an_error_of_accept() -> None:
    class Failing:
        address = LOOPBACK

        async def listen(self, address: object) -> Failing:
            return self

        async def accept(self) -> Stream:
            raise ZeroDivisionError("oops")

        async def aclose(self) -> None: ...

    network: Network = Failing()  # type: ignore[assignment]
    listener = await StreamTransport("x").listener(NO_ARGS, network).listen(LOOPBACK)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await listener.accept()
    await listener.aclose()


# --- without half-close ---------------------------------------------------------------------------


@scenario
async def test_without_half_close_an_answer_still_arrives() -> None:
    """The end cannot be said; the other direction lasts until it is silent, and both end then."""
    async with serving(echo) as server:
        transport = StreamTransport("x", capabilities=Capability.STREAM)
        stream = await transport.dialer(NO_ARGS, NETWORK).dial(server)
        assert isinstance(stream, WholeStream)
        assert not stream.half_close
        assert stream.peer == server
        assert stream.local is not None
        assert stream.network is not None
        stream.linger = 1.0
        receiving = asyncio.create_task(read_all(stream))
        await asyncio.sleep(0)  # it is already waiting when the end is said
        await stream.send(b"ping")
        await stream.send_eof()
        assert await receiving == b"ping"


@scenario
async def test_without_half_close_the_peer_may_end_first() -> None:
    async with serving(answer_at_the_end) as server:
        inner = await NETWORK.dial(server)
        await inner.send_eof()
        stream = WholeStream(inner)
        await stream.send_eof()
        assert await read_all(stream) == b"0 octets"
        await stream.aclose()


@scenario
async def test_without_half_close_a_cancelled_call_loses_nothing() -> None:
    async with serving(echo) as server:
        stream = WholeStream(await NETWORK.dial(server))
        for _ in range(20):
            receiving = asyncio.create_task(stream.receive(1))
            await asyncio.sleep(0)
            await stream.send(b"ab")
            for _ in range(3):
                await asyncio.sleep(0)
            receiving.cancel()
            (first,) = await asyncio.gather(receiving, return_exceptions=True)
            received = first if isinstance(first, bytes) else b""
            assert received + await read_exactly(stream, 2 - len(received)) == b"ab"
        waiting = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await stream.aclose()
        await stream.aclose()


# --- errors for people ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "it took too long"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "[Errno 110] Connection timed out"),
        (ValueError("no key"), "no key"),
        (ValueError(), "ValueError"),
    ],
)
def test_no_error_is_without_words(error: Exception, text: str) -> None:
    assert described(error) == text
