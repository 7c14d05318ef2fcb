from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.httpconnect import HttpConnectInitiator, HttpConnectResponder
from ptipc.core.socksreplies import (
    RequestForbidden,
    RequestRefused,
    TargetTimedOut,
    TargetUnreachable,
)

SOMEWHERE = Address("192.0.2.7", 443)
SECRET = "s3cret"
OCTETS = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
HOSTS = st.ip_addresses(v=4).map(str) | st.sampled_from(["::1", "2001:db8::7", "example.com"])


@given(HOSTS, st.integers(0, 65535), OCTETS.filter(lambda user: ":" not in user), OCTETS)
def test_the_ends_agree_on_target_and_credentials(
    host: str, port: int, user: str, password: str
) -> None:
    """Names and passwords arrive octet for octet, colons in a password too."""
    theirs = HttpConnectInitiator(Address(host, port), user, password)
    ours = HttpConnectResponder()
    ours.receive_data(theirs.data_to_send() + b"early")
    assert (ours.target, ours.user, ours.password) == (Address(host, port), user, password)
    assert ours.bytes_needed == 0
    ours.grant()
    theirs.receive_data(ours.data_to_send() + b"too")
    assert (theirs.done, theirs.status, theirs.trailing_data) == (True, 200, b"too")
    assert (ours.done, ours.granted, ours.trailing_data) == (True, True, b"early")


@given(st.binary(max_size=80))
def test_damaged_input_is_the_peers_fault(data: bytes) -> None:
    for machine in (HttpConnectInitiator(SOMEWHERE), HttpConnectResponder()):
        with suppress(RemoteProtocolError, RequestRefused):
            machine.receive_data(b"HTTP/1.1 " + data)
            machine.receive_data(b"\r\n\r\n")


@given(st.integers(0, 60), st.binary(min_size=1, max_size=2))
def test_a_damaged_answer_is_the_peers_fault(at: int, noise: bytes) -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: x\r\n\r\n"
    machine = HttpConnectInitiator(SOMEWHERE)
    with suppress(RemoteProtocolError, RequestRefused):
        machine.receive_data(answer[:at] + noise + answer[at + len(noise) :])


# --- the end that asks ----------------------------------------------------------------------------


def answered(answer: str, user: str | None = None, password: str | None = None) -> RequestRefused:
    """The refusal that an answer is."""
    machine = HttpConnectInitiator(SOMEWHERE, user, password)
    with pytest.raises(RequestRefused) as raised:
        machine.receive_data(answer.encode("latin-1") + b"\r\n\r\n")
    assert raised.value is machine.error
    return raised.value


@pytest.mark.parametrize(
    ("status", "kind", "builtin"),
    [
        (403, RequestForbidden, PermissionError),
        (407, RequestForbidden, PermissionError),
        (502, TargetUnreachable, OSError),
        (503, TargetUnreachable, OSError),
        (504, TargetTimedOut, TimeoutError),
        (500, RequestRefused, OSError),
        (101, RequestRefused, OSError),
    ],
)
def test_a_status_is_the_error_that_fits(
    status: int, kind: type[RequestRefused], builtin: type[OSError]
) -> None:
    error = answered(f"HTTP/1.1 {status} Words")
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.code == status
    assert f"{status} Words" in str(error)


def test_credentials_that_are_missing_are_told_from_those_that_are_wrong() -> None:
    assert "wants a user name" in str(answered("HTTP/1.1 407 No"))
    error = answered("HTTP/1.1 407 No", "me", SECRET)
    assert "did not take our user name" in str(error)
    assert SECRET not in str(error)


def test_the_words_of_a_refusal_are_made_visible() -> None:
    assert "'599 a\\\\x1bb\\\\xe9'" in str(answered("HTTP/1.1 599 a\x1bb\xe9"))
    assert str(answered("HTTP/1.1 599")).endswith("'599'")


