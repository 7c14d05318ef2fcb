"""The port of a client's transport: what can be asked of it, and what its answers mean."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, Protocol
from ptipc.core.dialects import PT1, PT2_2, Dialect
from ptipc.core.errors import LocalProtocolError, PtipcError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import HandshakeTimeout
from ptipc.core.launch import ProcessEnded
from ptipc.core.ports import HungUp, Port, has_broken, receive_eof, route
from ptipc.core.socks import (
    NoAuth,
    RequestRefused,
    SocksInitiator,
    SocksResponder,
    TargetRefused,
)

HERE = Address("127.0.0.1", 9001)
TARGET = Address("192.0.2.7", 443)
ARGS = Args({"cert": "s3cret"})
SOCKS = (Protocol.SOCKS4, Protocol.SOCKS5)
DATAGRAMS = (Protocol.TRANSPARENT_UDP, Protocol.STUN)


def port(protocol: Protocol = Protocol.SOCKS5, **settings: Any) -> Port:
    """The port of a transport by the name of obfs4."""
    return Port(
        **{
            "transport": "obfs4",
            "protocol": protocol,
            "address": HERE,
            "dialect": PT1,
            **settings,
        }
    )


class LooksElsewhere(PtipcError, OSError):
    """An error of a dialer of our own, which is the operating system's as well."""


# --- what is asked of it --------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "version"), [(Protocol.SOCKS4, 4), (Protocol.SOCKS5, 5)])
def test_the_version_of_socks_is_that_of_the_line(protocol: Protocol, version: int) -> None:
    theirs = port(protocol).handshake(TARGET, ARGS)
    assert isinstance(theirs, SocksInitiator)
    ours = SocksResponder.for_dialect(PT1)
    while data := theirs.data_to_send():
        ours.receive_data(data)
        theirs.receive_data(ours.data_to_send())
    assert (ours.version, ours.target, ours.args) == (version, TARGET, ARGS)


@pytest.mark.parametrize(("dialect", "method"), [(PT1, 0x02), (PT2_2, 0x09)])
def test_args_are_sent_the_way_of_the_edition(dialect: Dialect, method: int) -> None:
    """As a user name and password in the one, and in a block of their own in the other (C47)."""
    machine = port(dialect=dialect).handshake(TARGET, ARGS)
    assert machine is not None
    assert machine.data_to_send() == bytes((5, 1, method))


@pytest.mark.parametrize("protocol", SOCKS)
def test_who_speaks_socks_needs_a_target(protocol: Protocol) -> None:
    with pytest.raises(LocalProtocolError, match="no target to dial"):
        port(protocol).handshake(None, ARGS)


def test_a_transparent_port_has_no_handshake() -> None:
    assert port(Protocol.TRANSPARENT_TCP).handshake(None, NO_ARGS) is None


@pytest.mark.parametrize("protocol", DATAGRAMS)
def test_a_port_for_datagrams_takes_no_streams(protocol: Protocol) -> None:
    port(protocol).check_datagrams(None, NO_ARGS)
    with pytest.raises(LocalProtocolError, match="obfs4 is spoken to in datagrams, not in streams"):
        port(protocol).handshake(None, NO_ARGS)


@pytest.mark.parametrize("protocol", [*SOCKS, Protocol.TRANSPARENT_TCP])
def test_a_port_for_streams_takes_no_datagrams(protocol: Protocol) -> None:
    with pytest.raises(LocalProtocolError, match="obfs4 is spoken to in streams, not in datagrams"):
        port(protocol).check_datagrams(None, NO_ARGS)


@pytest.mark.parametrize(("target", "args"), [(TARGET, NO_ARGS), (None, ARGS), (TARGET, ARGS)])
def test_without_a_handshake_neither_target_nor_args_can_be_said(
    target: Address | None, args: Args
) -> None:
    with pytest.raises(LocalProtocolError, match="neither target nor args") as raised:
        port(Protocol.TRANSPARENT_TCP).handshake(target, args)
    assert "s3cret" not in str(raised.value)
    with pytest.raises(LocalProtocolError, match="neither target nor args"):
        port(Protocol.STUN).check_datagrams(target, args)


# --- what its answers mean ------------------------------------------------------------------------


