"""The Extended ORPort: what JSON cannot say; the exchanges are in spec-fixtures/wire."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError, Refused, RemoteProtocolError
from ptipc.core.extorport import (
    Denied,
    ExtOrPortInitiator,
    ExtOrPortResponder,
    parse_cookie_file,
    serialize_cookie_file,
)
from ptipc.core.handshake import Handshake
from ptipc.testing import strategies

COOKIE = b"the cookie of 32 octets is this."
NONCE = b"0123456789abcdef0123456789abcdef"
OTHER = bytes(32)
CLIENT = Address("192.0.2.7", 49152)

DONE = b"\0\0\0\0"
OKAY = b"\x10\0\0\0"

secrets = st.binary(min_size=32, max_size=32)


def command(code: int, body: bytes) -> bytes:
    return code.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def initiator(cookie: bytes = COOKIE) -> ExtOrPortInitiator:
    return ExtOrPortInitiator(cookie, NONCE, transport="obfs4", client_address=CLIENT)


def pass_on(source: Handshake, sink: Handshake, size: int = 1 << 16) -> None:
    data = source.data_to_send()
    for at in range(0, len(data), size):
        sink.receive_data(data[at : at + size])


def converse(ours: Handshake, theirs: Handshake, size: int = 1 << 16) -> None:
    """Let two ends talk until both have said all."""
    for _ in range(4):
        pass_on(theirs, ours, size)
        pass_on(ours, theirs, size)


def believed() -> ExtOrPortResponder:
    """A host that has just believed the transport, as after the client's hash."""
    ours, theirs = initiator(), ExtOrPortResponder(COOKIE, OTHER)
    for _ in range(2):
        pass_on(theirs, ours)
        pass_on(ours, theirs)
    assert theirs.data_to_send() == b"\1"
    return theirs


# --- the cookie file ------------------------------------------------------------------------------


@given(secrets)
def test_a_cookie_survives_its_file(cookie: bytes) -> None:
    assert parse_cookie_file(serialize_cookie_file(cookie)) == cookie


@given(st.data())
def test_a_damaged_cookie_file_is_a_value_error(data: st.DataObject) -> None:
    file = serialize_cookie_file(COOKIE)
    at = data.draw(st.integers(0, len(file) - 1))
    end = data.draw(st.integers(at + 1, len(file)))
    for damaged in (file[:at] + file[end:], file + file[at:end]):
        with pytest.raises(ValueError, match="not a cookie file"):
            parse_cookie_file(damaged)


def test_a_cookie_of_another_size_is_not_written() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        serialize_cookie_file(COOKIE[1:])


# --- both ends ------------------------------------------------------------------------------------


@given(
    cookie=secrets,
    nonces=st.tuples(secrets, secrets),
    transport=strategies.names(),
    client=st.none() | strategies.listeners(),
    accept=st.booleans(),
    size=st.integers(1, 300),
)
def test_what_the_transport_says_is_what_the_host_hears(
    cookie: bytes,
    nonces: tuple[bytes, bytes],
    transport: str,
    client: Address | None,
    accept: bool,
    size: int,
) -> None:
    ours = ExtOrPortInitiator(cookie, nonces[0], transport=transport, client_address=client)
    theirs = ExtOrPortResponder(cookie, nonces[1])
    converse(ours, theirs, size)
    assert theirs.transport == transport
    heard = theirs.client_address
    if client is None or client.ip is None or not client.host.startswith("::ffff:"):
        assert heard == client
    assert not ours.done
    assert not theirs.done
    assert theirs.bytes_needed == 0
    if accept:
        theirs.accept()
        pass_on(theirs, ours, size)
        assert ours.done
    else:
        theirs.deny()
        with pytest.raises(Denied):
            pass_on(theirs, ours, size)
        assert not ours.done
    assert theirs.done
    assert theirs.accepted is accept


def test_a_cookie_that_changes_is_chosen_when_it_has_to_be_proved() -> None:
    """Then, and not when the connection was made, a transport reads it, or has read it just now."""
    changing = [OTHER]
    ours, theirs = initiator(), ExtOrPortResponder(lambda: changing[-1], OTHER)
    pass_on(theirs, ours)
    changing.append(COOKIE)
    pass_on(ours, theirs)
    changing.append(OTHER)
    converse(ours, theirs)
    assert theirs.transport == "obfs4"


