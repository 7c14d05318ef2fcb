"""The Transport API in threads: two small functions, what they may rely on, and nesting."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from ptipc.blocking import (
    Capability,
    Dialer,
    Listener,
    Nested,
    Network,
    Stream,
    StreamTransport,
    SystemNetwork,
    Transport,
    map_stream,
    one_shot,
    through,
    wrap_dialer,
    wrap_listener,
)
from ptipc.blocking.transport import WholeStream
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.osdep import State
from tests.blocking.loopback import (
    LOOPBACK,
    Doing,
    Visitors,
    answer_at_the_end,
    connected,
    echo,
    ping,
    read_all,
    read_exactly,
    serving,
)

NETWORK = SystemNetwork(state=State("/nowhere"))


def flipped(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)


def flip(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, flipped, flipped)


def test_bad_args_cost_no_connection() -> None:
    def check(args: Args) -> None:
        if "key" not in args:
            raise ValueError("no key")

    visitors = Visitors()
    with serving(visitors) as server:
        transport = StreamTransport("x", check=check)
        assert isinstance(transport, Transport)
        with pytest.raises(ValueError, match="no key"):
            transport.dialer(NO_ARGS, NETWORK)
        stream = transport.dialer(Args({"key": "1"}), NETWORK).dial(server)
        assert visitors.came.wait(20)
        stream.close()
    assert visitors.count == 1


def test_what_one_side_does_the_other_undoes() -> None:
    transport = StreamTransport("flip", client=flip, server=flip)
    listener = transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    client = transport.dialer(NO_ARGS, NETWORK).dial(listener.address)
    server = listener.accept()
    client.send(b"hello")
    assert client.peer == listener.address == server.local
    client.send_eof()
    assert read_all(server) == b"hello"
    assert server.deadline is client.deadline is None
    for each in (server, client, listener):
        each.close()


class Vouched:
    """A transport with a key that it keeps, whose client shows a voucher from somewhere else."""

    name = "vouched"

    def __init__(self, office: Address) -> None:
        self.office = office

    def dialer(self, args: Args, network: Network) -> Dialer:
        key = bytes.fromhex(args["key"])

        def client(stream: Stream) -> Stream:
            office = network.dial(self.office)
            office.send(key)
            stream.send(read_exactly(office, len(key)))
            office.close()
            return map_stream(stream, flipped, flipped)

        return wrap_dialer(self, network, client)

    def listener(self, options: Args, network: Network) -> Listener:
        assert network.state is not None
        key = network.state.kept("key", b"secret".lower)

        def server(stream: Stream) -> Stream:
            if read_exactly(stream, len(key)) != key:
                raise ValueError("not vouched for")
            return map_stream(stream, flipped, flipped)

        return wrap_listener(self, network, server, Args({"key": key.hex()}))


def test_a_handshake_may_need_the_network_and_what_is_kept(tmp_path: Path) -> None:
    """Then the transport is a class; what it publishes comes from the state directory."""
    network = SystemNetwork(state=State(str(tmp_path)))
    with serving(echo) as office:
        transport: Transport = Vouched(office)
        made = transport.listener(NO_ARGS, network)
        assert made.args == transport.listener(NO_ARGS, network).args
        listener = made.listen(LOOPBACK)
        client = transport.dialer(made.args, NETWORK).dial(listener.address)
        server = listener.accept()
        client.send(b"hello")
        assert read_exactly(server, 5) == b"hello"
        for each in (client, server, listener):
            each.close()


def test_a_server_publishes_what_clients_need() -> None:
    transport = StreamTransport("x", publish=lambda options: Args({"seen": options["secret"][:1]}))
    assert transport.listener(Args({"secret": "abc"}), NETWORK).args == {"seen": "a"}


def test_a_client_that_fails_or_takes_too_long_closes_its_connection() -> None:
    def fail(stream: Stream, args: Args) -> Stream:
        raise ValueError("no")

    def wait(stream: Stream, args: Args) -> Stream:
        stream.receive()
        return stream

    with serving(lambda stream: stream.receive()) as server:
        with pytest.raises(ValueError, match="no"):
            StreamTransport("x", client=fail).dialer(NO_ARGS, NETWORK).dial(server)
        with pytest.raises(TimeoutError):
            StreamTransport("x", client=wait, handshake_timeout=0.02).dialer(NO_ARGS, NETWORK).dial(
                server
            )


def test_a_silent_or_broken_client_holds_up_nobody() -> None:
    """Each client's handshake has a thread and a deadline of its own."""

    def first_octet(stream: Stream, args: Args) -> Stream:
        if read_exactly(stream, 1) != b"!":
            raise ValueError("not one of ours")
        return stream

    transport = StreamTransport("x", server=first_octet)
    listener = transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    silent = NETWORK.dial(listener.address)
    wrong = NETWORK.dial(listener.address)
    wrong.send(b"?")
    assert wrong.receive() == b""
    right = NETWORK.dial(listener.address)
    right.send(b"!data")
    accepted = listener.accept()
    assert read_exactly(accepted, 4) == b"data"
    listener.close()
    assert silent.receive() == b""  # it was given up with the listener
    accepted.send(b"on")  # what was accepted goes on
    assert read_exactly(right, 2) == b"on"
    for stream in (silent, wrong, right, accepted):
        stream.close()


def test_of_too_many_handshakes_the_oldest_goes() -> None:
    def for_ever(stream: Stream, args: Args) -> Stream:
        read_all(stream)
        return stream

    transport = StreamTransport("x", server=for_ever, half_open=2)
    listener = transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    silent = [NETWORK.dial(listener.address) for _ in range(3)]
    assert silent[0].receive() == b""
    listener.close()
    for stream in silent:
        stream.close()


