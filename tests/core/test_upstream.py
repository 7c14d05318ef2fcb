from __future__ import annotations

import pytest

from ptipc.core.codecs import PROXY, Address, UpstreamProxy
from ptipc.core.errors import LocalProtocolError
from ptipc.core.httpconnect import HttpConnectInitiator, HttpConnectResponder
from ptipc.core.socks import Credentials, NoAuth, SocksInitiator, SocksResponder
from ptipc.core.transports import Capability
from ptipc.core.upstream import proxy_problem, source_address, upstream_handshake

SOMEWHERE = Address("192.0.2.7", 443)
NAME = Address("bridge.example", 443)
SECRET = "s3cret"


@pytest.mark.parametrize(
    ("uri", "target", "first"),
    [
        ("socks5://192.0.2.1:9", SOMEWHERE, "05 01 00"),
        ("socks5://me:pw@192.0.2.1:9", SOMEWHERE, "05 02 02 00"),
        ("socks4://192.0.2.1:9", SOMEWHERE, "04 01 01 bb c0 00 02 07 00"),
        ("socks4a://192.0.2.1:9", SOMEWHERE, "04 01 01 bb c0 00 02 07 00"),
        ("socks4a://me@192.0.2.1:9", SOMEWHERE, "04 01 01 bb c0 00 02 07 6d 65 00"),
        ("socks4a://me:@192.0.2.1:9", SOMEWHERE, "04 01 01 bb c0 00 02 07 6d 65 00"),
    ],
)
def test_what_each_kind_of_socks_proxy_hears_first(uri: str, target: Address, first: str) -> None:
    machine = upstream_handshake(PROXY.parse(uri), target)
    assert isinstance(machine, SocksInitiator)
    assert machine.data_to_send().hex(" ") == first


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_both_names_of_socks4_can_say_a_host_name(scheme: str) -> None:
    machine = upstream_handshake(UpstreamProxy(scheme, SOMEWHERE), NAME)
    ours = SocksResponder(versions=(4,))
    ours.receive_data(machine.data_to_send())
    assert ours.target == NAME


@pytest.mark.parametrize(
    ("user", "password", "heard"),
    [
        ("me", SECRET, ("me", SECRET)),
        ("me", None, ("me", "")),
        ("me", "", ("me", "")),
        ("", SECRET, ("", SECRET)),
        (None, SECRET, ("", SECRET)),
        ("\udcff:@", "ü", ("\udcff:@", "ü")),
    ],
)
def test_a_socks5_proxy_hears_the_credentials_as_they_are(
    user: str | None, password: str | None, heard: tuple[str, str]
) -> None:
    theirs = upstream_handshake(UpstreamProxy("socks5", SOMEWHERE, user, password), NAME)
    ours = SocksResponder(Credentials(*heard), versions=(5,))
    for _ in range(3):
        ours.receive_data(theirs.data_to_send())
        theirs.receive_data(ours.data_to_send())
    assert ours.target == NAME


def test_a_socks5_proxy_may_do_without_the_credentials() -> None:
    theirs = upstream_handshake(UpstreamProxy("socks5", SOMEWHERE, "me", SECRET), NAME)
    ours = SocksResponder(NoAuth())
    for _ in range(2):
        ours.receive_data(theirs.data_to_send())
        theirs.receive_data(ours.data_to_send())
    assert ours.target == NAME


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("me", SECRET), ("me", None), ("", "")]
)
def test_an_http_proxy_hears_the_credentials(user: str | None, password: str | None) -> None:
    machine = upstream_handshake(UpstreamProxy("http", SOMEWHERE, user, password), NAME)
    assert isinstance(machine, HttpConnectInitiator)
    ours = HttpConnectResponder()
    ours.receive_data(machine.data_to_send())
    assert ours.target == NAME
    assert ours.user == user
    assert ours.password == (password if user is None else password or "")


@pytest.mark.parametrize(
    ("proxy", "target", "complaint"),
    [
        (UpstreamProxy("socks5", SOMEWHERE, "me", SECRET * 50), NAME, "password of 300 octets"),
        (UpstreamProxy("socks5", SOMEWHERE, SECRET * 50, "x"), NAME, "user name of 300 octets"),
        (UpstreamProxy("socks4a", SOMEWHERE, "me", SECRET), NAME, "no place for a password"),
        (UpstreamProxy("socks4a", SOMEWHERE), Address("::1", 1), "IPv6"),
        (UpstreamProxy("http", SOMEWHERE, "a:b", SECRET), NAME, "colon"),
        (UpstreamProxy("https", SOMEWHERE, "me", SECRET), NAME, "type of proxy"),
    ],
)
def test_what_a_proxy_cannot_be_told_is_our_callers_fault(
    proxy: UpstreamProxy, target: Address, complaint: str
) -> None:
    """The password is not shown, nor is a user name that is too long to be one."""
    with pytest.raises(LocalProtocolError, match=complaint) as raised:
        upstream_handshake(proxy, target)
    assert SECRET not in str(raised.value)


class Carrying:
    """A transport, as far as what it carries is concerned."""

    def __init__(self, capabilities: Capability) -> None:
        self.capabilities = capabilities


STREAMS, DATAGRAMS = Carrying(Capability.STREAM), Carrying(Capability.DATAGRAM)


@pytest.mark.parametrize(
    ("proxy", "transports", "problem"),
    [
        (UpstreamProxy("socks5", SOMEWHERE), [], None),
        (UpstreamProxy("socks5", SOMEWHERE), [DATAGRAMS, STREAMS], None),
        (UpstreamProxy("socks5", SOMEWHERE), [DATAGRAMS], "no transport connects by streams"),
        (UpstreamProxy("http", SOMEWHERE, "a:b"), [STREAMS], "colon"),
    ],
)
def test_who_can_use_a_proxy_is_known_before_anybody_connects(
    proxy: UpstreamProxy, transports: list[Carrying], problem: str | None
) -> None:
    found = proxy_problem(proxy, transports)
    assert found is None if problem is None else problem in (found or "")


def test_source_addresses_are_for_everything_but_loopback() -> None:
    """PT 1, 3.2.1: one for each family."""
    assert source_address("198.51.100.7", "192.0.2.1", None) == "192.0.2.1"
    assert source_address("2001:db8::7", "192.0.2.1", "2001:db8::1") == "2001:db8::1"
    for loopback in ("127.0.0.1", "::1"):
        assert source_address(loopback, "192.0.2.1", "2001:db8::1") is None
