"""The network of threads: proxies that nothing gets past, deadlines, and listeners that survive."""

from __future__ import annotations

import errno
import os
import resource
import socket
import time

import pytest

from ptipc.blocking import SocketStream, Stream, SystemNetwork, drive, relay
from ptipc.blocking.network import Scope, SocketListener, places
from ptipc.core.codecs import PROXY, Address
from ptipc.core.config import Config
from ptipc.core.dialects import PT1, Role
from ptipc.core.errors import PtipcError
from ptipc.core.httpconnect import HttpConnectResponder
from ptipc.core.socks import Credentials, NoAuth, SocksResponder, TargetRefused
from ptipc.osdep import State
from ptipc.sockets import listening_socket
from tests.blocking.loopback import (
    DEADLINE,
    LOOPBACK,
    NETWORK,
    Doing,
    Visitors,
    connected,
    echo,
    nobody_listens,
    ping,
    serving,
    silence,
)

NAME = Address("no-such-host.invalid", 443)
UNREACHABLE = Address("192.0.2.1", 9)


# --- the upstream proxy ---------------------------------------------------------------------------


class UpstreamProxy:
    """A proxy that connects to one server, whatever it is asked for."""

    def __init__(self, scheme: str, server: Address) -> None:
        self._scheme = scheme
        self._server = server
        self.targets: list[Address | None] = []

    def __call__(self, stream: SocketStream) -> None:
        machine: SocksResponder | HttpConnectResponder
        if self._scheme == "http":
            machine = HttpConnectResponder()
        else:
            machine = SocksResponder(Credentials("user", "word"))
        drive(machine, stream, None)
        self.targets.append(machine.target)
        machine.grant()
        drive(machine, stream, None)
        relay(stream, NETWORK.dial(self._server))


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_every_name_goes_to_the_proxy(scheme: str) -> None:
    with serving(echo) as server:
        proxy = UpstreamProxy(scheme, server)
        with serving(proxy) as place:
            network = SystemNetwork(proxy=PROXY.parse(f"{scheme}://user:word@{place}"))
            stream = network.dial(NAME)
            ping(stream)
            assert stream.deadline is None
            stream.close()
    assert proxy.targets == [NAME]


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5"])
def test_a_proxy_that_says_no_is_not_passed_by(scheme: str) -> None:
    """Nothing reaches the target by another way, whether the proxy hangs up or is gone."""

    def hang_up(stream: SocketStream) -> None:
        stream.receive()

    visitors = Visitors()
    with serving(visitors) as target, serving(hang_up) as gone:
        for place in (gone, nobody_listens()):
            network = SystemNetwork(proxy=PROXY.parse(f"{scheme}://{place}"))
            with pytest.raises((OSError, PtipcError)):
                network.dial(target)
    assert visitors.count == 0


def test_the_refusal_of_a_proxy_is_ours_to_hand_on() -> None:
    def refuse(stream: SocketStream) -> None:
        machine = SocksResponder(NoAuth())
        drive(machine, stream, None)
        machine.refuse(5)
        drive(machine, stream, None)
        stream.send_eof()

    with serving(refuse) as place:
        network = SystemNetwork(proxy=PROXY.parse(f"socks5://{place}"))
        with pytest.raises(TargetRefused):
            network.dial(NAME)


def test_a_silent_proxy_has_a_deadline() -> None:
    with serving(silence) as place:
        network = SystemNetwork(proxy=PROXY.parse(f"socks5://{place}"), timeout=0.02)
        with pytest.raises(TimeoutError):
            network.dial(NAME)


# --- dialling -------------------------------------------------------------------------------------


def test_a_name_is_looked_up_and_each_address_tried() -> None:
    """localhost may be ::1 first, where nobody listens."""
    with serving(echo) as server:
        stream = SystemNetwork().dial(Address("localhost", server.port))
        assert stream.peer == server
        stream.close()
    assert places(Address("::1", 1), None) == [(socket.AF_INET6, ("::1", 1))]


def test_an_unknown_name_is_unreachable() -> None:
    with pytest.raises(OSError, match="no-such-host") as caught:
        NETWORK.dial(NAME)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_a_look_up_has_a_deadline() -> None:
    with pytest.raises(TimeoutError):
        places(Address("localhost", 1), time.monotonic() - 1)


def test_a_refused_connection_says_so() -> None:
    with pytest.raises(ConnectionRefusedError):
        NETWORK.dial(nobody_listens())


@pytest.fixture
def full() -> Address:
    """A place that accepts nobody, so that connecting to it takes for ever."""
    return _full_place()


def _full_place() -> Address:
    # The tests close it with the last of those who wait.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = Address(*listener.getsockname())
    _waiting.append(listener)
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((address.host, address.port))
        _waiting.append(client)
    return address


_waiting: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _nobody_waits_any_more() -> object:
    yield
    while _waiting:
        _waiting.pop().close()


def test_connecting_has_a_deadline(full: Address) -> None:
    with pytest.raises(TimeoutError):
        SystemNetwork(timeout=0.02).dial(full)


