"""Whom a transport process in threads serves: applications at a client, the host at a server."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ptipc.blocking import (
    Dialer,
    Network,
    SocketStream,
    Stream,
    StreamTransport,
    drive,
    map_stream,
    relay,
)
from ptipc.blocking.service import Limits
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect
from ptipc.core.escapes import Args
from ptipc.core.extorport import ExtOrPortResponder, serialize_cookie_file
from ptipc.core.launch import launch_config
from ptipc.core.socks import NoAuth, RequestRefused, SocksInitiator, SocksResponder, UserPass
from tests.blocking.loopback import (
    DEADLINE,
    NETWORK,
    Doing,
    Noting,
    Visitors,
    answer_at_the_end,
    connect,
    dispatching,
    echo,
    nobody_listens,
    ping,
    read_all,
    reset,
    serving,
    silence,
    socks,
)

HELLO = StreamTransport("hello", version="1.0")
NOWHERE = Address("192.0.2.1", 9)


# --- the client's side ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "version"), [(PT1, 4), (PT1, 5), (PT2_0, 5), (PT2_2, 5), (PT3_0, 5)], ids=str
)
def test_args_arrive_by_every_version_of_socks(dialect: Dialect, version: int) -> None:
    transport = Noting()
    args = {"cert": "a;b=c\\d", "iat-mode": "0"}
    with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], dialect=dialect) as (_, host),
    ):
        for each in (args, {}):
            stream = connect(host, server, each, version=version)
            ping(stream)
            stream.close()
    assert transport.seen == [args, {}]


def test_older_methods_work_on_the_same_port() -> None:
    transport = Noting()
    with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], dialect=PT2_2) as (_, host),
    ):
        for machine in (SocksInitiator(server, UserPass(), {"k": "v"}), SocksInitiator(server)):
            stream = socks(host, machine)
            ping(stream)
            stream.close()
    assert transport.seen == [{"k": "v"}, {}]


def test_options_apply_to_all_connections_and_their_own_args_go_first() -> None:
    transport = Noting()
    options = {"hello": {"shared": "1", "both": "option"}}
    with (
        serving(echo) as server,
        dispatching(transport, client=["hello"], dialect=PT3_0, options=options) as (_, host),
    ):
        connect(host, server, {"both": "arg", "own": "2"}).close()
    assert dict(transport.seen[0]) == {"shared": "1", "both": "arg", "own": "2"}


def request_for(server: Address) -> bytes:
    return b"\5\1\0\1" + socket.inet_aton(server.host) + struct.pack("!H", server.port)


def test_whatever_a_client_says_early_is_kept() -> None:
    with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        stream = NETWORK.dial(host.address())
        stream.send(b"\5\1\2" + b"\1\3k=v\1\0" + request_for(server) + b"early data")
        stream.send_eof()
        assert read_all(stream) == b"\5\2" + b"\1\0" + b"\5\0\0\1" + bytes(6) + b"early data"
        stream.close()


def test_the_end_of_one_direction_leaves_the_other() -> None:
    with serving(answer_at_the_end) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        stream = connect(host, server)
        stream.send(bytes(1_000_000))
        stream.send_eof()
        assert read_all(stream) == b"1000000 octets"
        stream.close()


def test_a_silent_client_delays_nobody_and_is_sent_away() -> None:
    with (
        serving(echo) as server,
        dispatching(HELLO, client=["hello"], limits=Limits(handshake=1.5)) as (_, host),
    ):
        silent = NETWORK.dial(host.address())
        stream = connect(host, server)
        ping(stream)
        assert read_all(silent) == b""
        ping(stream)  # the deadline is of the handshake only
        stream.close()
        silent.close()


def test_clients_that_hang_up_while_we_connect_are_no_disaster() -> None:
    with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        for _ in range(20):
            stream = NETWORK.dial(host.address())
            stream.send(b"\5\1\0" + request_for(server))
            reset(stream)
        stream = connect(host, server)
        ping(stream)
        stream.close()


def test_two_hundred_connections_at_a_time() -> None:
    with serving(echo) as server, dispatching(HELLO, client=["hello"]) as (_, host):
        dialling = [Doing(lambda: connect(host, server)) for _ in range(200)]
        streams = [each.result() for each in dialling]
        for stream in streams:
            ping(stream)
        for stream in streams:
            stream.close()


def test_of_too_many_connections_the_newcomers_are_turned_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        serving(echo) as server,
        dispatching(HELLO, client=["hello"], limits=Limits(connections=2)) as (_, host),
    ):
        first, second = connect(host, server), connect(host, server)
        with pytest.raises(RequestRefused):
            connect(host, server)
        ping(first)
        ping(second)
        second.close()
        while True:  # until it is noticed that there is room again
            with suppress(RequestRefused):
                third = connect(host, server)
                break
        ping(third)
        first.close()
        third.close()
    assert "there are too many" in caplog.text


def test_every_connection_goes_through_the_upstream_proxy() -> None:
    """And what the proxy answers is what the client hears."""
    visitors = Visitors()

    def proxy(stream: SocketStream) -> None:
        machine = SocksResponder(NoAuth())
        drive(machine, stream, DEADLINE)
        assert machine.target is not None
        if machine.target.ip is None:
            machine.grant()
            drive(machine, stream, DEADLINE)
            relay(stream, NETWORK.dial(server))
        else:
            machine.refuse(3)
            drive(machine, stream, DEADLINE)

    with (
        serving(visitors) as direct,
        serving(echo) as server,
        serving(proxy) as place,
        dispatching(HELLO, client=["hello"], proxy=f"socks5://{place}") as (_, host),
    ):
        stream = connect(host, Address("no-such-host.invalid", 443))
        ping(stream)
        stream.close()
        with pytest.raises(RequestRefused) as caught:
            connect(host, direct)
        assert caught.value.code == 3
    assert visitors.count == 0


REASONS = [
    (Exception("?"), 1),
    (PermissionError(errno.EACCES, "no"), 2),
    (ConnectionRefusedError(errno.ECONNREFUSED, "no"), 5),
    (TimeoutError(), 6),
    (ValueError("bad args"), 0x13),
]


def test_the_reply_tells_why_there_is_no_connection() -> None:
    transport = Noting(*(error for error, _ in REASONS))
    with dispatching(transport, client=["hello"], dialect=PT2_2) as (_, host):
        for _, code in REASONS:
            with pytest.raises(RequestRefused) as caught:
                connect(host, NOWHERE)
            assert caught.value.code == code


def test_the_reply_comes_before_the_connection_if_the_transport_asks_for_it() -> None:
    early = Noting(ConnectionRefusedError(errno.ECONNREFUSED, "no"), grant_early=True)
    with serving(echo) as server, dispatching(early, client=["hello"]) as (_, host):
        stream = connect(host, server)  # granted, and then closed
        assert read_all(stream) == b""
        stream.close()
        stream = connect(host, server)
        ping(stream)
        stream.close()


def test_a_refusal_is_read_even_if_the_client_has_said_too_much() -> None:
    transport = Noting(ConnectionRefusedError(errno.ECONNREFUSED, "no"))
    with dispatching(transport, client=["hello"]) as (_, host):
        stream = NETWORK.dial(host.address())
        stream.send(b"\5\1\0" + request_for(NOWHERE))
        stream.send(bytes(10_000))
        stream.send_eof()
        assert read_all(stream).startswith(b"\5\0\5\5\0\1")
        stream.close()


class Talking(StreamTransport):
    """A transport whose dialer waits for its server to say something."""

    def dialer(self, args: Args, network: Network) -> Dialer:
        class Waiting:
            def dial(self, target: Address) -> Stream:
                stream = network.dial(target)
                try:
                    stream.receive()
                except BaseException:
                    stream.close()
                    raise
                return stream

        return Waiting()


def test_a_transport_that_does_not_connect_in_time_is_given_up() -> None:
    """Whatever it waits for on the network; the author need not think of it."""
    with (
        serving(silence) as server,
        dispatching(Talking("hello"), client=["hello"], limits=Limits(dial=0.05)) as (_, host),
    ):
        with pytest.raises(RequestRefused) as caught:
            connect(host, server)
        assert caught.value.code == 6


def test_a_transport_that_is_connecting_is_given_up_with_everything_else() -> None:
    visitors = Visitors()
    with (
        serving(visitors) as server,
        dispatching(Talking("hello"), client=["hello"]) as (dispatcher, host),
    ):
        stream = NETWORK.dial(host.address())
        stream.send(b"\5\1\0" + request_for(server))
        assert visitors.came.wait(DEADLINE)
        dispatcher.stop(now=True)
        read_all(stream)
        stream.close()


def test_one_place_is_for_one_transport(caplog: pytest.LogCaptureFixture) -> None:
    place = nobody_listens()
    with dispatching(
        HELLO, StreamTransport("other"), client=["hello", "other"], dialect=PT2_2, listen=place
    ) as (_, host):
        assert host.address("hello") == place
        assert "is taken by 'hello'" in host.session.errors["other"]
    with dispatching(HELLO, client=["hello"], dialect=PT2_2, listen="0.0.0.0:0"):
        assert "open to everybody" in caplog.text


def test_transparent_connections_go_to_the_server() -> None:
    with serving(echo) as server:
        settings: dict[str, Any] = {"mode": Mode.TRANSPARENT_TCP, "client": ["hello"]}
        options = {"hello": {"serverAddress": str(server)}}
        with dispatching(HELLO, dialect=PT3_0, options=options, **settings) as (_, host):
            stream = NETWORK.dial(host.address())
            ping(stream)
            stream.close()
        with dispatching(HELLO, dialect=PT3_0, **settings) as (_, host):
            assert "option serverAddress" in host.session.errors["hello"]
        options = {"hello": {"serverAddress": str(nobody_listens())}}
        with dispatching(HELLO, dialect=PT3_0, options=options, **settings) as (_, host):
            stream = NETWORK.dial(host.address())
            assert read_all(stream) == b""
            stream.close()


# --- the server's side ----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [PT1, PT2_0, PT2_2, PT3_0], ids=str)
def test_a_client_reaches_the_host(dialect: Dialect) -> None:
    with (
        serving(echo) as target,
        dispatching(HELLO, server={"hello": "127.0.0.1:0"}, target=target, dialect=dialect) as (
            _,
            host,
        ),
    ):
        stream = NETWORK.dial(host.address())
        ping(stream)
        stream.close()


def test_a_client_of_a_host_that_is_gone_is_sent_away() -> None:
    with dispatching(HELLO, server=["hello"], target=nobody_listens()) as (_, host):
        stream = NETWORK.dial(host.address())
        assert read_all(stream) == b""
        stream.close()


class ExtendedPort:
    """A host that wants to know who its clients are, and decides whom it wants."""

    def __init__(self, cookie_file: Path, *, deny: bool = False) -> None:
        self.cookie_file = cookie_file
        self.deny = deny
        self.clients: list[tuple[Address | None, str | None]] = []
        self.new_cookie()

    def new_cookie(self) -> None:
        self.cookie = os.urandom(32)
        self.cookie_file.write_bytes(serialize_cookie_file(self.cookie))

    def current(self) -> bytes:
        """The cookie to prove."""
        return self.cookie

    def __call__(self, stream: SocketStream) -> None:
        machine = ExtOrPortResponder(self.current, os.urandom(32))
        drive(machine, stream, DEADLINE)
        self.clients.append((machine.client_address, machine.transport))
        if self.deny:
            machine.deny()
        else:
            machine.accept()
        drive(machine, stream, DEADLINE)
        if not self.deny:
            echo(stream)


def test_the_host_hears_who_comes_and_by_what(tmp_path: Path) -> None:
    """With a cookie that is read for each connection (tor bug 15240)."""
    extended = ExtendedPort(tmp_path / "cookie")
    with (
        serving(extended) as port,
        dispatching(
            HELLO, server=["hello"], extended_port=port, auth_cookie=str(extended.cookie_file)
        ) as (_, host),
    ):
        for _ in range(2):
            extended.new_cookie()
            stream = NETWORK.dial(host.address())
            ping(stream)
            assert extended.clients[-1] == (stream.local, "hello")
            stream.close()


class Changing(ExtendedPort):
    """A host that has a new cookie whenever somebody has just read the old one, twice."""

    changes = 2

    def current(self) -> bytes:
        if self.changes:
            self.changes -= 1
            self.new_cookie()
        return self.cookie


def test_a_cookie_that_changes_meanwhile_is_read_again(tmp_path: Path) -> None:
    extended = Changing(tmp_path / "cookie")
    with (
        serving(extended) as port,
        dispatching(
            HELLO, server=["hello"], extended_port=port, auth_cookie=str(extended.cookie_file)
        ) as (_, host),
    ):
        stream = NETWORK.dial(host.address())
        ping(stream)
        assert extended.clients == [(stream.local, "hello")]
        stream.close()
    assert extended.changes == 0


def test_who_is_not_wanted_is_sent_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    extended = ExtendedPort(tmp_path / "cookie", deny=True)
    with (
        serving(extended) as port,
        dispatching(
            HELLO, server=["hello"], extended_port=port, auth_cookie=str(extended.cookie_file)
        ) as (_, host),
    ):
        stream = NETWORK.dial(host.address())
        assert read_all(stream) == b""
        stream.close()
    assert "hello: a connection broke: the host wants no traffic from this client" in caplog.text


def test_a_silent_extended_port_has_a_deadline_and_one_without_a_cookie_is_of_no_use(
    tmp_path: Path,
) -> None:
    extended = ExtendedPort(tmp_path / "cookie")
    with serving(silence) as port:
        with dispatching(
            HELLO,
            server=["hello"],
            extended_port=port,
            auth_cookie=str(extended.cookie_file),
            limits=Limits(handshake=0.02),
        ) as (_, host):
            stream = NETWORK.dial(host.address())
            assert read_all(stream) == b""
            stream.close()
        config = launch_config(server=["hello"], extended_port=port)
        with dispatching(HELLO, config=config) as (_, host):
            assert "neither a target nor" in host.session.errors["hello"]


def test_the_transport_changes_what_goes_through_on_both_sides() -> None:
    """A client and a server of a transport, from end to end."""

    def flipped(data: bytes) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)

    def flip(stream: Stream, args: Args) -> Stream:
        return map_stream(stream, flipped, flipped)

    transport = StreamTransport("flip", client=flip, server=flip)
    with (
        serving(echo) as target,
        dispatching(transport, server=["flip"], target=target) as (_, there),
        dispatching(transport, client=["flip"]) as (_, here),
    ):
        stream = connect(here, there.address("flip"), name="flip")
        ping(stream)
        stream.send_eof()
        assert read_all(stream) == b""
        stream.close()
