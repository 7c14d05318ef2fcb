"""The proxies of each kind let through whom they should, and write down what was asked."""

from __future__ import annotations

import socket

import pytest

from ptipc.core.codecs import Address, UpstreamProxy
from ptipc.core.errors import PtipcError
from ptipc.core.upstream import upstream_handshake
from ptipc.testing.clients import drive
from ptipc.testing.proxies import Kind, Proxy
from tests.testing.programs import echo_server

KINDS: list[Kind] = ["http", "socks4a", "socks5"]


def through(place: UpstreamProxy, target: Address) -> bytes:
    """What comes back from an echo server behind a proxy."""
    with socket.create_connection((place.address.host, place.address.port), 10) as stream:
        drive(upstream_handshake(place, target), stream)
        stream.sendall(b"hello")
        stream.shutdown(socket.SHUT_WR)
        with stream.makefile("rb") as back:
            return back.read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "bridge.example"])
def test_everybody_is_let_through_and_written_down(kind: Kind, host: str) -> None:
    """A name is at home, lest a test depends on DNS."""
    with echo_server() as target, Proxy(kind) as proxy:
        assert through(proxy.place, Address(host, target.port)) == b"hello"
        assert proxy.asked == [Address(host, target.port)]
        (passage,) = proxy.passages
        assert (passage.user, passage.octets) == (None, 10)
        assert passage.port > 0


@pytest.mark.parametrize("kind", KINDS)
def test_only_one_user_is_let_through(kind: Kind) -> None:
    password = None if kind == "socks4a" else "p:%s"
    with echo_server() as target, Proxy(kind, "us/er@x", password) as proxy:
        assert through(proxy.place, target) == b"hello"
        (passage,) = proxy.passages
        assert (passage.user, passage.password) == ("us/er@x", password)
        somebody = UpstreamProxy(kind, proxy.place.address, "somebody", password)
        with pytest.raises((PtipcError, OSError)):
            through(somebody, target)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_let_through(kind: Kind) -> None:
    with echo_server() as target, Proxy(kind, refuse=True) as proxy:
        with pytest.raises(PtipcError):
            through(proxy.place, target)
        assert proxy.asked == [target]
        assert proxy.passages[0].port == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_not_there(kind: Kind) -> None:
    with echo_server() as target:
        pass
    with Proxy(kind) as proxy, pytest.raises(PtipcError):
        through(proxy.place, target)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_request_is_no_passage(kind: Kind) -> None:
    with Proxy(kind) as proxy:
        address = proxy.place.address
        with socket.create_connection((address.host, address.port), 10) as stream:
            stream.sendall(b"what is this?\r\n\r\n" + bytes(20))
            stream.shutdown(socket.SHUT_WR)
            with stream.makefile("rb") as back:
                back.read()
        assert [passage.port for passage in proxy.passages] in ([], [0])


def test_a_password_does_not_show() -> None:
    with echo_server() as target, Proxy("socks5", "me", "hush") as proxy:
        through(proxy.place, target)
        assert "hush" not in repr(proxy.passages)
