"""The plan of a launch, what it may say, and what is told when it fails."""

from __future__ import annotations

import pickle
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, Protocol, UpstreamProxy
from ptipc.core.dialects import PT1, PT2_0, PT2_2, Role, Stream
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.launch import (
    Client,
    LaunchError,
    Plan,
    ProcessEnded,
    Recent,
    launch_config,
    plan,
    proxy_of,
    running_port,
    unmet,
)
from ptipc.core.messages import CMethod
from ptipc.core.session import Event, StderrText

HERE = Address("127.0.0.1", 9001)


# --- the configuration ----------------------------------------------------------------------------


def test_a_client_is_asked_for_by_the_names_of_its_transports() -> None:
    config = launch_config(client=iter(["obfs4", "meek"]), proxy="socks5://127.0.0.1:9", state="/s")
    assert config.role is Role.CLIENT
    assert config.dialect is PT1
    assert config.transports == ("obfs4", "meek")
    assert config.proxy == UpstreamProxy("socks5", Address("127.0.0.1", 9))
    assert config.state == "/s"


def test_a_server_may_say_where_its_transports_listen() -> None:
    config = launch_config(
        server={"obfs4": "[::1]:443", "meek": None, "plain": HERE},
        target="127.0.0.1:9001",
        extended_port=HERE,
        dialect=PT2_0,
    )
    assert config.role is Role.SERVER
    assert config.transports == ("obfs4", "meek", "plain")
    assert config.bind_addresses == {"obfs4": Address("::1", 443), "plain": HERE}
    assert config.target == config.extended_port == HERE
    assert launch_config(server=["obfs4"]).bind_addresses == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "either a client or a server"),
        ({"client": ["a"], "server": ["a"]}, "either a client or a server"),
        ({"client": "obfs4"}, "client: a list of names"),
        ({"server": "obfs4"}, "server: a list of names"),
        ({"client": ["a"], "proxy": "ftp://127.0.0.1:1"}, "proxy: "),
        ({"client": ["a"], "listen": "localhost:1"}, "listen: "),
        ({"server": {"a": "nowhere"}}, "server: "),
        ({"server": ["a"], "target": "x"}, "target: "),
        ({"server": ["a"], "extended_port": "x:1"}, "extended_port: "),
    ],
)
def test_what_cannot_be_said_is_our_callers_fault(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        launch_config(**settings)


# --- the plan -------------------------------------------------------------------------------------


def test_a_plan_says_everything_that_a_launch_does() -> None:
    path = PurePosixPath("/usr/bin/lyrebird")
    made = plan(
        [path, "-v"],
        client=["obfs4"],
        cwd=PurePosixPath("/tmp"),
        state=path,
        timeout=5,
        require={"obfs4"},
    )
    assert made.command == ("/usr/bin/lyrebird", "-v")
    assert made.name == "lyrebird"
    assert made.cwd == "/tmp"
    assert made.config.state == "/usr/bin/lyrebird"
    assert made.timeout == 5
    assert made.stop_timeouts == (3.0, 3.0)
    assert plan(["C:\\Tor\\lyrebird.exe"], client=["obfs4"]).name == "lyrebird.exe"


def test_equal_plans_start_the_same() -> None:
    assert plan(["pt"], client=["a"]) == plan(("pt",), client=("a",))
    assert plan(["pt"], client=["a"]) != plan(["pt"], client=["a"], lax=True)
    assert plan(["pt"], client=["a"]) != plan(["pt"], client=["a"], proxy="http://127.0.0.1:9")


def test_a_plan_keeps_the_environment_to_itself() -> None:
    assert "s3cret" not in repr(plan(["pt"], client=["a"], environ={"TOKEN": "s3cret"}))


async def handler(stream: object, client: Client) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"command": "obfs4proxy -v"}, "command: a list of words"),
        ({"command": []}, "nothing to start"),
        ({"require": "some"}, "neither any, nor all"),
        ({"require": ["b"]}, r"nobody asks for \['b'\]"),
        ({"handler": handler}, "only a server"),
        (
            {"client": None, "server": ["a"], "extended_port": HERE, "handler": handler},
            "leads somewhere else",
        ),
    ],
)
def test_a_plan_that_makes_no_sense_is_our_callers_fault(
    settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        plan(**{"command": ["pt"], "client": ["a"], **settings})


def test_an_unknown_setting_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="colour"):
        plan(["pt"], client=["a"], colour="red")  # type: ignore[call-arg]


