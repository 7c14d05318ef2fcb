from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import IP
from ptipc.core.dialects import DIALECTS, PT1, PT2_2, Dialect
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import Args
from ptipc.core.handshake import HandshakeTimeout
from ptipc.core.socks import (
    Credentials,
    JsonBlock,
    NoAuth,
    ReplyCode,
    RequestForbidden,
    RequestRefused,
    SocksInitiator,
    SocksResponder,
    Target,
    TargetRefused,
    TargetTimedOut,
    UserPass,
)

SOMEWHERE = Target("192.0.2.7", 443)
REQUEST = bytes.fromhex("05 01 00 01 c0000207 01bb")
REQUEST4 = bytes.fromhex("04 01 01bb c0000207 00")
SECRET = "s3cret"


def talk(ours: SocksResponder, theirs: SocksInitiator) -> None:
    """Let the two ends talk until neither has anything to say."""
    while data := theirs.data_to_send():
        ours.receive_data(data)
        theirs.receive_data(ours.data_to_send())


def asked(data: bytes = b"\5\1\0" + REQUEST) -> SocksResponder:
    """A responder that waits for a decision."""
    machine = SocksResponder(NoAuth())
    machine.receive_data(data)
    machine.data_to_send()
    return machine


LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9-]{0,20}){0,3}", fullmatch=True)
IPV4 = st.ip_addresses(v=4).map(str).filter(lambda ip: not ip.startswith("0.0.0."))
IPV6 = st.ip_addresses(v=6).map(str).map(IP.parse)
PORTS = st.integers(0, 65535)
VALUES = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=40)
ARGS = st.dictionaries(st.sampled_from(["cert", "k=;\\", "url", "ü"]), VALUES, max_size=3).map(Args)


@given(st.sampled_from(DIALECTS), IPV4 | IPV6 | LABELS, PORTS, ARGS)
def test_in_every_edition_the_ends_agree_on_target_and_args(
    dialect: Dialect, host: str, port: int, args: Args
) -> None:
    target = Target(host, port)
    theirs = SocksInitiator.for_dialect(dialect, target, args)
    ours = SocksResponder.for_dialect(dialect)
    talk(ours, theirs)
    assert (ours.version, ours.command, ours.target, ours.args) == (5, 1, target, args)
    assert ours.bytes_needed == 0
    assert not ours.done
    ours.grant()
    theirs.receive_data(ours.data_to_send() + b"early")
    assert ours.done
    assert ours.granted
    assert theirs.done
    assert theirs.bound == Target("0.0.0.0", 0)
    assert theirs.trailing_data == b"early"


@given(IPV4 | LABELS, PORTS, ARGS)
def test_in_socks4_the_ends_agree_as_well(host: str, port: int, args: Args) -> None:
    target = Target(host, port)
    theirs = SocksInitiator.for_dialect(PT1, target, args, version=4)
    ours = SocksResponder.for_dialect(PT1)
    talk(ours, theirs)
    assert (ours.version, ours.method, ours.target, ours.args) == (4, None, target, args)
    ours.grant(SOMEWHERE)
    talk(ours, theirs)
    theirs.receive_data(ours.data_to_send())
    assert theirs.bound == SOMEWHERE


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=20), st.integers(0, 40))
def test_damaged_input_is_the_peers_fault(pieces: list[bytes], cut: int) -> None:
    """Wherever it goes wrong, nothing but a RemoteProtocolError comes out, and stays."""
    whole = b"\5\2\0\2\1\3k=v\1\0" + REQUEST
    for start in (whole[:cut], REQUEST4[:cut]):
        machine = SocksResponder.for_dialect(PT1)
        with suppress(RemoteProtocolError):
            for piece in (start, *pieces):
                machine.receive_data(piece)
        if machine.error is not None:
            with pytest.raises(RemoteProtocolError) as again:
                machine.receive_data(b"\5")
            assert again.value is machine.error


@given(st.binary(max_size=30))
def test_damaged_answers_are_the_peers_fault(answer: bytes) -> None:
    for version in (4, 5):
        machine = SocksInitiator(SOMEWHERE, args={"k": "v"}, version=version)
        with suppress(RemoteProtocolError, RequestRefused):
            machine.receive_data(answer)


# --- the transport's end --------------------------------------------------------------------------


def test_without_methods_every_client_is_turned_away() -> None:
    machine = SocksResponder()
    with pytest.raises(RemoteProtocolError, match="'00 02'"):
        machine.receive_data(b"\5\2\0\2")
    assert machine.data_to_send() == b"\5\xff"


