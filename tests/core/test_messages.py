"""The lines: what the fixtures cannot say about their classes, their rows and their emission."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, LogLevel, Protocol
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect, Role, Stream
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.messages import (
    FORMS,
    CMethod,
    CMethodError,
    CMethodsDone,
    EnvError,
    Form,
    Log,
    Message,
    ProxyDone,
    ProxyError,
    SMethod,
    SMethodError,
    SMethodsDone,
    Status,
    StatusVersion,
    Unknown,
    Version,
    VersionError,
    emit_line,
    exit_code,
    form_for,
    parse_line,
    reference,
    role_of,
    stream_of,
)

HERE = Address("127.0.0.1", 19999)

# --- classes --------------------------------------------------------------------------------------


def test_messages_are_values() -> None:
    assert CMethod("a", Protocol.SOCKS5, HERE) == CMethod("a", Protocol.SOCKS5, HERE)
    assert len({ProxyDone(), ProxyDone(), CMethodsDone()}) == 2
    assert hash(SMethod("a", HERE, Args([("k", "v")]))) == hash(
        SMethod("a", HERE, Args([("k", "v")]))
    )


def test_a_message_has_its_usual_text() -> None:
    assert VersionError() == VersionError("no-version")
    assert SMethod("a", HERE) == SMethod("a", HERE, NO_ARGS, options=())


def test_args_do_not_show_in_the_repr() -> None:
    assert "hush" not in repr(SMethod("a", HERE, Args([("secret", "hush")])))


def test_a_status_is_asked_for_its_values() -> None:
    status = Status([("TRANSPORT", "a"), ("K", "1"), ("K", "2")])
    assert status.pairs == (("TRANSPORT", "a"), ("K", "1"), ("K", "2"))
    assert (status.transport, status.get("K"), status.get("L")) == ("a", "1", None)
    assert Status([("K", "1")]).transport is None


# --- parsing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["CMETHOD a socks5 host:1", "CMETHOD a-b socks5 [::1]:1"])
def test_malformed_methods_are_the_peers_fault(text: str) -> None:
    """A CMETHOD with a bad name or address is a RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        parse_line(text, PT1, Role.CLIENT)


def test_the_error_names_the_keyword_and_what_is_wrong() -> None:
    with pytest.raises(RemoteProtocolError, match=r"malformed CMETHOD line: .*'host'"):
        parse_line("CMETHOD a socks5 host:1", PT1)


def test_an_unknown_line_is_kept() -> None:
    assert parse_line("CMETHOD-EXT a socks5 [::1]:1", PT1) == Unknown(
        "CMETHOD-EXT a socks5 [::1]:1"
    )


@pytest.mark.parametrize("text", ["\n", "VERSION 1\n", "LOG INFO a\nb", "what\never"])
def test_two_lines_are_not_one(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="more than one line"):
        parse_line(text, PT2_2)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_every_edition_is_understood_in_every_edition(dialect: Dialect) -> None:
    assert parse_line('LOG SEVERITY=warning MESSAGE="x"', dialect) == Log(LogLevel.WARNING, "x")
    assert parse_line("LOG WARN x", dialect) == Log(LogLevel.WARNING, "x")
    assert parse_line("LOG what is this", dialect) == Log(None, "what is this")
    assert parse_line("STATUS A=b", dialect) == Status([("A", "b")])
    assert parse_line("STATUS TYPE=version IMPLEMENTATION=a VERSION=1", dialect) == StatusVersion(
        "a", "1"
    )


@pytest.mark.parametrize(
    ("text", "role"), [("SMETHODS DONE", Role.CLIENT), ("CMETHODS DONE", Role.SERVER)]
)
def test_the_other_roles_lines_are_an_error_if_the_role_is_known(text: str, role: Role) -> None:
    with pytest.raises(RemoteProtocolError, match=f"not a line of a {role.value}"):
        parse_line(text, PT1, role)
    assert parse_line(text, PT1) in (SMethodsDone(), CMethodsDone())


@given(st.text(), st.sampled_from(DIALECTS), st.sampled_from([None, *Role]))
def test_any_text_is_a_message_or_the_peers_fault(
    text: str, dialect: Dialect, role: Role | None
) -> None:
    for line in (text, *(f"{form.keyword} {text}" for form in FORMS)):
        try:
            parse_line(line, dialect, role)
        except RemoteProtocolError:
            continue


@given(st.text(alphabet=st.characters(exclude_characters="\n")))
def test_no_log_line_is_an_error(text: str) -> None:
    assert isinstance(parse_line(f"LOG {text}", PT1), Log)


# --- emission -------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name.lower() != "bridge"
)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
PORTS = st.integers(1, 65535)
TEXTS = st.text(max_size=20)
LEVELS = st.sampled_from([level for level in LogLevel if level is not LogLevel.NONE])
ARGS = st.lists(st.tuples(PRINTABLE, PRINTABLE | st.just("")), max_size=3).map(Args)
PAIRS = st.lists(
    st.tuples(PRINTABLE.filter(lambda key: "=" not in key and '"' not in key), TEXTS),
    min_size=1,
    max_size=3,
    unique_by=lambda pair: pair[0],
).filter(lambda pairs: not any(key in ("TRANSPORT", "TYPE") for key, _ in pairs))

