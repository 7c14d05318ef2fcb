"""Dialers of transports that nobody here has started, and one led through another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ptipc.blocking import (
    Dialer,
    SocketStream,
    Stream,
    StreamTransport,
    attach,
    chain,
    drive,
    in_process,
    launch,
    map_stream,
    relay,
)
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0, Dialect
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import Args
from ptipc.core.socks import SocksResponder
from tests.aio.hosting import program
from tests.blocking.loopback import (
    DEADLINE,
    NETWORK,
    dispatching,
    echo,
    nobody_listens,
    ping,
    serving,
)

HELLO = Address("192.0.2.7", 443)


def xor(data: bytes) -> bytes:
    return bytes(octet ^ 0xAA for octet in data)


def disguise(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, xor, xor)


XOR = StreamTransport("xor", client=disguise, server=disguise)


def echoes(dialer: Dialer, target: Address) -> None:
    stream = dialer.dial(target)
    ping(stream)
    stream.close()


def running(heard: list[Args], dialect: Dialect = PT1) -> Callable[[SocketStream], None]:
    """A transport that runs already: it connects, and keeps the args."""

    def serve(stream: SocketStream) -> None:
        machine = SocksResponder.for_dialect(dialect)
        drive(machine, stream, DEADLINE)
        assert machine.target is not None
        heard.append(machine.args)
        remote = NETWORK.dial(machine.target)
        machine.grant()
        drive(machine, stream, DEADLINE)
        relay(stream, remote)

    return serve


@pytest.mark.parametrize("prefix", ["", "socks5://", "SOCKS5H://", "socks4://", "socks4a://"])
def test_a_running_transport_is_dialled_by_its_address(prefix: str) -> None:
    heard: list[Args] = []
    with serving(echo) as target, serving(running(heard)) as address:
        echoes(attach(f"{prefix}{address}", {"k": "v"}), target)
    assert heard == [Args({"k": "v"})]


def test_args_go_the_way_of_the_edition() -> None:
    heard: list[Args] = []
    with serving(echo) as target, serving(running(heard, PT2_0)) as address:
        echoes(attach(address, dialect=PT2_0).given({"k": "v"}), target)
    assert heard == [Args({"k": "v"})]


def test_in_a_transparent_mode_there_is_nothing_to_say() -> None:
    with serving(echo) as address:
        dialer = attach(f"transparent-TCP://{address}")
        stream = dialer.dial()
        ping(stream)
        stream.close()
        with pytest.raises(LocalProtocolError, match="at its start"):
            dialer.dial(HELLO)
        with pytest.raises(LocalProtocolError, match="at its start"):
            dialer.given({"k": "v"}).dial()
        with pytest.raises(LocalProtocolError, match="in datagrams"):
            attach(f"transparent-UDP://{address}").dial()


@pytest.mark.parametrize("place", ["192.0.2.1:9", "ftp://127.0.0.1:9", "127.0.0.1"])
def test_a_place_that_cannot_be_used_is_our_callers_fault(place: str) -> None:
    with pytest.raises(LocalProtocolError):
        attach(place)
    attach("192.0.2.1:9", allow_remote=True)


def test_what_is_wrong_with_a_port_is_said_with_its_name() -> None:
    with pytest.raises(ConnectionRefusedError, match="port of obfs4 at 127"):
        attach(nobody_listens(), transport="obfs4").dial(HELLO)
    with (
        serving(echo) as address,
        pytest.raises(RemoteProtocolError, match=r"port of obfs4 at 127.*not offered"),
    ):
        attach(address, transport="obfs4").dial(HELLO)


def test_its_args_are_judged_at_once() -> None:
    def check(args: Args) -> None:
        if "cert" not in args:
            raise ValueError("no cert")

    transport = StreamTransport("strict", check=check)
    with pytest.raises(ValueError, match="no cert"):
        in_process(transport)
    dialer = in_process(transport, {"cert": "x"})
    with pytest.raises(ValueError, match="no cert"):
        dialer.given({})


def test_one_leads_through_another() -> None:
    """A disguise led through a process and through a running transport."""
    heard: list[Args] = []
    with (
        serving(echo) as target,
        dispatching(XOR, server=["xor"], target=target) as (_, host),
        launch(program("honest"), client=["one"]) as process,
        serving(running(heard)) as place,
    ):
        server = host.address("xor")
        echoes(in_process(XOR), server)
        near = process.dialer("one", {"who": "near"})
        far = attach(place, {"who": "far"})
        echoes(chain(near), target)
        echoes(chain(near, in_process(XOR)), server)
        echoes(chain(near, far, in_process(XOR)), server)
        with pytest.raises(LocalProtocolError, match="no socket"):
            attach(place).over(Disguised()).dial_socket(target)
    assert heard == [Args({"who": "far"}), Args()]


class Disguised:
    """A dialer that does not give sockets."""

    def dial(self, target: Address) -> Stream:
        return map_stream(NETWORK.dial(target), bytes, bytes)