@pytest.mark.parametrize(
    ("target", "user", "password", "complaint"),
    [
        (Address("a b", 1), None, None, "host name"),
        (Address("a\r\nX", 1), None, None, "host name"),
        (Address("192.0.2.7", 65536), None, None, "port"),
        (Address("fe80::1%eth0", 1), None, None, "scope"),
        (SOMEWHERE, "a:b", SECRET, "colon"),
        (SOMEWHERE, "\ud800", SECRET, "Unicode"),
        (SOMEWHERE, "me", SECRET + "\ud800", "Unicode"),
    ],
)
def test_what_cannot_be_said_is_our_callers_fault(
    target: Address, user: str | None, password: str | None, complaint: str
) -> None:
    with pytest.raises(LocalProtocolError, match=complaint) as raised:
        HttpConnectInitiator(target, user, password)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/2 200 OK\r\n\r\n"])
def test_an_answer_that_is_not_http_is_shown(answer: bytes) -> None:
    machine = HttpConnectInitiator(SOMEWHERE)
    with pytest.raises(RemoteProtocolError, match=answer[:5].decode()):
        machine.receive_data(answer)


def test_interim_answers_come_before_the_final_one() -> None:
    machine = HttpConnectInitiator(SOMEWHERE)
    machine.receive_data(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert machine.status is None
    assert machine.bytes_needed > 0
    machine.receive_data(b"HTTP/1.1 200 OK\r\n\r\n")
    assert machine.status == 200


def test_a_password_without_a_name_is_sent_all_the_same() -> None:
    machine = HttpConnectInitiator(SOMEWHERE, None, "x")
    assert b"\r\nProxy-Authorization: Basic Ong=\r\n" in machine.data_to_send()


def test_the_answer_has_a_limit() -> None:
    machine = HttpConnectInitiator(SOMEWHERE)
    with pytest.raises(RemoteProtocolError, match="16384"):
        machine.receive_data(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000)


# --- the end that is asked ------------------------------------------------------------------------


def asked() -> HttpConnectResponder:
    machine = HttpConnectResponder()
    machine.receive_data(b"CONNECT 192.0.2.7:443 HTTP/1.1\r\n\r\n")
    return machine


def test_nothing_is_decided_before_it_is_asked_or_twice() -> None:
    machine = HttpConnectResponder()
    for decide in (machine.grant, lambda: machine.refuse(403)):
        with pytest.raises(LocalProtocolError, match="not waiting"):
            decide()
    machine = asked()
    machine.refuse(403)
    with pytest.raises(LocalProtocolError, match="not waiting"):
        machine.grant()
    assert machine.done
    assert not machine.granted


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_refusal_needs_a_status_that_refuses(status: int) -> None:
    machine = asked()
    with pytest.raises(LocalProtocolError, match=str(status)):
        machine.refuse(status)
    machine.refuse(502)
    assert machine.data_to_send().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


def test_a_refusal_for_want_of_credentials_is_understood() -> None:
    theirs, ours = HttpConnectInitiator(SOMEWHERE), HttpConnectResponder()
    ours.receive_data(theirs.data_to_send())
    assert ours.user is None
    ours.refuse(407)
    with pytest.raises(PermissionError, match="wants a user name"):
        theirs.receive_data(ours.data_to_send())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1", 405),
        ("CONNECT / HTTP/1.1", 400),
        ("CONNECT", 400),
        (f"CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic {SECRET}!", 400),
        (f"CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Digest {SECRET}", 400),
        ("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic \xe9", 400),
    ],
)
def test_a_bad_request_is_answered(request_: str, status: int) -> None:
    machine = HttpConnectResponder()
    with pytest.raises(RemoteProtocolError) as raised:
        machine.receive_data(request_.encode("latin-1") + b"\r\n\r\n")
    assert machine.data_to_send().startswith(b"HTTP/1.1 %d " % status)
    assert SECRET not in str(raised.value)