def test_the_order_of_our_methods_is_that_of_our_preference() -> None:
    machine = SocksResponder(NoAuth(), UserPass())
    machine.receive_data(b"\5\2\2\0")
    assert machine.data_to_send() == b"\5\0"
    assert machine.method == NoAuth()


@pytest.mark.parametrize(("versions", "first"), [((5,), b"\4"), ((4,), b"\5"), ((), b"\5")])
def test_which_versions_are_spoken_is_our_callers_choice(
    versions: Collection[int], first: bytes
) -> None:
    machine = SocksResponder(NoAuth(), versions=versions)
    with pytest.raises(RemoteProtocolError, match=rf"SOCKS{first[0]}, which we do not"):
        machine.receive_data(first)
    assert machine.data_to_send() == b""


def test_only_an_edition_with_socks4_takes_it() -> None:
    for dialect in DIALECTS:
        machine = SocksResponder.for_dialect(dialect)
        if dialect is PT1:
            machine.receive_data(REQUEST4)
            assert machine.target == SOMEWHERE
        else:
            with pytest.raises(RemoteProtocolError):
                machine.receive_data(REQUEST4)


@pytest.mark.parametrize(
    ("first", "looks"),
    [
        (0x16, "like TLS"),
        (ord("G"), "like HTTP"),
        (0x00, "like no protocol"),
        (0xFF, "no protocol"),
    ],
)
def test_a_stranger_is_told_by_the_first_octet(first: int, looks: str) -> None:
    with pytest.raises(RemoteProtocolError, match=looks):
        SocksResponder(NoAuth()).receive_data(bytes((first,)))


def test_args_that_are_not_utf8_lose_no_octet() -> None:
    machine = SocksResponder()
    machine.receive_data(REQUEST4[:-1] + b"k=\xff\0")
    assert machine.args["k"].encode("utf-8", "surrogateescape") == b"\xff"


@pytest.mark.parametrize(("length", "fits"), [(8, True), (9, False)])
def test_the_user_id_has_a_limit(length: int, fits: bool) -> None:
    machine = SocksResponder.for_dialect(PT1, user_id_limit=8)
    data = REQUEST4[:-1] + b"k=".ljust(length, b"v") + b"\0"
    if fits:
        machine.receive_data(data)
        assert len(machine.args["k"]) == 6
    else:
        with pytest.raises(RemoteProtocolError, match="within 9 octets"):
            machine.receive_data(data)


@pytest.mark.parametrize(
    ("request_", "code", "complaint"),
    [
        ("04 01 00 01", 0x01, "version 0x04"),
        ("05 01 00 02", 0x08, "type of address"),
        ("05 01 00 03 00 0001", 0x01, "not a host name: ''"),
        ("05 01 00 03 02 6100 0001", 0x01, "not a host name"),
        ("05 01 00 03 02 61ff 0001", 0x01, "not UTF-8"),
    ],
)
def test_a_bad_request_is_answered_and_shown(request_: str, code: int, complaint: str) -> None:
    machine = SocksResponder(NoAuth())
    with pytest.raises(RemoteProtocolError, match=complaint) as raised:
        machine.receive_data(b"\5\1\0" + bytes.fromhex(request_))
    assert raised.value.__cause__ is None
    assert machine.data_to_send() == bytes((5, 0, 5, code, 0, 1)) + bytes(6)


def test_errors_do_not_show_args() -> None:
    for data in (
        REQUEST4[:-1] + SECRET.encode() + b"\0",
        b"\5\1\2\1\6" + SECRET.encode() + b"\1\0",
    ):
        machine = SocksResponder(UserPass())
        with pytest.raises(RemoteProtocolError) as raised:
            machine.receive_data(data)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "name"), [(2, "BIND"), (3, "UDP ASSOCIATE"), (0xF0, "0xf0"), (0, "0x0")]
)
def test_commands_are_called_by_their_name(command: int, name: str) -> None:
    machine = SocksResponder(NoAuth())
    with pytest.raises(RemoteProtocolError, match=name):
        machine.receive_data(b"\5\1\0\5" + bytes((command,)) + REQUEST[2:])
    assert machine.command == command
    assert machine.target is None


def test_nothing_is_decided_before_it_is_asked() -> None:
    machine = SocksResponder(NoAuth())
    with pytest.raises(LocalProtocolError, match="not waiting"):
        machine.grant()
    with pytest.raises(LocalProtocolError, match="not waiting"):
        machine.refuse(ReplyCode.GENERAL_FAILURE)
    machine.receive_data(b"\5\1\0" + REQUEST)
    machine.grant()
    assert machine.data_to_send() == b"\5\0\5\0\0\1" + bytes(6)