def test_connecting_can_be_given_up(full: Address) -> None:
    scope = Scope()
    dialling = Doing(lambda: scope.dial(SystemNetwork(timeout=None).dial, full, DEADLINE))
    while dialling.thread.is_alive():
        scope.close()
    with pytest.raises(OSError, match=r"."):
        dialling.result()


def test_outbound_addresses_are_for_everything_but_loopback() -> None:
    network = SystemNetwork(outbound_v4="192.0.2.1", outbound_v6="2001:db8::1")
    assert network.source_for("198.51.100.7") == "192.0.2.1"
    assert network.source_for("2001:db8::7") == "2001:db8::1"
    assert network.source_for("127.0.0.1") is None
    with pytest.raises(OSError, match=r".") as caught:
        network.dial(Address("198.51.100.7", 9))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_network_is_what_the_configuration_says() -> None:
    config = Config(
        dialect=PT1,
        role=Role.CLIENT,
        transports=("x",),
        proxy=PROXY.parse("socks5://127.0.0.1:1080"),
        outbound_v4="192.0.2.1",
        state="/var/lib/x",
    )
    network = SystemNetwork.of(config)
    assert (network.proxy, network.outbound_v4) == (config.proxy, "192.0.2.1")
    assert network.state == State("/var/lib/x")


# --- scopes ---------------------------------------------------------------------------------------


def test_a_scope_closes_what_it_holds_and_what_comes_too_late() -> None:
    scope = Scope()
    one, other = connected()
    scope.hold(one)
    receiving = Doing(one.receive)
    scope.close()
    assert receiving.result() == b""
    with pytest.raises(OSError, match="was to be closed"):
        scope.hold(other)
    assert other.closed


def test_whoever_dials_for_a_scope_has_a_deadline() -> None:
    """For the handshake as well, and only until the stream is there."""
    scope = Scope()

    def shake_hands(target: Address) -> Stream:
        stream = NETWORK.dial(target)
        with pytest.raises(TimeoutError):
            stream.receive()
        return stream

    with serving(silence) as server:
        before = NETWORK.dial(server)
        scope.hold(before)
        stream = scope.dial(shake_hands, server, 0.5)
        assert before.deadline is None
        assert stream.deadline is None
        scope.close()
        assert before.closed
        assert stream.receive() == b""


def test_what_was_connected_on_the_way_is_its_owners_afterwards() -> None:
    """A connection that others share goes on when the first who needed it is through."""
    scope = Scope()
    shared: list[Stream] = []

    def share(target: Address) -> Stream:
        shared.append(NETWORK.dial(target))
        return NETWORK.dial(target)

    with serving(echo) as server:
        stream = scope.dial(share, server, DEADLINE)
        scope.close()
        assert stream.receive() == b""
        ping(shared[0])
        shared[0].close()


def test_what_comes_out_of_a_dialer_too_late_is_closed() -> None:
    scope = Scope()

    def be_late(target: Address) -> Stream:
        stream = NETWORK.dial(target)
        scope.close()
        assert stream.receive() == b""
        return stream

    with serving(silence) as server:
        with pytest.raises(OSError, match="was to be closed"):
            scope.dial(be_late, server, DEADLINE)
        with pytest.raises(OSError, match="was to be closed"):
            scope.dial(NETWORK.dial, server, DEADLINE)


# --- listening ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_port_0_becomes_a_port(host: str) -> None:
    listener = NETWORK.listen(Address(host, 0))
    assert listener.address.host == host
    stream = NETWORK.dial(listener.address)
    accepted = listener.accept()
    assert accepted.peer == stream.local
    for each in (stream, accepted, listener):
        each.close()


def test_accept_ends_in_every_thread_when_the_listener_is_closed() -> None:
    listener = NETWORK.listen(LOOPBACK)
    accepting = [Doing(listener.accept) for _ in range(3)]
    listener.close()
    listener.close()
    for each in accepting:
        with pytest.raises(OSError, match="is closed"):
            each.result()
    with pytest.raises(OSError, match="is closed"):
        listener.accept()


def test_a_listener_of_somebody_else_is_served_as_well() -> None:
    listener = SocketListener(listening_socket(LOOPBACK))
    accepting = Doing(listener.accept)
    stream = NETWORK.dial(listener.address)
    accepting.result().close()
    stream.close()
    listener.close()


def test_a_lack_of_descriptors_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    listener = NETWORK.listen(LOOPBACK)
    client = NETWORK.dial(listener.address)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    try:
        accepting = Doing(listener.accept)
        while "no more connections for now" not in caplog.text:
            time.sleep(0.001)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    accepted = accepting.result()
    for each in (client, accepted, listener):
        each.close()


@pytest.mark.parametrize("way", ["poll", "select"])
def test_waiting_works_as_on_windows(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no poll, and nothing wakes who waits for a socket that is closed."""
    if way == "select":
        monkeypatch.delattr("select.poll")
        monkeypatch.setattr("ptipc.blocking.streams._GLANCE", 0.01)
    with serving(echo) as server:
        stream = NETWORK.dial(server)
        ping(stream)
        receiving = Doing(stream.receive)
        stream.close()
        assert receiving.result() == b""
        with pytest.raises(ConnectionRefusedError):
            NETWORK.dial(nobody_listens())
