"""Accepting: handshakes side by side, each in its time, and nobody waits for another."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ptipc.blocking import SocketStream
from ptipc.blocking.accepting import serve_handshakes
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.handshake import Handshake, Script
from ptipc.sockets import bound_address, listening_socket
from tests.blocking.loopback import LOOPBACK, NETWORK, Doing, read_all, read_exactly, reset


class Knock(Handshake):
    """Wants "knock", says "come in"; to anything else "go away"."""

    def _run(self) -> Script:
        try:
            word = yield from self._reader.exactly(5)
        except RemoteProtocolError:
            self._send(b"go away")
            raise
        if word != b"knock":
            self._send(b"go away")
            raise RemoteProtocolError(f"not knock: {word!r}")
        self._send(b"come in")


@contextmanager
def door(
    make: Callable[[], Handshake] = Knock,
    ready: Callable[[SocketStream, Handshake], object] | None = None,
    timeout: float | None = 20.0,
    **options: Any,
) -> Iterator[tuple[Address, queue.SimpleQueue[SocketStream]]]:
    """A place where one can knock, and those who may come in."""
    listener = listening_socket(LOOPBACK)
    address = bound_address(listener)
    guests: queue.SimpleQueue[SocketStream] = queue.SimpleQueue()
    taken: list[SocketStream] = []

    def take(stream: SocketStream, machine: Handshake) -> None:
        taken.append(stream)
        guests.put(stream)

    serving = serve_handshakes(listener, make, ready or take, timeout, **options)
    try:
        yield address, guests
    finally:
        serving.close()
        serving.close()
        for stream in taken:
            stream.close()


def knock(address: Address) -> SocketStream:
    stream = NETWORK.dial(address)
    stream.send(b"knock")
    assert read_exactly(stream, 7) == b"come in"
    return stream


def test_who_is_ready_is_handed_over_with_what_came_early() -> None:
    with door() as (address, guests):
        stream = NETWORK.dial(address)
        stream.send(b"knockand more")
        assert guests.get(timeout=20).receive() == b"and more"
        stream.close()


def test_the_silent_do_not_keep_others_waiting() -> None:
    with door() as (address, guests):
        silent = [NETWORK.dial(address) for _ in range(20)]
        knock(address).close()
        guests.get(timeout=20)
        for stream in silent:
            stream.close()


def test_many_come_side_by_side() -> None:
    with door() as (address, guests):
        knocking = [Doing(lambda: knock(address)) for _ in range(50)]
        for each in knocking:
            each.result().close()
        for _ in knocking:
            guests.get(timeout=20)


def test_a_silent_client_is_told_when_its_time_is_over() -> None:
    with door(timeout=0.05) as (address, _):
        stream = NETWORK.dial(address)
        stream.send(b"kno")
        assert read_all(stream) == b"go away"
        stream.close()


@pytest.mark.parametrize("words", [b"knack", b"knack and much more", bytes(200_000)])
def test_a_failed_handshake_ends_with_a_goodbye(words: bytes) -> None:
    with door() as (address, _):
        stream = NETWORK.dial(address)
        # With hardly any room, so that not all of it is on its way before the goodbye is.
        stream.network.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        stream.send(words)
        assert read_all(stream) == b"go away"
        stream.close()


def test_a_client_that_breaks_in_the_middle_is_forgotten() -> None:
    with door() as (address, _):
        for leave in (reset, SocketStream.close):
            stream = NETWORK.dial(address)
            stream.send(b"kno")
            leave(stream)
        knock(address).close()


def test_of_too_many_half_open_handshakes_the_oldest_goes() -> None:
    with door(half_open=3) as (address, _):
        silent = [NETWORK.dial(address) for _ in range(5)]
        for stream in silent[:2]:
            assert read_all(stream) == b""
        last = knock(address)  # which is one too many again
        assert read_all(silent[2]) == b""
        for stream in (*silent, last):
            stream.close()


def test_those_under_way_are_given_up_in_the_end() -> None:
    with door(timeout=None) as (address, _):
        silent = NETWORK.dial(address)
        knock(address).close()
    assert read_all(silent) == b""
    silent.close()


def test_whoever_is_ready_may_take_their_time() -> None:
    """The thread is theirs, and closing does not end it."""
    going_on, gone = threading.Event(), threading.Event()

    def stay(stream: SocketStream, machine: Handshake) -> None:
        going_on.set()
        stream.receive()
        stream.close()
        gone.set()

    with door(ready=stay, half_open=1) as (address, _):
        guest = knock(address)
        assert going_on.wait(20)
        silent = NETWORK.dial(address)
    assert not gone.is_set()
    guest.close()
    assert gone.wait(20)
    silent.close()


def test_a_fault_of_ours_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """A machine that cannot be made, one that is at fault, and a stream that is not taken over."""
    machines = iter([LocalProtocolError("no machine"), ZeroDivisionError("a bug")])

    def make() -> Handshake:
        for error in machines:
            raise error
        return Knock()

    times = iter([True])

    def fail_once(stream: SocketStream, machine: Handshake) -> None:
        if next(times, False):
            raise ZeroDivisionError("another bug")
        stream.close()

    with door(make, fail_once) as (address, _):
        for _ in range(2):
            stream = NETWORK.dial(address)
            assert read_all(stream) == b""
            stream.close()
        for _ in range(2):
            stream = knock(address)
            assert read_all(stream) == b""
            stream.close()
    assert caplog.text.count("by our own fault") == 2
    assert "could not be taken over" in caplog.text