def test_nothing_is_decided_twice() -> None:
    machine = asked()
    machine.refuse(ReplyCode.NOT_ALLOWED)
    with pytest.raises(LocalProtocolError):
        machine.grant()
    assert not machine.granted
    assert machine.data_to_send() == b"\5\2\0\1" + bytes(6)


def test_a_decision_after_an_error_is_that_error() -> None:
    machine = SocksResponder(NoAuth())
    with pytest.raises(RemoteProtocolError):
        machine.receive_data(b"G")
    with pytest.raises(RemoteProtocolError, match="HTTP"):
        machine.grant()


@pytest.mark.parametrize("code", [0, 9, 0x5B, 0xFF, 256, -1])
def test_a_refusal_needs_a_code_that_refuses(code: int) -> None:
    machine = asked()
    with pytest.raises(LocalProtocolError, match="reply code"):
        machine.refuse(code)
    machine.refuse(ReplyCode.ARGS_INVALID)
    assert machine.done
    assert machine.data_to_send()[1] == 0x13


def test_a_bound_address_that_cannot_be_said_leaves_the_decision_open() -> None:
    machine = asked()
    with pytest.raises(LocalProtocolError, match="70000"):
        machine.grant(Target("192.0.2.7", 70000))
    machine.grant(Target("relay.example", 1))
    assert machine.data_to_send() == b"\5\0\0\3\x0drelay.example\0\1"


def test_what_comes_while_we_decide_is_kept() -> None:
    machine = asked(b"\5\1\0" + REQUEST + b"one")
    machine.receive_data(b" two")
    machine.receive_eof()
    assert machine.trailing_data == b""
    machine.grant()
    machine.receive_data(b" three")
    assert machine.trailing_data == b"one two three"


def test_a_decision_that_comes_too_late_is_none() -> None:
    machine = asked()
    with pytest.raises(HandshakeTimeout):
        machine.receive_timeout()
    assert machine.data_to_send()[1] == ReplyCode.TTL_EXPIRED
    with pytest.raises(HandshakeTimeout):
        machine.grant()


# --- the host's end -------------------------------------------------------------------------------


def test_by_default_args_are_sent_as_in_the_first_edition() -> None:
    assert SocksInitiator(SOMEWHERE).data_to_send() == b"\5\1\0"
    assert SocksInitiator(SOMEWHERE, args=[("k", "v")]).data_to_send() == b"\5\1\2"


def test_one_method_is_offered_unless_it_may_be_left_out() -> None:
    """A transport cannot choose to lose args; a proxy may choose to let everyone in."""
    assert SocksInitiator(SOMEWHERE, JsonBlock(), {"k": 1}).data_to_send() == b"\5\1\x09"
    assert SocksInitiator(SOMEWHERE, Credentials("me")).data_to_send() == b"\5\2\2\0"


def test_a_habit_of_the_peer_is_a_dialect() -> None:
    habit = evolve(PT2_2, json_auth=0x80)
    theirs = SocksInitiator.for_dialect(habit, SOMEWHERE, {"k": "v"})
    ours = SocksResponder.for_dialect(PT2_2, draft=True)
    talk(ours, theirs)
    assert ours.method == JsonBlock(0x80)
    assert ours.args == {"k": "v"}


@pytest.mark.parametrize(
    ("target", "settings", "complaint"),
    [
        (Target("2001:db8::1", 443), {"version": 4}, "IPv6"),
        (Target("0.0.0.1", 1), {"version": 4}, "mark of a name"),
        (SOMEWHERE, {"version": 4, "method": Credentials("a\0b")}, "NUL"),
        (SOMEWHERE, {"version": 4, "method": Credentials("me", SECRET)}, "password"),
        (SOMEWHERE, {"version": 4, "method": JsonBlock(), "args": {"k": SECRET}}, "0x09"),
        (SOMEWHERE, {"version": 4, "args": {"k": "v" * 65535}}, "65537 octets"),
        (SOMEWHERE, {"version": 6}, "version of SOCKS"),
        (SOMEWHERE, {"args": {"k": SECRET + "v" * 510}}, "510"),
        (SOMEWHERE, {"method": NoAuth(), "args": {"k": SECRET}}, "cannot carry"),
        (Target("fe80::1%eth0", 443), {}, "scope"),
        (Target("fe80::1%eth0", 443), {"version": 4}, "scope"),
        (Target("a b", 443), {}, "host name"),
        (Target("", 443), {}, "address"),
        (Target("a" * 256, 443), {}, "host name"),
        (Target("[::1]", 443), {}, "IP address"),
        (Target("192.0.2.7", 65536), {}, "port"),
        (Target("192.0.2.7", -1), {}, "port"),
    ],
)
def test_what_cannot_be_said_is_our_callers_fault(
    target: Target, settings: dict[str, Any], complaint: str
) -> None:
    """It is found out before anything is sent, and no secret is shown."""
    with pytest.raises(LocalProtocolError, match=complaint) as raised:
        SocksInitiator(target, **settings)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (b"\5\xff", RequestForbidden, 0xFF),
        (b"\5\0\5\5", TargetRefused, 5),
        (b"\5\0\5\6", TargetTimedOut, 6),
    ],
)
def test_a_refusal_says_why(answer: bytes, kind: type[RequestRefused], code: int) -> None:
    machine = SocksInitiator(SOMEWHERE)
    with pytest.raises(kind) as raised:
        machine.receive_data(answer)
    assert machine.error is raised.value
    assert raised.value.code == code
    assert not machine.done


