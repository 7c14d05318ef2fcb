"""One transport in another: two ways to hand a connection over, to any depth, on both sides."""

from __future__ import annotations

import pytest

from ptipc.aio import (
    Capability,
    Nested,
    Stream,
    StreamTransport,
    SystemNetwork,
    Transport,
    map_stream,
    one_shot,
    through,
)
from ptipc.aio.transport import STREAMS, capabilities_of, grants_early
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.osdep import State
from tests.aio.loopback import (
    LOOPBACK,
    Reversing,
    echo,
    read_all,
    read_exactly,
    scenario,
    serving,
    udp_echo,
)

NETWORK = SystemNetwork(state=State("/nowhere"))


def shifting(name: str, by: int) -> StreamTransport:
    """A transport that adds a number to each octet; its server says which."""

    def add(number: int) -> bytes:
        return bytes((octet + number) % 256 for octet in range(256))

    async def wrap(stream: Stream, args: Args) -> Stream:
        number = int(args.get("by", by))
        there, back = add(number), add(-number)
        return map_stream(
            stream, lambda data: data.translate(there), lambda data: data.translate(back)
        )

    return StreamTransport(
        name, client=wrap, server=wrap, publish=lambda options: Args({"by": str(options["by"])})
    )


# --- give me a dialer, give me a stream -----------------------------------------------------------


@scenario
async def test_a_dialer_may_be_called_again() -> None:
    async with serving(echo) as server:
        dialer = shifting("x", 1).dialer(NO_ARGS, NETWORK)
        network = through(NETWORK, dialer=dialer)
        for data in (b"once", b"twice"):
            stream = await network.dial(server)
            await stream.send(data)
            assert await read_exactly(stream, len(data)) == data
            await stream.aclose()


@scenario
async def test_a_stream_is_given_once() -> None:
    """Whatever the target: the connection is there already."""
    async with serving(echo) as server:
        stream = await NETWORK.dial(server)
        network = one_shot(NETWORK, stream)
        assert await network.dial(Address("no-such-host.invalid", 1)) is stream
        with pytest.raises(OSError, match="in use"):
            await network.dial(server)
        await stream.aclose()


@scenario
async def test_what_is_not_given_is_left_to_the_network() -> None:
    transport = shifting("x", 1)
    async with serving(echo) as server, udp_echo() as udp:
        network = through(NETWORK, listener=transport.listener(Args({"by": 1}), NETWORK))
        assert network.state == NETWORK.state
        await (await network.dial(server)).aclose()
        await (await network.datagrams(udp)).aclose()
        dialling = through(NETWORK, dialer=transport.dialer(NO_ARGS, NETWORK))
        await (await dialling.listen(LOOPBACK)).aclose()
        await (await dialling.listen_datagrams(LOOPBACK)).aclose()


@scenario
async def test_nothing_that_is_given_can_be_passed_by() -> None:
    """A dialer of streams makes a network without datagrams, and so does a listener."""
    transport = shifting("x", 1)
    network = through(
        NETWORK,
        dialer=transport.dialer(NO_ARGS, NETWORK),
        listener=transport.listener(Args({"by": 1}), NETWORK),
    )
    async with udp_echo() as udp:
        for attempt in (network.datagrams, network.listen_datagrams):
            with pytest.raises(OSError, match="no datagrams"):
                await attempt(udp)


# --- two in one -----------------------------------------------------------------------------------


@scenario
async def test_both_sides_undo_what_the_other_does_to_any_depth() -> None:
    transport: Transport = Nested(
        "three", shifting("a", 0), Nested("two", shifting("b", 0), shifting("c", 0))
    )
    options = Args({"a.by": 1, "two.b.by": 2, "two.c.by": 4})
    server = transport.listener(options, NETWORK)
    assert server.args == {"a.by": "1", "two.b.by": "2", "two.c.by": "4"}
    listener = await server.listen(LOOPBACK)
    client = await transport.dialer(server.args, NETWORK).dial(listener.address)
    accepted = await listener.accept()
    await client.send(b"hello")
    await client.send_eof()
    assert await read_all(accepted) == b"hello"
    assert accepted.peer == client.local
    await accepted.aclose()
    await client.aclose()
    await listener.aclose()


@scenario
async def test_on_the_wire_it_is_both_of_them() -> None:
    seen: list[bytes] = []

    async def wire(stream: Stream) -> None:
        seen.append(await read_all(stream))

    async with serving(wire) as server:
        nested = Nested("x", shifting("outer", 1), shifting("inner", 2))
        stream = await nested.dialer(NO_ARGS, NETWORK).dial(server)
        await stream.send(b"\x00\x10")
        await stream.send_eof()
        assert await stream.receive() == b""
        await stream.aclose()
    assert seen == [b"\x03\x13"]


@scenario
async def test_an_arg_without_a_name_in_front_is_for_both() -> None:
    seen: dict[str, Args] = {}

    def noting(name: str) -> StreamTransport:
        return StreamTransport(name, check=lambda args: seen.update({name: args}))

    nested = Nested("x", noting("outer"), noting("inner"))
    nested.dialer(Args({"outer.k": "1", "inner.k": "2", "common": "3"}), NETWORK)
    assert seen == {"outer": {"k": "1", "common": "3"}, "inner": {"k": "2", "common": "3"}}


@scenario
async def test_bad_args_of_either_are_judged_before_any_connection() -> None:
    def refuse(args: Args) -> None:
        raise ValueError("bad")

    good, bad = StreamTransport("good"), StreamTransport("bad", check=refuse)
    for nested in (Nested("x", good, bad), Nested("x", bad, good)):
        with pytest.raises(ValueError, match="bad"):
            nested.dialer(NO_ARGS, NETWORK)


@scenario
async def test_datagrams_nest_as_well() -> None:
    nested = Nested("twice", Reversing(), Reversing(name="again"))
    server = nested.listener(NO_ARGS, NETWORK)
    assert capabilities_of(nested) == Capability.DATAGRAM
    acceptor = await server.listen_datagrams(LOOPBACK)
    dialer = nested.dialer(NO_ARGS, NETWORK)
    client = await dialer.dial_datagrams(acceptor.address)
    await client.send(b"abc")
    assert await (await acceptor.accept()).receive() == b"abc"
    await client.aclose()
    await acceptor.aclose()


def test_what_it_can_do_follows_from_both() -> None:
    plain = StreamTransport("a")
    whole = StreamTransport("b", capabilities=Capability.STREAM, grant_early=True)
    assert capabilities_of(Nested("x", plain, StreamTransport("c"))) == STREAMS
    assert capabilities_of(Nested("x", whole, plain)) == Capability.STREAM
    assert capabilities_of(Nested("x", plain, whole)) == Capability.STREAM
    assert grants_early(Nested("x", whole, plain))
    assert grants_early(Nested("x", plain, whole))
    assert not grants_early(Nested("x", plain, StreamTransport("c")))


def test_two_transports_need_two_names() -> None:
    with pytest.raises(ValueError, match="one name"):
        Nested("x", StreamTransport("a"), StreamTransport("a"))
