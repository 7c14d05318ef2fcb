from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import ARGS as ARGS_TEXT
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake, HandshakeTimeout, Reader, Script, Steps
from ptipc.core.socksauth import (
    AuthMethod,
    Credentials,
    JsonBlock,
    NoAuth,
    Send,
    UserPass,
    accepted_methods,
    method_for,
)
from ptipc.core.socksreplies import ArgsRefused, RequestForbidden

ARGS = Args({"cert": "x", "iat-mode": "0"})
SECRET = "s3cret"


class Serving(Handshake):
    """The responder's part of a method, alone."""

    def __init__(self, method: AuthMethod) -> None:
        self.method = method
        self.args: Args | None = None
        super().__init__()

    def _run(self) -> Script:
        self.args = yield from self.method.serve(self._reader, self._send)


class Requesting(Handshake):
    """The initiator's part of a method, alone."""

    def __init__(self, method: AuthMethod, args: Args = NO_ARGS) -> None:
        self.method = method
        self.args = args
        super().__init__()

    def _run(self) -> Script:
        yield from self.method.request(self.args, self._reader, self._send)


def carried(method: AuthMethod, args: Args) -> Args | None:
    """What arrives when both ends of a method talk to each other."""
    ours, theirs = Requesting(method, args), Serving(method)
    theirs.receive_data(ours.data_to_send())
    ours.receive_data(theirs.data_to_send())
    assert ours.done
    assert theirs.done
    return theirs.args


CHARACTERS = st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS, max_size=60)
OCTETS = st.binary(max_size=40).map(
    lambda raw: raw.translate(None, b"\0\r\n").decode("utf-8", "surrogateescape")
)


@given(
    st.lists(
        st.tuples(st.text(CHARACTERS, min_size=1, max_size=20), TEXTS | OCTETS),
        min_size=1,
        max_size=3,
    )
)
def test_user_name_and_password_carry_any_args(pairs: list[tuple[str, str]]) -> None:
    """No octet is lost, not even one that is not UTF-8."""
    args = Args(pairs)
    length = len(ARGS_TEXT.emit(args).encode("utf-8", "surrogateescape"))
    assume(length <= 510)
    assert carried(UserPass(), args) == args


