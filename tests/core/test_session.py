"""Both ends of the conversation: what the fixtures cannot say about them."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, LogLevel, Protocol, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.conversation import Phase
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, Role, Stream
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.messages import (
    CMethod,
    CMethodError,
    CMethodsDone,
    EnvError,
    Log,
    Message,
    ProxyDone,
    ProxyError,
    SMethod,
    Status,
    StatusVersion,
    Unknown,
    Version,
    VersionError,
)
from ptipc.core.session import (
    Event,
    Failure,
    Heard,
    HostSession,
    Incomplete,
    Line,
    LineSplitter,
    StderrText,
    TransportSession,
    Violation,
)

HERE = Address("127.0.0.1", 19999)
FOO = CMethod("foo", Protocol.SOCKS5, HERE)
OUT, ERR = Stream.STDOUT, Stream.STDERR

# --- the transport process's end ------------------------------------------------------------------


def client() -> TransportSession:
    session = TransportSession(PT1, Role.CLIENT, ["foo"], proxy=False)
    assert session.send(Version("1")) == [(OUT, b"VERSION 1\n")]
    return session


def test_each_line_is_one_write() -> None:
    session = client()
    assert session.send(FOO) == [(OUT, b"CMETHOD foo socks5 127.0.0.1:19999\n")]
    assert session.send(CMethodsDone()) == [(OUT, b"CMETHODS DONE\n")]
    assert session.phase is Phase.READY
    assert session.exit_code is None


def test_a_configuration_says_what_to_check() -> None:
    proxy = UpstreamProxy("socks5", Address("127.0.0.1", 1))
    config = Config(
        dialect=PT2_2,
        role=Role.CLIENT,
        transports=("foo",),
        proxy=proxy,
        log_threshold=LogLevel.WARNING,
    )
    session = TransportSession(config)
    session.send(Version("2.2"))
    with pytest.raises(LocalProtocolError, match="C44"):
        session.send(FOO)
    session.send(ProxyDone())
    with pytest.raises(LocalProtocolError, match="nobody asked"):
        session.send(CMethod("bar", Protocol.SOCKS5, HERE))
    assert session.send(Log(LogLevel.INFO, "x")) == []
    assert session.send(Log(LogLevel.WARNING, "x")) == [(OUT, b"LOG WARN x\n")]


def test_a_configuration_without_a_proxy_refuses_an_answer_for_one() -> None:
    config = Config(dialect=PT1, role=Role.CLIENT, transports=("foo",), state="/s")
    session = TransportSession(config)
    session.send(Version("1"))
    with pytest.raises(LocalProtocolError, match="C43"):
        session.send(ProxyDone())
    assert session.wants(Log(LogLevel.DEBUG, "x")), "PT 1 has no threshold"


def test_what_the_host_does_not_want_is_known_beforehand() -> None:
    session = TransportSession(PT2_2, log_threshold=LogLevel.INFO)
    assert session.wants(Log(LogLevel.NOTICE, "x"))
    assert not session.wants(Log(LogLevel.DEBUG, "x"))
    assert not session.wants(Status([("TRANSPORT", "a"), ("A", "b")]))
    assert not session.wants(StatusVersion("a", "1"))
    assert session.wants(FOO)
    assert session.wants(Unknown("x")), "it is refused, not passed over"


def test_a_refused_message_changes_nothing() -> None:
    session = client()
    for wrong in (
        CMethod("a b", Protocol.SOCKS5, HERE),
        CMethod("foo", Protocol.STUN, HERE),
        CMethod("bar", Protocol.SOCKS5, HERE),
        Unknown("HELLO"),
        SMethod("foo", HERE),
        Version("1"),
        Log(None, "x"),
    ):
        with pytest.raises(LocalProtocolError):
            session.send(wrong)
    assert session.phase is Phase.NEGOTIATED
    assert session.send(FOO)


def test_a_transport_that_failed_is_not_up() -> None:
    session = client()
    session.send(CMethodError("foo", "x"))
    with pytest.raises(LocalProtocolError, match="C27"):
        session.send(FOO)


def test_the_version_is_the_one_that_was_agreed_on() -> None:
    with pytest.raises(LocalProtocolError, match=r"'1\.0'"):
        TransportSession(PT1).send(Version("1.0"))


def test_a_version_report_has_its_time() -> None:
    session = TransportSession(PT1)
    report = StatusVersion("ptipc", "1")
    with pytest.raises(LocalProtocolError, match="C23"):
        session.send(report)
    session.send(Version("1"))
    assert session.send(report)


def test_what_is_not_given_is_not_checked() -> None:
    session = TransportSession(PT1)
    session.send(Version("1"))
    session.send(ProxyDone())
    assert session.send(FOO)


@pytest.mark.parametrize(
    ("message", "code", "written"),
    [
        (VersionError(), 78, [(ERR, b"VERSION-ERROR no-version\n")]),
        (EnvError("x"), 64, [(ERR, b"ENV-ERROR x\n")]),
        (ProxyError("x"), 69, [(OUT, b"VERSION 2\n"), (ERR, b"PROXY-ERROR x\n")]),
    ],
)
def test_a_configuration_error_is_said_and_exited_with(
    message: Message, code: int, written: list[tuple[Stream, bytes]]
) -> None:
    error = ConfigError(message, "x", PT2_0)
    session = TransportSession.for_error(error)
    assert session.fail(error) == written
    assert session.exit_code == code
    assert session.phase is Phase.ENDED


def test_a_configuration_error_may_be_mirrored() -> None:
    error = ConfigError(EnvError("x"), "x", PT2_0)
    assert TransportSession.for_error(error, mirror_errors=True).fail(error) == [
        (OUT, b"ENV-ERROR x\n"),
        (ERR, b"ENV-ERROR x\n"),
    ]


def test_it_is_too_late_for_a_configuration_error() -> None:
    session = client()
    session.send(CMethodsDone())
    with pytest.raises(LocalProtocolError, match="C26"):
        session.fail(ConfigError(EnvError("x"), "x", PT1))


def test_what_is_said_later_does_not_change_the_exit_code() -> None:
    session = client()
    session.send(EnvError("x"))
    session.send(Log(LogLevel.ERROR, "that was it"))
    assert session.exit_code == 64


# --- lines ----------------------------------------------------------------------------------------


def test_lines_come_in_any_pieces() -> None:
    splitter = LineSplitter()
    assert splitter.receive_data(b"one\r") == []
    assert splitter.receive_data(b"\ntwo\n\nthr") == [Line("one"), Line("two"), Line("")]
    assert splitter.receive_data(memoryview(b"ee\n")) == [Line("three")]
    assert splitter.receive_eof() == []


def test_the_last_line_has_no_end() -> None:
    splitter = LineSplitter()
    splitter.receive_data(b"one\ntwo")
    assert splitter.receive_eof() == [Line("two", ended=False)]
    assert splitter.receive_eof() == []


def test_a_long_line_is_given_once_and_skipped() -> None:
    splitter = LineSplitter(limit=4)
    assert splitter.receive_data(b"four\nfives") == [
        Line("four"),
        Line("five", truncated=True, ended=False),
    ]
    assert splitter.receive_data(b"and so on") == []
    assert splitter.receive_eof() == []
    assert splitter.receive_data(b"\nnext\n") == [Line("next")]


def test_an_endless_line_takes_no_memory() -> None:
    splitter = LineSplitter(limit=1000)
    lines = [line for _ in range(100) for line in splitter.receive_data(b"x" * 999)]
    assert len(lines) == 1
    assert len(splitter._buffer) == 0


LINES = st.lists(st.sampled_from([b"", b"a", b"\n", b"\r", b"\xff", b"\xc3", b"\xa9", b"long one"]))


@given(LINES.map(b"".join), st.lists(st.integers(0, 40)), st.integers(1, 8))
def test_pieces_do_not_matter(data: bytes, cuts: list[int], limit: int) -> None:
    whole = LineSplitter(limit)
    expected = whole.receive_data(data) + whole.receive_eof()
    pieces = LineSplitter(limit)
    found: list[Line] = []
    ends = sorted(cuts)
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        found += pieces.receive_data(data[start:end])
    assert found + pieces.receive_eof() == expected


# --- the host's end -------------------------------------------------------------------------------


def host(*, role: Role = Role.CLIENT, names: tuple[str, ...] = ("foo",)) -> HostSession:
    return HostSession([PT1], role, names)


def test_what_is_heard_comes_as_events() -> None:
    session = host()
    assert session.receive_data(OUT, b"VERSION 1\nHELLO\nCMETHOD foo\n") == [
        Heard(Version("1"), OUT, "VERSION 1"),
        Heard(Unknown("HELLO"), OUT, "HELLO"),
        Violation("malformed CMETHOD line: no protocol", "CMETHOD foo", "syntax", OUT),
    ]
    assert session.receive_data(OUT, b"VERSION 1\n") == [
        Heard(Version("1"), OUT, "VERSION 1"),
        Violation("Version in the phase 'negotiated'", "VERSION 1", "order", OUT),
    ]


def test_what_is_not_for_the_host_comes_as_text() -> None:
    session = host()
    assert session.receive_data(ERR, b"panic: oh\nSTATUS is what\nLOG ERROR x\n") == [
        StderrText("panic: oh"),
        StderrText("STATUS is what"),
        Heard(Log(LogLevel.ERROR, "x"), ERR, "LOG ERROR x"),
    ]


def test_what_has_no_end_comes_as_such() -> None:
    session = HostSession([PT1], Role.CLIENT, ["foo"], line_limit=10)
    assert session.receive_data(OUT, b"VERSION 1\nCMETHOD foo socks5 [::1]:1\n") == [
        Heard(Version("1"), OUT, "VERSION 1"),
        Incomplete("CMETHOD fo", OUT, truncated=True),
    ]
    session.receive_data(ERR, b"ENV-ERROR")
    assert session.receive_eof(ERR) == [Incomplete("ENV-ERROR", ERR, truncated=False)]
    assert session.failure is None


def test_a_client_that_is_ready() -> None:
    session = host(names=("foo", "bar"))
    assert (session.version, session.dialect, session.ignored) == (None, None, ())
    session.receive_data(OUT, b"VERSION 1\nCMETHOD foo socks5 127.0.0.1:19999\n")
    assert (session.done, session.ignored) == (False, ())
    session.receive_data(OUT, b"CMETHODS DONE\n")
    assert session.done
    assert (session.version, session.dialect, session.phase) == ("1", PT1, Phase.READY)
    assert (session.methods, session.errors, session.ignored) == ({"foo": FOO}, {}, ("bar",))


def test_a_server_that_is_ready() -> None:
    session = host(role=Role.SERVER)
    session.receive_data(OUT, b"VERSION 1\nSMETHOD foo 192.0.2.7:1 ARGS:a=b\nSMETHODS DONE\n")
    assert session.methods == {"foo": SMethod("foo", Address("192.0.2.7", 1), Args([("a", "b")]))}


def test_the_dialect_is_the_one_that_was_offered() -> None:
    """A habit of a peer is not lost on the way."""
    habit = evolve(PT2_2, json_auth=0x80)
    session = HostSession([PT1, habit], Role.CLIENT, ["foo"])
    session.receive_data(OUT, b"VERSION 2.2\n")
    assert session.dialect is habit


def test_the_first_failure_is_the_one_that_counts() -> None:
    session = host()
    session.receive_data(OUT, b"ENV-ERROR first\nVERSION 1\n")
    session.receive_data(ERR, b"PROXY-ERROR second\n")
    session.receive_eof(OUT)
    session.receive_eof(ERR)
    assert session.failure == Failure("ENV-ERROR", "first")
    assert str(session.failure) == "first (ENV-ERROR)"


def test_an_end_before_done_is_a_failure_once_both_streams_are_closed() -> None:
    session = host()
    session.receive_eof(OUT)
    assert session.failure is None
    session.receive_eof(ERR)
    assert session.failure is not None
    assert session.failure.code == "eof"
    assert session.phase is Phase.ENDED


def test_what_a_failed_process_says_of_its_transports_is_not_kept() -> None:
    session = host()
    session.receive_data(OUT, b"VERSION 7\nCMETHOD foo socks5 127.0.0.1:1\nCMETHODS DONE\n")
    assert (session.methods, session.done) == ({}, False)


V, F, D = "VERSION 1\n", "CMETHOD foo socks5 127.0.0.1:19999\n", "CMETHODS DONE\n"


@pytest.mark.parametrize(
    ("written", "rules", "up", "failed"),
    [
        (V + "CMETHOD foo socks5 [::1]:1\n" + F, ["C27"], ["foo"], []),
        (V + F + "CMETHOD-ERROR foo x\n", ["C27"], [], ["foo"]),
        (V + "CMETHOD-ERROR foo x\nCMETHOD-ERROR foo x\n", [], [], ["foo"]),
        (V + "CMETHOD-ERROR foo x\n" + F, ["C27"], ["foo"], []),
        (V + "CMETHOD bar socks5 [::1]:1\nCMETHOD-ERROR bar x\n", ["C27", "C27"], [], []),
        (V + "CMETHOD foo socks5 192.0.2.7:1\n", ["C28"], [], []),
        (V + "CMETHOD foo STUN [::1]:1\n", ["C29"], ["foo"], []),
        (V + "PROXY DONE\n" + F, ["C43"], ["foo"], []),
        (V + F + D + F, ["C26"], ["foo"], []),
        (V + "SMETHOD foo [::1]:1\n", ["role"], [], []),
        (F + V, ["order"], [], []),
    ],
)
def test_what_is_forgiven(written: str, rules: list[str], up: list[str], failed: list[str]) -> None:
    session = host()
    events = session.receive_data(OUT, written.encode())
    assert [event.rule for event in events if isinstance(event, Violation)] == rules
    assert (list(session.methods), list(session.errors)) == (up, failed)
    assert session.failure is None


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("VERSION 7\n", "C2"),
        ("VERSION-ERROR x\n", "VERSION-ERROR"),
        (V + "PROXY-ERROR x\n", "PROXY-ERROR"),
        ("PROXY-ERROR x\n", "PROXY-ERROR"),
        (V + F + D, "C44"),
        (D, "C67"),
    ],
)
def test_what_is_not(written: str, code: str) -> None:
    session = HostSession([PT1], Role.CLIENT, ["foo"], proxy=True)
    session.receive_data(OUT, written.encode())
    assert session.failure is not None
    assert session.failure.code == code


def test_an_error_does_not_take_a_ready_process_away() -> None:
    session = host()
    session.receive_data(OUT, (V + F + D).encode())
    for stream in Stream:
        (_, violation) = session.receive_data(stream, b"ENV-ERROR x\n")
        assert isinstance(violation, Violation)
        assert violation.rule == "C26"
    assert session.done


def test_a_host_may_forgive_that_no_version_is_named() -> None:
    session = HostSession([PT2_2], Role.CLIENT, ["foo"], lax=True)
    assert len(session.receive_data(OUT, b"LOG INFO x\nCMETHODS DONE\n")) == 2
    assert (session.done, session.version) == (True, None)


def test_a_host_may_want_a_remote_listener() -> None:
    session = HostSession([PT1], Role.CLIENT, ["foo"], allow_remote=True)
    session.receive_data(OUT, b"VERSION 1\nCMETHOD foo socks5 192.0.2.7:1\n")
    assert session.methods


def test_without_a_list_every_known_version_is_right() -> None:
    session = HostSession(None, Role.CLIENT, ["foo"])
    session.receive_data(OUT, b"VERSION 2.1\n")
    assert session.dialect == evolve(PT2_0, version="2.1")


def test_both_ends_understand_each_other() -> None:
    """Whatever a transport process may say is no violation to the host, in every edition."""
    for dialect in DIALECTS:
        transport = TransportSession(
            dialect, Role.CLIENT, ["foo", "bar"], proxy=True, log_threshold=LogLevel.DEBUG
        )
        session = HostSession([dialect], Role.CLIENT, ["foo", "bar"], proxy=True)
        events: list[Event] = []
        for message in (
            Log(LogLevel.INFO, "hello"),
            Version(dialect.version),
            StatusVersion("ptipc", "1"),
            ProxyDone(),
            FOO,
            CMethodError("bar", "no reason"),
            CMethodsDone(),
            Status([("TRANSPORT", "foo"), ("CONNECT", "Success")]),
        ):
            for stream, data in transport.send(message):
                events += session.receive_data(stream, data)
        assert [event for event in events if not isinstance(event, Heard)] == []
        assert session.done
        assert session.methods == {"foo": FOO}
        assert session.errors == {"bar": "no reason"}


GARBAGE = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [
                b"VERSION 1\n",
                b"VERSION 2\r\n",
                b"VERSION-ERROR\n",
                b"ENV-ERROR x\n",
                b"PROXY DONE\n",
                b"PROXY-ERROR x\n",
                b"CMETHOD foo socks5 127.0.0.1:1\n",
                b"CMETHOD foo STUN 192.0.2.7:1\n",
                b"CMETHOD-ERROR foo x\n",
                b"CMETHOD-ERROR  x\n",
                b"CMETHODS DONE\n",
                b"SMETHOD foo 192.0.2.7:1 ARGS:a=b;c=d X:y\n",
                b"SMETHOD-ERROR foo x\n",
                b"SMETHODS DONE\n",
                b"LOG SEVERITY=x\n",
                b"STATUS A=b\n",
                b"STATUS\n",
            ]
        ),
    ),
    max_size=12,
)


@given(
    st.lists(st.tuples(st.sampled_from(Stream), GARBAGE.map(b"".join)), max_size=4),
    st.sampled_from([None, (PT1,), (PT2_0,), DIALECTS, ()]),
    st.sampled_from(Role),
    st.booleans(),
    st.booleans(),
)
def test_nothing_that_a_process_writes_raises(
    writes: list[tuple[Stream, bytes]],
    offered: tuple[object, ...] | None,
    role: Role,
    proxy: bool,
    lax: bool,
) -> None:
    dialects = None if offered is None else [each for each in DIALECTS if each in offered]
    session = HostSession(dialects, role, ["foo"], proxy=proxy, lax=lax)
    for stream, data in writes:
        session.receive_data(stream, data)
    for stream in Stream:
        session.receive_eof(stream)
    assert session.done != (session.failure is not None)
    assert set(session.methods) | set(session.errors) <= {"foo"}