def test_a_handshake_has_a_deadline_and_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    def for_ever(stream: Stream, args: Args) -> Stream:
        while True:
            stream.receive(1)

    transport = StreamTransport(
        "slow", server=for_ever, handshake_timeout=0.02, logger=logging.getLogger("mine")
    )
    with caplog.at_level(logging.INFO, "mine"):
        listener = transport.listener(NO_ARGS, NETWORK).listen(LOOPBACK)
        client = NETWORK.dial(listener.address)
        assert client.receive() == b""
        client.close()
        listener.close()
    assert caplog.messages == ["slow: a client failed: it took too long"]


def test_accepting_ends_in_every_thread_when_the_listener_is_closed() -> None:
    listener = StreamTransport("x").listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    accepting = [Doing(listener.accept) for _ in range(2)]
    listener.close()
    listener.close()
    for each in accepting:
        with pytest.raises(OSError, match="closed"):
            each.result()


def test_an_accepted_stream_that_nobody_took_is_closed_with_the_listener() -> None:
    made = threading.Event()

    def note(stream: Stream, args: Args) -> Stream:
        made.set()
        return stream

    listener = StreamTransport("x", server=note).listener(NO_ARGS, NETWORK).listen(LOOPBACK)
    client = NETWORK.dial(listener.address)
    assert made.wait(20)
    listener.close()
    assert client.receive() == b""
    client.close()


def test_a_network_that_fails_to_accept_is_an_error_of_accept() -> None:
    class Failing:
        address = LOOPBACK

        def listen(self, address: object) -> Failing:
            return self

        def accept(self) -> Stream:
            raise ZeroDivisionError("oops")

        def close(self) -> None: ...

    network: Network = Failing()  # type: ignore[assignment]
    listener = StreamTransport("x").listener(NO_ARGS, network).listen(LOOPBACK)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            listener.accept()
    listener.close()


# --- without half-close ---------------------------------------------------------------------------


def test_without_half_close_an_answer_still_arrives() -> None:
    """The end cannot be said; the other direction lasts until it is silent, and both end then."""
    with serving(echo) as server:
        transport = StreamTransport("x", capabilities=Capability.STREAM)
        stream = transport.dialer(NO_ARGS, NETWORK).dial(server)
        assert isinstance(stream, WholeStream)
        assert not stream.half_close
        assert stream.peer == server
        assert stream.local is not None
        assert stream.network is not None
        stream.linger = 1.0
        receiving = Doing(lambda: read_all(stream))
        stream.send(b"ping")
        stream.send_eof()
        stream.send_eof()
        assert receiving.result() == b"ping"
        stream.close()


def test_without_half_close_what_nobody_took_yet_is_waited_for() -> None:
    one, other = connected()
    stream = WholeStream(one, linger=0.1)
    stream.send_eof()
    other.send(b"here")
    other.send(b"and here")
    received = b""
    while len(received) < 12:
        threading.Event().wait(0.3)  # the reader is slow
        received += stream.receive(4)
    assert received == b"hereand here"
    assert stream.receive() == b""
    stream.deadline = None
    assert stream.deadline is None
    stream.close()
    other.close()


def test_without_half_close_the_peer_may_end_first() -> None:
    with serving(answer_at_the_end) as server:
        inner = NETWORK.dial(server)
        inner.send_eof()
        stream = WholeStream(inner)
        stream.send_eof()
        assert read_all(stream) == b"0 octets"
        stream.close()


# --- one inside another ---------------------------------------------------------------------------


def shifting(name: str, by: int) -> StreamTransport:
    """A transport that adds a number to each octet; its server says which."""

    def wrap(stream: Stream, args: Args) -> Stream:
        number = int(args.get("by", by))
        return map_stream(
            stream,
            lambda data: bytes((octet + number) % 256 for octet in data),
            lambda data: bytes((octet - number) % 256 for octet in data),
        )

    return StreamTransport(
        name, client=wrap, server=wrap, publish=lambda options: Args({"by": str(options["by"])})
    )


def test_a_dialer_may_be_called_again_and_a_stream_is_given_once() -> None:
    with serving(echo) as server:
        network = through(NETWORK, dialer=shifting("x", 1).dialer(NO_ARGS, NETWORK))
        assert network.state == NETWORK.state
        for _ in range(2):
            stream = network.dial(server)
            ping(stream)
            stream.close()
        stream = NETWORK.dial(server)
        network = one_shot(NETWORK, stream)
        assert network.dial(Address("no-such-host.invalid", 1)) is stream
        with pytest.raises(OSError, match="in use"):
            network.dial(server)
        stream.close()
        network.listen(LOOPBACK).close()


def test_both_sides_undo_what_the_other_does_to_any_depth() -> None:
    transport: Transport = Nested(
        "three", shifting("a", 0), Nested("two", shifting("b", 0), shifting("c", 0))
    )
    server = transport.listener(Args({"a.by": 1, "two.b.by": 2, "two.c.by": 4}), NETWORK)
    assert server.args == {"a.by": "1", "two.b.by": "2", "two.c.by": "4"}
    listener = server.listen(LOOPBACK)
    stream = transport.dialer(server.args, NETWORK).dial(listener.address)
    accepted = listener.accept()
    stream.send(b"hello")
    assert read_exactly(accepted, 5) == b"hello"
    for each in (stream, accepted, listener):
        each.close()
    with pytest.raises(ValueError, match="one name"):
        Nested("x", shifting("a", 0), shifting("a", 0))


def test_two_transports_carry_what_both_can() -> None:
    whole = StreamTransport("w", capabilities=Capability.STREAM, grant_early=True)
    nested = Nested("n", whole, shifting("a", 0))
    assert nested.capabilities == Capability.STREAM
    assert nested.grant_early