def test_an_end_is_told_in_the_words_of_the_process() -> None:
    error = port().end("exit 2")
    assert type(error) is ProcessEnded
    assert str(error) == "the process of obfs4 ended with exit 2"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (OSError("all attempts failed"), "all attempts failed"),
    ],
)
def test_an_error_of_the_system_says_of_which_port_and_stays_what_it_is(
    error: OSError, reason: str
) -> None:
    unreachable = port().unreachable(error)
    broken = port().explained(error, TARGET)
    assert isinstance(broken, OSError)
    assert type(unreachable) is type(broken) is type(error)
    assert unreachable.errno == broken.errno == error.errno
    where = f"obfs4 at 127.0.0.1:9001{{}}: {reason}"
    assert str(unreachable.strerror or unreachable).startswith(
        "cannot reach the port of " + where.format("")
    )
    assert (broken.strerror or str(broken)) == "the connection to " + where.format(" broke")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError("no answer within 5 seconds"), "no answer within 5 seconds"),
        (TimeoutError(), "it took too long"),
        (ConnectionResetError(), "the other end has reset it"),
        (ConnectionRefusedError(), "nobody listens there"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_without_a_number_has_none_and_always_a_reason(
    error: OSError, reason: str
) -> None:
    """Such errors come of asyncio's time limit, and of what others use as a dialer."""
    for told in (port().unreachable(error), port().explained(error, TARGET)):
        assert isinstance(told, OSError)
        assert type(told) is type(error)
        assert told.errno is None
        assert f": {reason}" in str(told)
        assert "Errno" not in str(told)


def test_who_finds_nobody_at_a_port_is_told_what_to_look_at() -> None:
    refused = port().unreachable(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    assert "is it running, and is that its port?" in str(refused)
    unreachable = port().unreachable(OSError(errno.ENETUNREACH, "Network is unreachable"))
    assert "?" not in str(unreachable)


def test_an_error_of_a_dialer_of_ours_is_clear_already() -> None:
    error = LooksElsewhere("nobody there")
    assert port().unreachable(error) is error
    assert port().explained(error, TARGET) is error


def test_a_mistake_of_our_callers_is_clear_already() -> None:
    error = LocalProtocolError("no")
    assert port().explained(error, TARGET) is error


@pytest.mark.parametrize(
    ("said", "meanwhile"),
    [
        ([], ""),
        (["no route"], "; meanwhile it said 'no route'"),
        (["a", "b\n"], "; meanwhile it said 'a', 'b\\n'"),
    ],
)
def test_a_refusal_tells_who_refused_what_and_said_meanwhile(
    said: list[str], meanwhile: str
) -> None:
    error = port(said=lambda: iter(said)).explained(TargetRefused("refused", 5), TARGET)
    assert isinstance(error, TargetRefused)
    assert (error.code, error.errno) == (5, errno.ECONNREFUSED)
    assert str(error) == f"obfs4 cannot connect to 192.0.2.7:443: refused{meanwhile}"


def test_of_what_was_said_meanwhile_only_the_beginning_is_repeated() -> None:
    error = port(said=lambda: ["x" * 60_000]).explained(RequestRefused("no", 1), TARGET)
    assert str(error).endswith("xxx... (59,500 more characters)'")


def test_a_process_that_cannot_be_heard_has_said_nothing() -> None:
    error = port().explained(RequestRefused("no", 1), TARGET)
    assert str(error) == "obfs4 cannot connect to 192.0.2.7:443: no"


@pytest.mark.parametrize("kind", [RemoteProtocolError, HandshakeTimeout, HungUp])
def test_a_broken_rule_says_of_which_port_and_stays_what_it_is(
    kind: type[RemoteProtocolError],
) -> None:
    error = port().explained(kind("not SOCKS"), TARGET)
    assert type(error) is kind
    assert str(error) == "the port of obfs4 at 127.0.0.1:9001: not SOCKS"


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (ConnectionResetError(), True),
        (HungUp("gone"), True),
        (TargetRefused("refused", 5), False),
        (RemoteProtocolError("not SOCKS"), False),
        (LocalProtocolError("no"), False),
    ],
)
def test_a_connection_has_broken_unless_the_peer_has_answered(
    error: Exception, broken: bool
) -> None:
    assert has_broken(error) is broken


def test_a_peer_that_leaves_within_a_handshake_has_hung_up() -> None:
    with pytest.raises(HungUp, match="closed the connection during the handshake") as raised:
        receive_eof(SocksInitiator(TARGET))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_peer_that_leaves_after_a_handshake_has_not_hung_up() -> None:
    theirs = SocksInitiator(TARGET)
    ours = SocksResponder(NoAuth())
    while data := theirs.data_to_send():
        ours.receive_data(data)
        theirs.receive_data(ours.data_to_send())
    ours.grant()
    theirs.receive_data(ours.data_to_send())
    receive_eof(theirs)
    assert theirs.done


# --- the way there --------------------------------------------------------------------------------


def test_the_name_of_a_transport_goes_with_target_and_args() -> None:
    assert route("obfs4", TARGET, {"cert": "s3cret"}) == ("obfs4", TARGET, ARGS)
    assert route("obfs4", None) == ("obfs4", None, NO_ARGS)
    assert isinstance(route("obfs4", None, {"k": "v"})[2], Args)


def test_a_bridge_line_has_it_all() -> None:
    line = BridgeLine.parse("obfs4 192.0.2.7:443 cert=s3cret")
    assert route(line, None) == ("obfs4", TARGET, ARGS)


@pytest.mark.parametrize(
    ("line", "target", "args", "text"),
    [
        ("obfs4 192.0.2.7:443", TARGET, NO_ARGS, "of its own"),
        ("obfs4 192.0.2.7:443", None, ARGS, "of its own"),
        ("192.0.2.7:443", None, NO_ARGS, "without a transport"),
    ],
)
def test_a_bridge_line_goes_alone_and_through_a_transport(
    line: str, target: Address | None, args: Args, text: str
) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        route(BridgeLine.parse(line), target, args)
