"""Relays in threads: by the kernel and by hand, to the end and to a bad end."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from ptipc.blocking import SocketStream, Stream, map_stream, relay
from tests.blocking.loopback import Doing, connected, read_all, read_exactly, reset


def flipped(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)


class Relayed:
    """Two connections with a relay between them: what ``near`` says, ``far`` hears."""

    def __init__(self, map_near: Any = None, map_far: Any = None, buffer: int | None = None):
        self.near, self.one = connected(buffer)
        self.far, self.other = connected(buffer)
        one = map_near(self.one) if map_near else self.one
        other = map_far(self.other) if map_far else self.other
        self.doing = Doing(lambda: relay(one, other))

    def end(self) -> None:
        for stream in (self.near, self.far, self.one, self.other):
            stream.close()


def flipping(stream: Stream) -> Stream:
    return map_stream(stream, flipped, flipped)


WAYS = {"plain": (None, None), "mapped": (flipping, None), "both mapped": (flipping, flipping)}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def relayed(request: pytest.FixtureRequest) -> Iterator[Relayed]:
    found = Relayed(*request.param)
    yield found
    found.end()


def test_a_relay_hands_on_octets_and_ends(relayed: Relayed) -> None:
    same = read_through(relayed, b"question")
    assert same in (b"question", flipped(b"question"))
    relayed.near.send_eof()
    assert relayed.far.receive() == b""
    relayed.far.send(b"answer")
    assert read_exactly(relayed.near, 6) in (b"answer", flipped(b"answer"))
    relayed.far.send_eof()
    assert relayed.near.receive() == b""
    assert relayed.doing.result() is None
    assert relayed.one.closed
    assert relayed.other.closed


def read_through(relayed: Relayed, data: bytes) -> bytes:
    relayed.near.send(data)
    return read_exactly(relayed.far, len(data))


def pour(relayed: Relayed, size: int) -> None:
    """Send a lot in both directions at a time, and see that all of it arrives."""
    piece = os.urandom(1 << 16)

    def send(stream: SocketStream) -> None:
        for _ in range(size >> 16):
            stream.send(piece)
        stream.send_eof()

    def receive(stream: SocketStream) -> bytes:
        digest = hashlib.sha256()
        while data := stream.receive():
            digest.update(data)
        return digest.digest()

    sending = [Doing(lambda end=end: send(end)) for end in (relayed.near, relayed.far)]  # type: ignore[misc]
    receiving = [Doing(lambda end=end: receive(end)) for end in (relayed.near, relayed.far)]  # type: ignore[misc]
    for each in sending:
        each.result()
    whole = hashlib.sha256(piece * (size >> 16)).digest()
    assert [each.result() for each in receiving] == [whole, whole]
    assert relayed.doing.result() is None


def test_a_lot_goes_through_the_kernel() -> None:
    relayed = Relayed()
    pour(relayed, 64 << 20)
    relayed.end()


def test_a_lot_goes_through_the_functions_of_a_transport() -> None:
    def same(stream: Stream) -> Stream:
        return map_stream(stream, bytes, bytes)

    relayed = Relayed(same, same)
    pour(relayed, 16 << 20)
    relayed.end()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_where_the_kernel_cannot_splice_octets_are_copied(
    number: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it says so in the middle, with octets in the pipe."""
    splice = os.splice
    calls = 0

    def refuse(*args: Any, **flags: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(number, "no splice")
        return splice(*args, **flags)

    monkeypatch.setattr(os, "splice", refuse)
    relayed = Relayed()
    pour(relayed, 8 << 20)
    relayed.end()
    assert calls > after


def test_without_splice_octets_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "splice")
    relayed = Relayed()
    pour(relayed, 8 << 20)
    relayed.end()


def test_without_a_pipe_octets_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptipc.pipes.LENT", 0)
    relayed = Relayed()
    pour(relayed, 8 << 20)
    relayed.end()


def test_a_slow_reader_holds_up_the_writer_and_loses_nothing() -> None:
    relayed = Relayed(buffer=4096)
    data = os.urandom(4 << 20)
    sending = Doing(lambda: relayed.near.send(data))
    received = b""
    while len(received) < len(data):
        received += relayed.far.receive(1 << 14)
    sending.result()
    assert received == data
    relayed.near.close()
    relayed.far.close()
    relayed.doing.result()
    relayed.end()


def test_a_broken_connection_ends_both_directions() -> None:
    for end in ("near", "far"):
        relayed = Relayed()
        assert read_through(relayed, b"x") == b"x"
        reset(getattr(relayed, end))
        with pytest.raises(ConnectionResetError):
            relayed.doing.result()
        assert relayed.one.closed
        assert relayed.other.closed
        relayed.end()


def test_what_a_function_raises_ends_the_relay() -> None:
    def broken(data: bytes) -> bytes:
        raise ZeroDivisionError("a bug")

    relayed = Relayed(lambda stream: map_stream(stream, broken, broken))
    relayed.near.send(b"x")
    with pytest.raises(ZeroDivisionError):
        relayed.doing.result()
    assert read_all(relayed.far) == b""
    relayed.end()


@pytest.mark.parametrize("busy", [False, True])
def test_closing_a_stream_ends_the_relay_in_both_threads(busy: bool) -> None:
    """Whether they wait for octets, or for somebody to take them."""
    relayed = Relayed()
    assert read_through(relayed, b"x") == b"x"
    sending = Doing(lambda: relayed.near.send(bytes(50_000_000)) if busy else None)
    if busy:
        read_exactly(relayed.far, 1 << 20)
    relayed.one.close()
    relayed.other.close()
    # What was on its way may be an error to those who were busy with it.
    with suppress(OSError) if busy else nullcontext():
        relayed.doing.result()
    relayed.end()
    with suppress(OSError) if busy else nullcontext():
        sending.result()


def test_the_peer_of_a_unix_socket_is_relayed_too() -> None:
    inside, outside = (SocketStream(end) for end in socket.socketpair())
    near, one = connected()
    doing = Doing(lambda: relay(one, inside))
    near.send(b"hello")
    near.send_eof()
    assert read_all(outside) == b"hello"
    outside.close()
    doing.result()
    near.close()