def test_a_function_for_the_cookie_is_asked_for_a_whole_one() -> None:
    theirs = ExtOrPortResponder(lambda: COOKIE[1:], OTHER)
    with pytest.raises(LocalProtocolError, match="a cookie has 32 octets, not 31"):
        theirs.receive_data(b"\1" + NONCE)


def test_neither_end_believes_another_cookie() -> None:
    """The initiator finds out first, and says nothing that a false host could use."""
    ours, theirs = initiator(), ExtOrPortResponder(OTHER, NONCE)
    pass_on(theirs, ours)
    pass_on(ours, theirs)
    with pytest.raises(RemoteProtocolError, match="does not know the cookie"):
        pass_on(theirs, ours)
    assert ours.data_to_send() == b""
    with pytest.raises(RemoteProtocolError, match="does not know the cookie"):
        theirs.receive_data(bytes(32))
    assert theirs.data_to_send() == b"\0"


@given(octets=st.binary(max_size=300), flips=st.lists(st.integers(0, 2000), max_size=3))
def test_damaged_octets_raise_documented_errors_only(octets: bytes, flips: list[int]) -> None:
    """Whatever a peer sends, after an orderly beginning or at once."""
    theirs = ExtOrPortResponder(COOKIE, NONCE)
    ours = initiator()
    said = bytearray(theirs.data_to_send())
    ours.receive_data(bytes(said))
    answer = bytearray(ours.data_to_send() + octets)
    for flip in flips:
        answer[flip // 8 % len(answer)] ^= 1 << flip % 8
    with contextlib.suppress(RemoteProtocolError):
        theirs.receive_data(answer)
    with contextlib.suppress(RemoteProtocolError, Refused):
        ours.receive_data(theirs.data_to_send() + octets)
    assert not ours.done


def test_an_address_mapped_into_ipv6_is_told_as_ipv4() -> None:
    """As goptlib tells it (real-programs.md 34), so that the host counts the client rightly."""
    ours = ExtOrPortInitiator(
        COOKIE, NONCE, transport="obfs4", client_address=Address("::ffff:192.0.2.7", 49152)
    )
    theirs = ExtOrPortResponder(COOKIE, OTHER)
    converse(ours, theirs)
    assert theirs.client_address == CLIENT


def test_the_scope_of_a_client_stays_here() -> None:
    ours = ExtOrPortInitiator(
        COOKIE, NONCE, transport="obfs4", client_address=Address("fe80::7%eth0", 49152)
    )
    theirs = ExtOrPortResponder(COOKIE, OTHER)
    converse(ours, theirs)
    assert theirs.client_address == Address("fe80::7", 49152)


# --- the transport's end --------------------------------------------------------------------------


def test_data_right_behind_okay_is_the_clients() -> None:
    ours, theirs = initiator(), ExtOrPortResponder(COOKIE, OTHER)
    converse(ours, theirs)
    ours.receive_data(b"\x10\x02\0\1x" + b"\x77\x77\0\0" + OKAY + b"early")
    assert ours.done
    assert ours.trailing_data == b"early"


def test_a_host_that_offers_no_known_type_is_told_so() -> None:
    ours = initiator()
    with pytest.raises(RemoteProtocolError, match="no SAFE_COOKIE"):
        ours.receive_data(b"\x02\x07\0")
    assert ours.data_to_send() == b"\0"


@pytest.mark.parametrize(
    ("status", "kind"), [(0, Refused), (2, RemoteProtocolError), (255, RemoteProtocolError)]
)
def test_no_other_status_than_1_is_a_success(status: int, kind: type[Exception]) -> None:
    ours, theirs = initiator(), ExtOrPortResponder(COOKIE, OTHER)
    pass_on(theirs, ours)
    pass_on(ours, theirs)
    pass_on(theirs, ours)
    ours.data_to_send()
    with pytest.raises(kind):
        ours.receive_data(bytes([status]))
    assert ours.data_to_send() == b""


def test_denial_has_its_code() -> None:
    ours, theirs = initiator(), ExtOrPortResponder(COOKIE, OTHER)
    converse(ours, theirs)
    theirs.deny()
    with pytest.raises(Denied) as raised:
        pass_on(theirs, ours)
    assert raised.value.code == 0x1001


@pytest.mark.parametrize(
    "client",
    [
        Address("client.example", 1),
        Address("192.0.2.7", 0),
        Address("192.0.2.7", 65536),
        Address("192.0.2.7\0", 1),
    ],
)
def test_an_address_that_tor_would_not_take_is_our_callers_fault(client: Address) -> None:
    with pytest.raises(LocalProtocolError):
        ExtOrPortInitiator(COOKIE, NONCE, transport="obfs4", client_address=client)


@pytest.mark.parametrize("name", ["", "foo-bar", "obfs4\0", "obfs\u00e9", "x" * 65536])
def test_a_name_that_no_command_can_hold_is_our_callers_fault(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        ExtOrPortInitiator(COOKIE, NONCE, transport=name)


def test_the_longest_name_can_be_told() -> None:
    ours = ExtOrPortInitiator(COOKIE, NONCE, transport="x" * 65535)
    theirs = ExtOrPortResponder(COOKIE, OTHER)
    converse(ours, theirs)
    assert theirs.transport == "x" * 65535


# --- the host's end -------------------------------------------------------------------------------


def test_early_data_is_kept() -> None:
    """What follows DONE at once is the client's, before the decision and after it."""
    theirs = believed()
    theirs.receive_data(command(3, b"?") + command(0, b"body") + b"early ")
    assert theirs.trailing_data == b""
    theirs.receive_data(b"data ")
    theirs.accept()
    theirs.receive_data(b"and more")
    assert theirs.data_to_send() == OKAY
    assert theirs.trailing_data == b"early data and more"


def test_nothing_is_known_of_a_client_of_whom_nothing_was_said() -> None:
    theirs = believed()
    theirs.receive_data(DONE)
    assert theirs.client_address is None
    assert theirs.transport is None
    assert theirs.accepted is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"192.0.2.7", Address("192.0.2.7", 0)),
        (b"[2001:db8::7]", Address("2001:db8::7", 0)),
        (b"2001:db8::7:80", Address("2001:db8::7:80", 0)),
        (b"2001:db8::7:49152", Address("2001:db8::7", 49152)),
    ],
)
def test_addresses_are_read_as_tor_reads_them(text: bytes, address: Address) -> None:
    theirs = believed()
    theirs.receive_data(command(1, text) + DONE)
    assert theirs.client_address == address