MESSAGES: dict[type[Message], st.SearchStrategy[Message]] = {
    VersionError: st.builds(VersionError, TEXTS),
    Version: st.builds(Version, PRINTABLE.filter(lambda token: "," not in token)),
    EnvError: st.builds(EnvError, TEXTS),
    ProxyDone: st.builds(ProxyDone),
    ProxyError: st.builds(ProxyError, TEXTS),
    CMethod: st.builds(
        CMethod,
        NAMES,
        st.just(Protocol.SOCKS5),
        st.builds(Address, st.sampled_from(["127.0.0.1", "::1"]), PORTS),
    ),
    CMethodError: st.builds(CMethodError, NAMES, TEXTS),
    CMethodsDone: st.builds(CMethodsDone),
    SMethod: st.builds(
        SMethod,
        NAMES,
        st.builds(Address, st.ip_addresses().map(lambda ip: Address(str(ip), 1).host), PORTS),
        ARGS,
    ),
    SMethodError: st.builds(SMethodError, NAMES, TEXTS),
    SMethodsDone: st.builds(SMethodsDone),
    Log: st.builds(Log, LEVELS, TEXTS),
    StatusVersion: st.builds(StatusVersion, PRINTABLE, PRINTABLE),
    Status: PAIRS.map(lambda pairs: Status([("TRANSPORT", "a"), *pairs])),
}


def test_every_class_is_tried() -> None:
    assert set(MESSAGES) == {form.message for form in FORMS}


@given(st.data(), st.sampled_from(FORMS), st.sampled_from(DIALECTS))
def test_what_is_said_is_one_line_that_says_it(
    data: st.DataObject, form: Form, dialect: Dialect
) -> None:
    message = data.draw(MESSAGES[form.message])
    if form_for(form.message, dialect) is None:
        with pytest.raises(LocalProtocolError, match="there is no"):
            emit_line(message, dialect)
        return
    line = emit_line(message, dialect)
    assert line.isprintable()
    assert line == line.rstrip()
    heard = parse_line(line, dialect)
    assert type(heard) is type(message)
    assert emit_line(heard, dialect) == line


@given(st.data(), st.sampled_from([CMethod, SMethod, Version, ProxyDone, CMethodsDone]))
def test_what_is_not_free_text_is_heard_exactly(data: st.DataObject, kind: type[Message]) -> None:
    message = data.draw(MESSAGES[kind])
    heard: Any = parse_line(emit_line(message, PT1), PT1)
    if isinstance(message, SMethod):
        heard = evolve(heard, address=message.address)  # its spelling may be a shorter one
    assert heard == message


def test_lines_of_another_role_or_edition_are_not_said() -> None:
    with pytest.raises(LocalProtocolError, match="no SMethodsDone line for client in PT 1"):
        emit_line(SMethodsDone(), PT1, Role.CLIENT)
    with pytest.raises(LocalProtocolError, match=r"no Status line for PT 3\.0"):
        emit_line(Status([("TRANSPORT", "a"), ("A", "b")]), PT3_0)
    with pytest.raises(LocalProtocolError, match="no Unknown line"):
        emit_line(Unknown("HELLO"), PT1)


def test_lossy_spellings_are_said() -> None:
    """The spelling that comes back is compared, not the value."""
    assert emit_line(Log(LogLevel.NOTICE, "a"), PT2_2) == "LOG INFO a"
    assert emit_line(Log(LogLevel.INFO, "\u00e9\n"), PT1) == (
        'LOG SEVERITY=info MESSAGE="\\\\xe9\\n"'
    )
    assert emit_line(VersionError("anything"), PT1) == "VERSION-ERROR no-version"
    assert emit_line(EnvError(""), PT1) == "ENV-ERROR"


# --- what follows from the rows -------------------------------------------------------------------


def test_errors_are_on_stderr_since_pt_2_0() -> None:
    error = CMethodError("a", "x")
    assert [stream_of(error, dialect) for dialect in DIALECTS] == [
        Stream.STDOUT,
        Stream.STDERR,
        Stream.STDERR,
        Stream.STDERR,
    ]
    assert stream_of(Log(LogLevel.INFO, "x"), PT2_2) is Stream.STDOUT
    assert stream_of(Unknown(""), PT2_2) is Stream.STDOUT


def test_a_habit_of_a_peer_is_a_dialect() -> None:
    habit = evolve(PT2_0, error_stream=Stream.STDOUT)
    assert stream_of(EnvError("x"), habit) is Stream.STDOUT


def test_three_errors_end_the_process() -> None:
    assert [exit_code(error) for error in (VersionError(), EnvError("x"), ProxyError("x"))] == [
        78,
        64,
        69,
    ]
    assert exit_code(CMethodError("a", "x")) is None
    assert exit_code(Unknown("")) is None


def test_whose_lines_they_are() -> None:
    assert [role_of(kind) for kind in (CMethod, SMethod, Version, Unknown)] == [
        Role.CLIENT,
        Role.SERVER,
        None,
        None,
    ]


def test_the_reference_has_every_row() -> None:
    table = reference()
    assert [row.template for row in table] == [form.template for form in FORMS]
    env_error = next(row for row in table if row.keyword == "ENV-ERROR")
    assert env_error.editions == DIALECTS
    assert env_error.streams == (Stream.STDOUT, Stream.STDERR, Stream.STDERR, Stream.STDERR)
    assert (env_error.role, env_error.exit) == (None, 64)
    assert all(row.meaning.endswith(".") for row in table)
    assert [row.editions for row in table if row.keyword == "LOG"] == [(PT1,), (PT2_2, PT3_0)]