@given(
    st.dictionaries(
        TEXTS,
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | TEXTS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_a_json_block_carries_any_object(values: dict[str, Any]) -> None:
    args = Args(values)
    assert carried(JsonBlock(), args) == args


@pytest.mark.parametrize("length", [0, 1, 254, 255])
def test_credentials_arrive_octet_for_octet(length: int) -> None:
    text = (b"\xff" * length).decode("utf-8", "surrogateescape")
    assert carried(Credentials(text, text), NO_ARGS) == NO_ARGS


def test_no_authentication_says_nothing() -> None:
    ours, theirs = Requesting(NoAuth()), Serving(NoAuth())
    assert ours.done
    assert theirs.done
    assert ours.data_to_send() == theirs.data_to_send() == b""
    assert theirs.args == NO_ARGS


# --- what cannot be said --------------------------------------------------------------------------


def test_args_that_are_too_long_are_told_where_to_go() -> None:
    with pytest.raises(LocalProtocolError, match=r"512 octets .* 510 .*SOCKS4 user id or .*0x09"):
        Requesting(UserPass(), Args({"k": "v" * 510}))


@pytest.mark.parametrize(
    ("method", "args", "text"),
    [
        (NoAuth(), ARGS, "cannot carry the args"),
        (UserPass(), NO_ARGS, "without args"),
        (UserPass(), Args({"k": 1}), "not text"),
        (UserPass(), Args({"k": "\ud800"}), "cannot be written"),
        (UserPass(), Args({"k": "v" * 253 + "\0"}), "cannot be written"),
        (JsonBlock(), Args({"k": "\udcff"}), "cannot be written"),
        (JsonBlock(), Args([("k", "1"), ("k", "2")]), "repeated"),
        (JsonBlock(), Args({"k": float("inf")}), "JSON"),
        (JsonBlock(limit=8), ARGS, "over the limit of 8"),
        (Credentials("u"), ARGS, "cannot carry the args"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_args_that_a_method_cannot_carry_are_our_callers_fault(
    method: AuthMethod, args: Args, text: str
) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        Requesting(method, args)


@pytest.mark.parametrize("field", ["user", "password"])
@pytest.mark.parametrize(("text", "complaint"), [("ä" * 128, "256 octets"), ("\ud800", "Unicode")])
def test_credentials_that_do_not_fit_are_not_shown(field: str, text: str, complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint) as raised:
        Credentials(**{"user": "me", "password": SECRET, field: text})
    assert SECRET not in str(raised.value)
    assert text not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(Credentials("me", SECRET))
    with pytest.raises(LocalProtocolError) as raised:
        Requesting(NoAuth(), Args({"password": SECRET}))
    assert SECRET not in str(raised.value)


# --- what is refused ------------------------------------------------------------------------------


def test_refused_args_are_a_value_error() -> None:
    machine = Requesting(UserPass(), ARGS)
    with pytest.raises(ArgsRefused) as raised:
        machine.receive_data(b"\1\7")
    assert isinstance(raised.value, ValueError)
    assert raised.value.code == 7


def test_refused_credentials_are_a_permission_error_that_shows_neither() -> None:
    """The error may end in a log, and a user's name says who the user is."""
    machine = Requesting(Credentials("mary", SECRET))
    with pytest.raises(RequestForbidden, match="user name and password") as raised:
        machine.receive_data(b"\1\1")
    assert isinstance(raised.value, PermissionError)
    assert SECRET not in str(raised.value)
    assert "mary" not in str(raised.value)


def test_an_answer_of_another_version_is_the_peers_fault() -> None:
    machine = Requesting(UserPass(), ARGS)
    with pytest.raises(RemoteProtocolError, match="0x05"):
        machine.receive_data(b"\5\0")


@pytest.mark.parametrize(
    ("method", "heard", "goodbye"),
    [
        (UserPass(), b"\5\1k\1\0", b"\1\1"),
        (UserPass(), b"\1\1k\1\0", b"\1\1"),
        (UserPass(), b"\1\3k=\\\1\0", b"\1\1"),
        (UserPass(lenient=False), b"\1\0\1\0", b"\1\1"),
        (UserPass(lenient=False), b"\1\3k=v\0", b"\1\1"),
        (Credentials("me", SECRET), b"\1\2me\5wrong", b"\1\1"),
        (Credentials("me", SECRET), b"\1\2he\6" + SECRET.encode(), b"\1\1"),
        (JsonBlock(), b"\0\1\0\1", bytes.fromhex("05 10 00 01 00000000 0000")),
        (JsonBlock(), b"\0\0\0\0", bytes.fromhex("05 12 00 01 00000000 0000")),
        (JsonBlock(), b"\0\0\0\2[]", bytes.fromhex("05 12 00 01 00000000 0000")),
        (JsonBlock(), b"\0\0\0\1\xff", bytes.fromhex("05 12 00 01 00000000 0000")),
    ],
)
def test_whoever_is_refused_hears_of_it(method: AuthMethod, heard: bytes, goodbye: bytes) -> None:
    """The refusal is queued, then the error is raised; and neither shows what was heard."""
    machine = Serving(method)
    with pytest.raises(RemoteProtocolError) as raised:
        machine.receive_data(heard)
    assert machine.data_to_send() == goodbye
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("heard", [b"\1\0\0", b"\1\0\1\0"])
def test_lenient_means_that_empty_fields_are_no_args(heard: bytes) -> None:
    machine = Serving(UserPass())
    machine.receive_data(heard)
    assert machine.args == NO_ARGS
    assert machine.data_to_send() == b"\1\0"


@pytest.mark.parametrize("heard", [b"", b"\0\0", b"\0\0\0\2", b"\0\0\0\2{"])
def test_a_late_json_block_is_told_so(heard: bytes) -> None:
    machine = Serving(JsonBlock())
    machine.receive_data(heard)
    with pytest.raises(HandshakeTimeout):
        machine.receive_timeout()
    assert machine.data_to_send() == bytes.fromhex("05 11 00 01 00000000 0000")


def test_a_long_json_block_is_refused_before_it_is_read() -> None:
    """The limit is the caller's; nothing of the text is waited for."""
    machine = Serving(JsonBlock(limit=2))
    machine.receive_data(b"\0\0\0\2")
    assert machine.bytes_needed == 2
    machine = Serving(JsonBlock(limit=2))
    with pytest.raises(RemoteProtocolError, match="3 octets are over our limit of 2"):
        machine.receive_data(b"\0\0\0\3")


@given(st.binary(max_size=40), st.sampled_from([UserPass(), JsonBlock(), Credentials("me", "x")]))
def test_damaged_input_is_the_peers_fault(heard: bytes, method: AuthMethod) -> None:
    machine = Serving(method)
    try:
        machine.receive_data(heard)
    except RemoteProtocolError:
        assert machine.data_to_send()


# --- SOCKS4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "args", "user_id"),
    [
        (NoAuth(), NO_ARGS, b""),
        (UserPass(), NO_ARGS, b""),
        (UserPass(), ARGS, b"cert=x;iat-mode=0"),
        (UserPass(), Args({"k": "v" * 600}), b"k=" + b"v" * 600),
        (Credentials("me"), NO_ARGS, b"me"),
    ],
)
def test_what_a_method_says_in_socks4(method: AuthMethod, args: Args, user_id: bytes) -> None:
    assert method.user_id(args) == user_id


@pytest.mark.parametrize(
    ("method", "args"),
    [
        (NoAuth(), ARGS),
        (JsonBlock(), ARGS),
        (Credentials("me"), ARGS),
        (Credentials("me", SECRET), NO_ARGS),
        (UserPass(), Args({"k": 1})),
    ],
)
def test_what_a_method_cannot_say_in_socks4(method: AuthMethod, args: Args) -> None:
    with pytest.raises(LocalProtocolError) as raised:
        method.user_id(args)
    assert SECRET not in str(raised.value)


# --- the choice -----------------------------------------------------------------------------------


def test_methods_that_carry_args_are_preferred() -> None:
    assert accepted_methods(PT1) == (UserPass(), NoAuth())
    assert accepted_methods(PT2_0) == (JsonBlock(0x09), UserPass(), NoAuth())


def test_the_method_of_the_drafts_is_accepted_on_demand() -> None:
    assert accepted_methods(PT2_2, draft=True) == (
        JsonBlock(0x09),
        JsonBlock(0x80),
        UserPass(),
        NoAuth(),
    )


def test_a_habit_of_the_peer_is_a_dialect() -> None:
    habit = evolve(PT2_2, json_auth=0x80)
    assert method_for(habit, ARGS) == JsonBlock(0x80)
    expected = (JsonBlock(0x80), JsonBlock(0x09), UserPass(), NoAuth())
    assert accepted_methods(habit) == accepted_methods(habit, draft=True) == expected


def test_a_host_has_one_method_and_without_args_none() -> None:
    assert method_for(PT1, ARGS) == UserPass()
    assert method_for(PT2_0, ARGS) == JsonBlock()
    assert {method_for(dialect, NO_ARGS) for dialect in DIALECTS} == {NoAuth()}


def test_a_method_of_ones_own_needs_a_code_and_two_directions() -> None:
    class Half(AuthMethod):
        code = 0x85

        def serve(self, reader: Reader, send: Send) -> Steps[Args]:
            yield from ()
            return NO_ARGS

    with pytest.raises(TypeError):
        Half()  # type: ignore[abstract]

    class Whole(Half):
        def request(self, args: Args, reader: Reader, send: Send) -> Generator[int, None, None]:
            yield from ()

    with pytest.raises(LocalProtocolError, match="0x85"):
        Whole().user_id(NO_ARGS)
    assert carried(Whole(), ARGS) == NO_ARGS