@pytest.mark.parametrize(
    "said",
    [
        command(1, b""),
        command(1, b"192.0.2.7:0"),
        command(1, b"[fe80::1%eth0]:1"),
        command(1, b"\xff"),
        command(2, b"foo-bar"),
    ],
)
def test_a_command_that_does_not_parse_is_the_transports_fault(said: bytes) -> None:
    theirs = believed()
    with pytest.raises(RemoteProtocolError, match="does not parse"):
        theirs.receive_data(said)
    with pytest.raises(RemoteProtocolError, match="does not parse"):
        theirs.receive_data(DONE)
    with pytest.raises(RemoteProtocolError, match="does not parse"):
        theirs.accept()
    assert theirs.accepted is None


@pytest.mark.parametrize("chosen", [0, 2])
def test_a_type_that_was_not_offered_is_the_transports_fault(chosen: int) -> None:
    theirs = ExtOrPortResponder(COOKIE, NONCE)
    with pytest.raises(RemoteProtocolError, match="not offered"):
        theirs.receive_data(bytes([chosen]))


def test_a_decision_has_its_time() -> None:
    """Not before DONE, and not twice."""
    theirs = believed()
    with pytest.raises(LocalProtocolError):
        theirs.accept()
    assert theirs.accepted is None
    theirs.receive_data(DONE)
    theirs.deny()
    with pytest.raises(LocalProtocolError):
        theirs.accept()
    assert theirs.accepted is False
    assert theirs.data_to_send() == b"\x10\1\0\0"


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cookie", "nonce"), [(COOKIE[1:], NONCE), (COOKIE, NONCE + b"0")])
def test_secrets_of_another_size_are_our_callers_fault(cookie: bytes, nonce: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="has 32 octets"):
        ExtOrPortInitiator(cookie, nonce, transport="obfs4")
    with pytest.raises(LocalProtocolError, match="has 32 octets"):
        ExtOrPortResponder(cookie, nonce)


@pytest.mark.parametrize("machine", [initiator(), ExtOrPortResponder(COOKIE, NONCE)])
def test_secrets_are_not_shown(machine: Handshake) -> None:
    for secret in (COOKIE, NONCE):
        assert secret.decode() not in repr(machine)
        assert secret.hex() not in repr(machine)