@pytest.mark.parametrize(
    ("version", "answer"), [(5, b"HTTP/1.1"), (4, b"HTTP/1.1"), (4, b"\x16\3")]
)
def test_a_server_of_another_protocol_is_told_by_its_answer(version: int, answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"looks like (HTTP|TLS)"):
        SocksInitiator(SOMEWHERE, version=version).receive_data(answer)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"\5\2", "0x02, which was not offered"),
        (b"\5\0\4\0", "0x04"),
        (b"\5\0\5\0\0\2", "unknown type: 0x02"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_shown(answer: bytes, complaint: str) -> None:
    machine = SocksInitiator(SOMEWHERE)
    with pytest.raises(RemoteProtocolError, match=complaint):
        machine.receive_data(answer)


@pytest.mark.parametrize(
    ("reply", "bound"),
    [
        ("01 c0000207 0001", Target("192.0.2.7", 1)),
        ("04 20010db8 00000000 00000000 00000007 0001", Target("2001:db8::7", 1)),
        ("03 00 0000", Target("", 0)),
        ("03 02 61ff 0001", Target("a\\xff", 1)),
    ],
)
def test_the_bound_address_is_told_but_not_judged(reply: str, bound: Target) -> None:
    machine = SocksInitiator(SOMEWHERE)
    machine.receive_data(b"\5\0\5\0\0" + bytes.fromhex(reply))
    assert machine.done
    assert machine.bound == bound


def test_a_server_may_choose_to_do_without_credentials() -> None:
    machine = SocksInitiator(SOMEWHERE, Credentials("me", SECRET))
    machine.data_to_send()
    machine.receive_data(b"\5\0")
    assert machine.data_to_send() == REQUEST


def test_a_socks4_server_grants_by_a_code_of_its_own() -> None:
    machine = SocksInitiator(SOMEWHERE, version=4)
    with pytest.raises(RequestRefused, match="unknown reason"):
        machine.receive_data(b"\0\0")
    machine = SocksInitiator(SOMEWHERE, version=4)
    machine.receive_data(b"\0\x5a\0\1\xc0\0\2\7 ")
    assert machine.bound == Target("192.0.2.7", 1)
    assert machine.trailing_data == b" "


@pytest.mark.parametrize("user", ["me", "ü\udcff", ""])
def test_a_server_with_users_lets_them_in(user: str) -> None:
    theirs = SocksInitiator(SOMEWHERE, Credentials(user, SECRET))
    ours = SocksResponder(Credentials(user, SECRET), versions=(5,))
    talk(ours, theirs)
    assert ours.target == SOMEWHERE
    theirs = SocksInitiator(SOMEWHERE, Credentials(user, "wrong"))
    ours = SocksResponder(Credentials(user, SECRET), versions=(5,))
    with pytest.raises(RemoteProtocolError):
        talk(ours, theirs)
    with pytest.raises(PermissionError):
        theirs.receive_data(ours.data_to_send())
    assert SECRET not in str(theirs.error)
    assert SECRET not in str(ours.error)


@pytest.mark.parametrize("version", [4, 5])
def test_the_wire_can_be_read_octet_by_octet(version: int) -> None:
    """Each wait is for something: the octets asked for are never more than those that come."""
    theirs = SocksInitiator(SOMEWHERE, args={"k": "v"}, version=version)
    ours = SocksResponder(UserPass())
    while not theirs.done:
        for octet in theirs.data_to_send():
            assert ours.bytes_needed > 0
            ours.receive_data(bytes((octet,)))
        if ours.target and not ours.done:
            ours.grant()
        for octet in ours.data_to_send():
            assert theirs.bytes_needed > 0
            theirs.receive_data(bytes((octet,)))
    assert ours.args == {"k": "v"}
