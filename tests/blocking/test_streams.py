"""Streams of threads: deadlines, closing from elsewhere, handshakes and relays."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ptipc.blocking import (
    MappedStream,
    SocketStream,
    Stream,
    drive,
    map_stream,
    receive_exactly,
    within,
)
from ptipc.core.codecs import Address
from ptipc.core.errors import RemoteProtocolError
from ptipc.core.handshake import Handshake, HandshakeTimeout, Script
from tests.blocking.loopback import Doing, connected, read_all, read_exactly, reset

Pair = tuple[SocketStream, SocketStream]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = connected()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def tight() -> Iterator[Pair]:
    """Two ends of a connection in which there is hardly any room."""
    ends = connected(4096)
    yield ends
    for end in ends:
        end.close()


# --- octets and ends ------------------------------------------------------------------------------


def test_octets_go_both_ways_and_each_direction_ends_by_itself(pair: Pair) -> None:
    one, other = pair
    assert isinstance(one, Stream)
    assert one.half_close
    assert one.peer == other.local
    assert one.local == other.peer
    assert one.network.family == socket.AF_INET
    one.send(b"hello")
    one.send_eof()
    assert read_all(other) == b"hello"
    other.send(b"world")
    other.send_eof()
    assert read_all(one) == b"world"


def test_what_was_received_too_early_comes_first(pair: Pair) -> None:
    one, other = pair
    other.send(b"second")
    one.unreceive(b"first")
    assert one.receive(3) == b"fir"
    assert one.receive() == b"st"
    assert one.receive() == b"second"
    one.unreceive(b"again")
    assert one.take_early() == b"again"
    assert one.take_early() == b""


def test_exactly_as_much_as_is_needed(pair: Pair) -> None:
    one, other = pair
    other.send(b"ab")
    other.send(b"cdef")
    assert receive_exactly(one, 5) == b"abcde"
    other.send_eof()
    with pytest.raises(ConnectionResetError, match="after 1 of 2 octets"):
        receive_exactly(one, 2)


def test_more_than_there_is_room_for_is_sent_as_it_is_taken(tight: Pair) -> None:
    one, other = tight
    data = os.urandom(1_000_000)
    sending = Doing(lambda: one.send(data))
    assert read_exactly(other, len(data)) == data
    sending.result()


def test_a_stream_that_is_not_of_the_network_has_no_addresses() -> None:
    one, other = (SocketStream(end) for end in socket.socketpair())
    assert one.peer is one.local is None
    one.close()
    other.close()
    assert one.peer is None


def test_a_connection_that_broke_is_an_error(pair: Pair) -> None:
    one, other = pair
    reset(other)
    with pytest.raises(ConnectionResetError):
        one.receive()


# --- deadlines ------------------------------------------------------------------------------------


def test_a_call_gives_up_at_the_deadline_and_loses_nothing(pair: Pair) -> None:
    one, other = pair
    with within(one, 0.01), pytest.raises(TimeoutError, match="too long"):
        one.receive()
    other.send(b"late")
    assert one.receive() == b"late"


def test_a_send_gives_up_as_well(tight: Pair) -> None:
    one, _ = tight
    with within(one, 0.01), pytest.raises(TimeoutError):
        one.send(bytes(10_000_000))


def test_a_deadline_is_for_all_calls_together(pair: Pair) -> None:
    """Whoever sends one octet now and then holds nobody up for ever."""
    one, other = pair
    trickling = threading.Event()

    def trickle() -> None:
        while not trickling.wait(0.005):
            other.send(b".")

    def receive() -> None:
        with within(one, 0.1):
            while True:
                one.receive()

    sending = Doing(trickle)
    with pytest.raises(TimeoutError):
        receive()
    trickling.set()
    sending.result()


def test_the_earlier_of_two_deadlines_counts(pair: Pair) -> None:
    one, _ = pair
    with within(one, 1000):
        outer = one.deadline
        assert outer is not None
        with within(one, 2000):
            assert one.deadline == outer
        with within(one, 1):
            assert one.deadline is not None
            assert one.deadline < outer
        with within(one, None):
            assert one.deadline == outer
    assert one.deadline is None


def test_a_deadline_that_is_over_stops_what_would_wait(pair: Pair) -> None:
    one, _ = pair
    one.deadline = time.monotonic() - 1
    with pytest.raises(TimeoutError):
        one.receive()


# --- closing from another thread ------------------------------------------------------------------


def test_closing_wakes_who_receives(pair: Pair) -> None:
    one, _ = pair
    receiving = Doing(one.receive)
    one.close()
    assert receiving.result() == b""
    assert one.receive() == b""
    assert one.closed
    one.close()


def test_closing_wakes_who_sends(tight: Pair) -> None:
    one, _ = tight
    sending = Doing(lambda: one.send(bytes(10_000_000)))
    one.close()
    with pytest.raises(BrokenPipeError):
        sending.result()
    with pytest.raises(BrokenPipeError, match="is closed"):
        one.send(b"more")
    one.send_eof()


def test_the_number_of_a_socket_is_not_given_away_while_it_is_used(pair: Pair) -> None:
    one, _ = pair
    number = one.network.fileno()
    with one.keep_open() as is_open:
        assert is_open
        one.close()
        assert one.network.fileno() == number
        with one.keep_open() as is_open:
            assert not is_open
        assert one.network.fileno() == number
    assert one.network.fileno() == -1
    with one.keep_open() as is_open:
        assert not is_open


def test_many_threads_may_close_at_a_time() -> None:
    for _ in range(50):
        one, other = connected()
        closing = [Doing(one.close) for _ in range(4)]
        receiving = [Doing(one.receive) for _ in range(4)]
        for each in closing + receiving:
            each.result()
        other.close()


def test_connecting_to_nobody_and_after_the_end() -> None:
    one = SocketStream(socket.socket())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            one.connect(nobody.getsockname())
    one.close()
    with pytest.raises(BrokenPipeError):
        one.connect(("127.0.0.1", 1))


# --- mapped streams -------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)


def doubled(data: bytes) -> bytes:
    return bytes(octet for octet in data for _ in range(2))


def test_octets_pass_through_the_functions(pair: Pair) -> None:
    one = map_stream(pair[0], flipped, doubled)
    pair[1].send(b"ab")
    assert read_exactly(one, 3) == b"aab"
    assert one.take_left() == b"b"
    one.send(b"\x00\xff")
    one.send_eof()
    assert read_all(pair[1]) == b"\xff\x00"
    assert (one.peer, one.local, one.network) == (pair[0].peer, pair[0].local, pair[0].network)
    assert one.half_close
    with within(one, 5):
        assert pair[0].deadline == one.deadline is not None
    pair[1].close()
    assert one.receive() == b""
    one.close()
    assert pair[0].closed


def test_functions_may_keep_octets_for_later(pair: Pair) -> None:
    kept: list[bytes] = []

    def keep(data: bytes) -> bytes:
        kept.append(data)
        return b"" if len(kept) % 2 else b"".join(kept[-2:])

    one = MappedStream(pair[0], keep, keep)
    one.send(b"a")
    one.send(b"b")
    assert read_exactly(pair[1], 2) == b"ab"
    pair[1].send(b"c")
    receiving = Doing(one.receive)
    while len(kept) < 3:
        time.sleep(0)
    pair[1].send(b"d")
    assert receiving.result() == b"cd"


# --- handshakes -----------------------------------------------------------------------------------


class Greeting(Handshake):
    """Sends a word, and wants one of three letters."""

    def __init__(self) -> None:
        self.heard = b""
        super().__init__()

    def _run(self) -> Script:
        self._send(b"hey")
        try:
            self.heard = yield from self._reader.exactly(3)
        except RemoteProtocolError:
            self._send(b"sad")
            raise
        if self.heard == b"bad":
            self._send(b"bye")
            raise RemoteProtocolError("a bad word")


def test_a_handshake_is_driven_to_its_end(pair: Pair) -> None:
    one, other = pair
    machine = Greeting()
    other.send(b"yo!and more")
    drive(machine, one, 10)
    assert machine.heard == b"yo!"
    assert one.receive() == b"and more"
    assert read_exactly(other, 3) == b"hey"
    assert one.deadline is None


@pytest.mark.parametrize(
    ("said", "error", "goodbye"),
    [(b"bad", RemoteProtocolError, b"bye"), (b"no", HandshakeTimeout, b"sad")],
)
def test_a_handshake_that_fails_says_goodbye(
    pair: Pair, said: bytes, error: type[Exception], goodbye: bytes
) -> None:
    one, other = pair
    other.send(said)
    with pytest.raises(error):
        drive(Greeting(), one, 0.05 if len(said) < 3 else 10)
    one.close()
    assert read_all(other) == b"hey" + goodbye


def test_a_peer_that_leaves_in_the_middle_is_at_fault(pair: Pair) -> None:
    one, other = pair
    other.send(b"n")
    other.send_eof()
    with pytest.raises(RemoteProtocolError, match="closed the connection"):
        drive(Greeting(), one, 10)


def test_a_handshake_whose_stream_is_closed_ends(pair: Pair) -> None:
    one, _ = pair
    driving = Doing(lambda: drive(Greeting(), one, None))
    one.close()
    with pytest.raises((RemoteProtocolError, OSError)):
        driving.result()


def test_an_ipv6_connection_has_addresses() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        one = SocketStream(socket.create_connection(listener.getsockname()[:2]))
        other = SocketStream(listener.accept()[0])
        assert one.peer == Address("::1", listener.getsockname()[1])
        one.close()
        other.close()