def test_a_plan_makes_the_invocation_and_the_session() -> None:
    made = plan(["pt"], client=["a"], dialect=PT1, offered=[PT2_0], state="/s", lax=True)
    assert made.invocation().set["TOR_PT_MANAGED_TRANSPORT_VER"] == "1,2"
    session = made.session()
    session.receive_data(Stream.STDOUT, b"VERSION 2\nCMETHOD a socks5 127.0.0.1:1\nCMETHODS DONE\n")
    assert session.done
    assert session.dialect == PT2_0
    by_flags = plan(["pt"], client=["a"], dialect=PT2_2, offered=[PT1], channel="flags")
    assert "2.2,1" in by_flags.invocation().argv


# --- what has come up -----------------------------------------------------------------------------


def session_of(**settings: Any) -> Plan:
    return plan(["pt"], client=["up", "failed", "ignored"], **settings)


REASONS = {"failed": "it is broken", "ignored": "the process did not offer it"}


@pytest.mark.parametrize(
    ("require", "reason"),
    [
        ("any", None),
        (["up"], None),
        ("all", "(failed: it is broken; ignored: the process did not offer it)"),
        (["failed"], "(failed: it is broken)"),
    ],
)
def test_what_is_required_has_to_be_up(require: Any, reason: str | None) -> None:
    session = session_of().session()
    session.receive_data(
        Stream.STDOUT,
        b"VERSION 1\nCMETHOD up socks5 127.0.0.1:1\nCMETHOD-ERROR failed it is broken\n"
        b"CMETHODS DONE\n",
    )
    text = unmet(require, session, lambda name: REASONS[name])
    assert text == (None if reason is None else f"what was required is not up {reason}")


def test_any_of_nothing_is_not_enough() -> None:
    assert "ignored: IGNORED" in (unmet("any", session_of().session(), str.upper) or "")


# --- errors ---------------------------------------------------------------------------------------


def test_a_launch_error_ends_with_what_helps() -> None:
    session = session_of().session()
    events = session.receive_data(Stream.STDOUT, b"VERSION 1\n")
    error = LaunchError(
        "ended", transcript=events, stderr=["a", "b"], returncode=7, hint="look", final=True
    )
    assert str(error) == ("ended; it said 'VERSION 1' last; on stderr it wrote 'b'; hint: look")
    assert (error.returncode, error.errno, error.final) == (7, None, True)
    assert error.transcript == tuple(events)
    assert str(LaunchError("late")) == "late; it said nothing"
    assert str(LaunchError("cannot start", errno=2)) == "cannot start"


def test_a_launch_error_repeats_only_the_beginning_of_what_is_long() -> None:
    """A process may say 64 kB in a line; all of it is in the transcript."""
    session = session_of().session()
    events = session.receive_data(Stream.STDOUT, b"VERSION 1\nLOG " + b"x" * 60_000 + b"\n")
    error = LaunchError("ended", transcript=events, stderr=["y" * 2_000])
    assert "'LOG xxx" in str(error)
    assert "xxx... (59,504 more characters)' last; on stderr it wrote 'yyy" in str(error)
    assert "yyy... (1,500 more characters)'" in str(error)
    assert len(str(error)) < 1_200
    assert len(error.transcript[-1].line) == 60_004
    assert len(error.stderr[-1]) == 2_000


def test_a_launch_error_names_the_program_but_for_those_who_have_named_it() -> None:
    error = LaunchError("late", program="pt")
    assert str(error) == "pt: late; it said nothing"
    assert error.reason == "late; it said nothing"


def test_last_words_need_no_end() -> None:
    """A program that does not end its lines has a bug, which is seen nowhere else."""
    session = session_of().session()
    session.receive_data(Stream.STDOUT, b"VERSION 1")
    error = LaunchError("ended", transcript=session.receive_eof(Stream.STDOUT))
    assert str(error) == "ended; it said 'VERSION 1' last, a line without its end"


