"""What asyncio and threads have the same of sockets: names, listening, and accidents."""

from __future__ import annotations

import errno
import socket

import pytest

from ptipc.core.codecs import Address
from ptipc.sockets import (
    address_of,
    bound_address,
    concerns_one,
    listening_socket,
    literal,
    look_up,
    send_at_once,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_port_0_becomes_a_port(host: str) -> None:
    with listening_socket(Address(host, 0)) as listener:
        address = bound_address(listener)
        assert address.host == host
        socket.create_connection((host, address.port)).close()


def test_what_cannot_be_listened_at_leaves_nothing() -> None:
    """A name is our caller's mistake; a place that is taken is an error of the system."""
    with pytest.raises(ValueError, match="localhost"):
        listening_socket(Address("localhost", 0))
    with listening_socket(Address("127.0.0.1", 0)) as listener:
        with pytest.raises(OSError, match=r".") as caught:
            listening_socket(bound_address(listener))
        assert caught.value.errno == errno.EADDRINUSE


def test_an_ip_address_need_not_be_looked_up() -> None:
    assert literal(Address("192.0.2.1", 9)) == [(socket.AF_INET, ("192.0.2.1", 9))]
    assert literal(Address("2001:db8::1", 9)) == [(socket.AF_INET6, ("2001:db8::1", 9))]
    assert literal(Address("localhost", 9)) is None
    found = look_up(Address("localhost", 9), socket.SOCK_STREAM)
    assert {place[0] for _, place in found} <= {"127.0.0.1", "::1"}


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(OSError, match="no-such-host") as caught:
        look_up(Address("no-such-host.invalid", 9), socket.SOCK_STREAM)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_what_has_no_port_has_no_address() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert address_of(one.getpeername()) is None
    assert address_of(("2001:db8::1", 9, 0, 0)) == Address("2001:db8::1", 9)


def test_an_accident_of_one_connection_is_told_from_a_lack_of_means() -> None:
    assert concerns_one(ConnectionAbortedError(errno.ECONNABORTED, "gone"))
    assert not concerns_one(OSError(errno.EMFILE, "no more descriptors"))


def test_an_option_that_a_connection_does_not_take_does_no_harm() -> None:
    """On macOS the peer may have gone; here it is one that has no such option."""
    with socket.socket(type=socket.SOCK_DGRAM) as connection:
        send_at_once(connection)
    with socket.socket() as connection:
        send_at_once(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