def test_a_launch_error_can_be_sent_to_another_process() -> None:
    sent = LaunchError("ended", program="pt", returncode=7, stderr=["a"], hint="look")
    error = pickle.loads(pickle.dumps(sent))
    assert str(error) == str(sent)
    assert vars(error) == vars(sent)
    assert error.returncode == 7
    assert error.stderr == ("a",)


def test_an_ended_process_is_a_broken_connection() -> None:
    assert issubclass(ProcessEnded, ConnectionError)


# --- running already ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "protocol"),
    [
        (HERE, Protocol.SOCKS5),
        ("127.0.0.1:9001", Protocol.SOCKS5),
        ("socks5://127.0.0.1:9001/", Protocol.SOCKS5),
        ("socks4a://127.0.0.1:9001", Protocol.SOCKS4),
        ("Transparent-TCP://127.0.0.1:9001", Protocol.TRANSPARENT_TCP),
        ("stun://127.0.0.1:9001", Protocol.STUN),
    ],
)
def test_where_a_running_transport_is(place: str | Address, protocol: Protocol) -> None:
    assert running_port(place) == (protocol, HERE)


@pytest.mark.parametrize("place", ["ftp://127.0.0.1:1", "localhost:1", "192.0.2.7:1", ""])
def test_where_none_can_be(place: str) -> None:
    with pytest.raises(LocalProtocolError):
        running_port(place)
    if place.startswith("192"):
        assert running_port(place, allow_remote=True)[1] == Address("192.0.2.7", 1)


# --- as a proxy -----------------------------------------------------------------------------------


def test_a_transport_is_a_proxy_for_another_process() -> None:
    method = CMethod("obfs4", Protocol.SOCKS5, HERE)
    assert proxy_of(method, Args()) == UpstreamProxy("socks5", HERE)
    assert proxy_of(method, Args({"a": "b;c"})) == UpstreamProxy("socks5", HERE, "a=b\\;c", "\0")
    long = proxy_of(method, Args({"a": "é" * 200}))
    assert long.user is not None
    assert long.password is not None
    octets = (long.user + long.password).encode("utf-8", "surrogateescape")
    assert octets.decode() == "a=" + "é" * 200
    assert len(long.user.encode("utf-8", "surrogateescape")) == 255
    four = CMethod("obfs4", Protocol.SOCKS4, HERE)
    assert proxy_of(four, Args()) == UpstreamProxy("socks4a", HERE)
    assert proxy_of(four, Args({"a": "b"})) == UpstreamProxy("socks4a", HERE, "a=b")


@pytest.mark.parametrize(
    ("protocol", "args", "text"),
    [
        (Protocol.STUN, {}, "not the protocol of a proxy"),
        (Protocol.SOCKS5, {"a": "b" * 600}, "do not fit in a user name and a password"),
        (Protocol.SOCKS4, {"a": "b" * 300}, "do not fit in the user id"),
    ],
)
def test_not_every_transport_is_a_proxy(
    protocol: Protocol, args: dict[str, str], text: str
) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        proxy_of(CMethod("a", protocol, HERE), Args(args))


# --- what it said ---------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=40)), st.integers(1, 10), st.integers(1, 100))
def test_what_is_recent_is_bounded_and_the_latest(lines: list[str], limit: int, size: int) -> None:
    """However long a line is, the last one is kept."""
    recent: Recent[Event] = Recent(limit=limit, size=size)
    for line in lines:
        recent.append(StderrText(line))
        kept = [event.line for event in recent]
        assert kept[-1] == line
        assert len(kept) == len(recent) <= limit
        assert sum(map(len, kept)) <= size or len(kept) == 1
    assert recent.lost == len(lines) - len(recent)
    assert [event.line for event in recent] == lines[len(lines) - len(recent) :]


def test_what_is_recent_can_be_measured_in_another_way() -> None:
    recent: Recent[bytes] = Recent(len, size=3)
    recent.append(b"ab")
    recent.append(b"cd")
    assert recent.take() == b"cd"
    with pytest.raises(IndexError):
        recent.take()
