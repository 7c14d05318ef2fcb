"""What a host knows of a process that it started, and what it says about its end."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ptipc.core.account import Account, start_error
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address, Protocol, UpstreamProxy
from ptipc.core.diagnosis import Nature
from ptipc.core.dialects import PT1, PT2_0, PT2_2, Stream
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.launch import ProcessEnded, plan
from ptipc.core.messages import CMethod, SMethod, StatusVersion

HERE = Address("127.0.0.1", 1)
UP = "VERSION 1\nCMETHOD a socks5 127.0.0.1:1\nCMETHOD-ERROR b it is broken\n"
READY = UP + "CMETHODS DONE\n"
SERVER = "VERSION 1\nSMETHOD a 127.0.0.1:1 ARGS:cert=x\nSMETHODS DONE\n"
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


def account_of(text: str = "", stderr: str = "", **settings: Any) -> Account:
    """An account of a process that has said some lines, of a client if nothing else is said."""
    asked: dict[str, Any] = {} if "server" in settings else {"client": ["a", "b", "c"]}
    account = Account(plan(["/usr/bin/pt", "-v"], **asked, **settings))
    say(account, text)
    say(account, stderr, Stream.STDERR)
    return account


def say(account: Account, text: str, stream: Stream = Stream.STDOUT) -> None:
    for event in account.session.receive_data(stream, text.encode()):
        account.note(event)


def close(account: Account) -> Account:
    for stream in Stream:
        for event in account.session.receive_eof(stream):
            account.note(event)
    return account


# --- what it is -----------------------------------------------------------------------------------


def test_it_knows_what_was_started() -> None:
    account = account_of(timeout=5)
    assert account.command == ("/usr/bin/pt", "-v")
    assert account.config is account.plan.config
    assert account.session.transports == ("a", "b", "c")
    assert account.plan.timeout == 5


def test_two_processes_of_one_plan_are_not_the_same() -> None:
    account = account_of()
    assert Account(account.plan) != Account(account.plan)


def test_it_takes_down_what_is_said() -> None:
    account = account_of(READY, stderr="one\ntwo\n")
    assert [event.line for event in account.transcript] == [*READY.splitlines(), "one", "two"]
    assert account.stderr == ["one", "two"]
    assert account.methods == {"a": CMethod("a", Protocol.SOCKS5, HERE)}
    assert account.errors == {"b": "it is broken"}
    assert account.implementation is None


def test_it_keeps_the_last_of_stderr() -> None:
    account = account_of(stderr="".join(f"{number}\n" for number in range(300)))
    assert account.stderr == [str(number) for number in range(200, 300)]
    assert len(account.transcript) == 300


def test_the_last_line_on_stderr_needs_no_end() -> None:
    """So it is with many a program that dies; and a line without an end on stdout stays there."""
    account = close(account_of("VERSION 1", stderr="one\nfatal error"))
    assert account.stderr == ["one", "fatal error"]
    assert "'VERSION 1' last" in str(account.error("ended", 1, "exit 1"))


def test_a_process_says_what_program_it_is() -> None:
    account = account_of(
        "VERSION 1\nSTATUS TYPE=version IMPLEMENTATION=lyrebird VERSION=0.6\nCMETHODS DONE\n"
    )
    assert account.implementation == StatusVersion("lyrebird", "0.6")


# --- its transports -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        ("b", "no transport 'b': it is broken"),
        ("c", "no transport 'c': the process did not offer it"),
    ],
)
def test_why_a_transport_is_not_up(transport: str, text: str) -> None:
    account = account_of(READY)
    for asked in (
        account.method,
        account.client_method,
        account.bridge_line,
        account.upstream_proxy,
        lambda name: account.port_of(name, tuple, None),
    ):
        with pytest.raises(LookupError) as caught:
            asked(transport)
        assert caught.value.args == (text,)
        assert caught.value.__cause__ is None


def test_a_servers_transport_dials_nobody() -> None:
    account = account_of(SERVER, server=["a"])
    assert account.method("a") == SMethod("a", HERE, Args({"cert": "x"}))
    with pytest.raises(LookupError, match="'a' is a server's transport"):
        account.client_method("a")
    with pytest.raises(LookupError, match="dials nobody"):
        account.upstream_proxy("a")
    with pytest.raises(LookupError, match="dials nobody"):
        account.port_of("a", tuple, None)


def test_a_bridge_line_has_the_args_of_a_server() -> None:
    account = account_of(SERVER, server=["a"])
    assert str(account.bridge_line("a", FINGERPRINT)) == f"a 127.0.0.1:1 {FINGERPRINT} cert=x"
    assert str(account.bridge_line("a")) == "a 127.0.0.1:1 cert=x"
    assert account_of(READY).bridge_line("a") == BridgeLine(transport="a", address=HERE)


def test_a_transport_is_a_proxy_for_another_process() -> None:
    account = account_of(READY)
    assert account.upstream_proxy("a") == UpstreamProxy("socks5", HERE)
    assert account.upstream_proxy("a", {"k": "v"}) == UpstreamProxy("socks5", HERE, "k=v", "\0")
    with pytest.raises(LocalProtocolError, match="do not fit"):
        account.upstream_proxy("a", {"k": "v" * 600})


def test_a_port_is_what_was_said_of_a_transport() -> None:
    def ended() -> str:
        return "exit 1"

    port = account_of(READY).port_of("a", ended, None)
    assert (port.transport, port.protocol, port.address) == ("a", Protocol.SOCKS5, HERE)
    assert port.ended is ended


def test_a_port_speaks_the_edition_that_was_agreed_on() -> None:
    chosen = account_of(READY.replace("VERSION 1", "VERSION 2"), offered=[PT2_0])
    assert chosen.port_of("a", tuple, None).dialect == PT2_0
    silent = account_of(READY.removeprefix("VERSION 1\n"), lax=True)
    assert silent.session.dialect is None
    assert silent.port_of("a", tuple, None).dialect == PT1


def test_an_ended_process_has_no_ports() -> None:
    with pytest.raises(ProcessEnded, match="the process of a has ended with exit 1"):
        account_of(READY).port_of("a", tuple, "exit 1")


# --- what it says meanwhile -----------------------------------------------------------------------


def test_a_port_repeats_what_was_said_since() -> None:
    account = account_of(READY + 'LOG SEVERITY=error MESSAGE="before"\n')
    port = account.port_of("a", tuple, None)
    assert port.said() == []
    said = [
        'LOG SEVERITY=notice MESSAGE="a notice"',
        "STATUS TRANSPORT=a K=v",
        "LOG whatever",
    ]
    say(account, said[0] + "\n")
    assert port.said() == said[:1]
    say(account, "\n".join([*said[1:], ""]))
    assert port.said() == said
    assert account.port_of("a", tuple, None).said() == []


def test_a_port_repeats_the_last_three_lines_only() -> None:
    account = account_of(READY)
    port = account.port_of("a", tuple, None)
    for number in range(5):
        say(account, f'LOG SEVERITY=error MESSAGE="{number}"\n')
    assert port.said() == [f'LOG SEVERITY=error MESSAGE="{number}"' for number in (2, 3, 4)]


def test_a_port_repeats_nothing_that_is_not_for_people() -> None:
    account = account_of(READY)
    port = account.port_of("a", tuple, None)
    say(account, 'LOG SEVERITY=debug MESSAGE="x"\nLOG SEVERITY=info MESSAGE="x"\nHELLO\n')
    say(account, "a stack trace\n", Stream.STDERR)
    assert len(account.transcript) == len(READY.splitlines()) + 4
    assert port.said() == []


def test_a_port_knows_what_is_new_when_the_old_is_lost() -> None:
    """The transcript is bounded, so its length says nothing about what came since."""
    account = account_of(READY)
    long = "x" * 60000
    port = account.port_of("a", tuple, None)
    say(account, 'LOG SEVERITY=error MESSAGE="lost"\n')
    for _ in range(40):
        say(account, long + "\n", Stream.STDERR)
    assert account.transcript.lost > len(READY.splitlines())
    assert port.said() == []
    later = account.port_of("a", tuple, None)
    say(account, 'LOG SEVERITY=error MESSAGE="new"\n')
    assert port.said() == later.said() == ['LOG SEVERITY=error MESSAGE="new"']


# --- what becomes of the launch -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "settings", "settled", "complete"),
    [
        ("", {}, False, False),
        (UP, {}, False, True),
        (READY, {}, True, True),
        (READY, {"require": "all"}, True, False),
        (UP + "ENV-ERROR because\n", {}, True, False),
        ("VERSION-ERROR no-version\n", {}, True, False),
    ],
)
def test_a_launch_is_settled_or_complete(
    text: str, settings: dict[str, Any], settled: bool, complete: bool
) -> None:
    account = account_of(text, **settings)
    assert account.is_settled is settled
    assert account.is_complete is complete


def test_who_is_late_is_told_what_is_missing() -> None:
    assert account_of(UP, timeout=2.5).lateness == (
        "not ready within 2.5 seconds: still waiting for c"
    )
    assert account_of(timeout=30.0).lateness == (
        "not ready within 30 seconds: still waiting for VERSION"
    )


def test_what_a_process_says_of_its_failure_is_cut_if_it_is_long() -> None:
    account = account_of(f"VERSION 1\nENV-ERROR {'x' * 60_000}\n")
    assert account.failing(None).endswith("xxx... (59,500 more characters) (ENV-ERROR)")


def test_why_a_transport_is_not_up_is_cut_if_it_is_long() -> None:
    account = account_of(f"VERSION 1\nCMETHOD-ERROR b {'x' * 60_000}\nCMETHODS DONE\n")
    with pytest.raises(LookupError, match=r"xxx\.\.\. \(59,500 more characters\)$"):
        account.method("b")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("CMETHOD a socks5 192.0.2.1:9", "a client listens on '192.0.2.1:9', not on loopback"),
        ("CMETHOD a socks5 127.0.0.1:99999", "'99999'"),
    ],
)
def test_a_line_that_was_not_taken_is_why_a_transport_is_not_up(line: str, reason: str) -> None:
    """The process has not passed over it, and who reads the error has to know that."""
    account = account_of(f"VERSION 1\n{line}\nCMETHODS DONE\n", require=["a", "c"])
    with pytest.raises(LookupError, match="no transport 'a': its line was not taken: ") as caught:
        account.method("a")
    assert reason in str(caught.value)
    assert reason in account.failing(None)
    assert "c: the process did not offer it" in account.failing(None)
    assert ("allow_remote" in (account.error("x", None, None).hint or "")) is ("192" in line)


@pytest.mark.parametrize("status", [None, "exit 1"])
def test_what_a_process_says_of_its_failure_comes_first(status: str | None) -> None:
    account = close(account_of("VERSION 1\nENV-ERROR because\n"))
    assert account.failing(status) == str(account.session.failure)
    assert "because" in account.failing(status)
    assert account.failing(status).endswith("(ENV-ERROR)")


def test_a_process_may_fall_silent_before_it_is_ready() -> None:
    account = close(account_of(UP))
    assert account.failing(None) == "it closed its outputs before it was ready"
    assert account.failing("exit 1") == "ended with exit 1 before it was ready"


def test_a_process_may_be_ready_and_of_no_use() -> None:
    account = account_of(READY, require=["b"])
    missing = "what was required is not up (b: it is broken)"
    assert account.failing(None) == missing
    assert account.failing("exit 1") == f"{missing}, and it ended with exit 1"


def test_a_process_may_end_as_soon_as_it_is_ready() -> None:
    account = close(account_of(READY))
    assert account.session.failure is None
    assert account.failing("signal SIGKILL") == "ended with signal SIGKILL as soon as it was ready"


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_has_all_that_is_known() -> None:
    account = close(account_of("usage: pt\n", stderr="which settings?\n"))
    error = account.error("ended", 1, "exit 1")
    assert str(error).startswith("pt: ended; ")
    assert error.reason.startswith("ended; ")
    assert error.transcript == tuple(account.transcript)
    assert error.stderr == ("which settings?",)
    assert (error.returncode, error.errno, error.final) == (1, None, False)
    assert "not a managed transport?" in (error.hint or "")


def test_an_error_of_what_would_be_said_again_is_final() -> None:
    error = account_of("VERSION 1\nENV-ERROR because\n").error("failed", None, None)
    assert error.final
    assert error.returncode is None


def test_a_hint_depends_on_what_the_process_was_told() -> None:
    ended = ("ended", 1, "exit 1")
    assert "from variables" in (close(account_of()).error(*ended).hint or "")
    assert "from flags" in (close(account_of(dialect=PT2_2)).error(*ended).hint or "")
    by_variables = account_of(dialect=PT2_2, channel="environment")
    assert "from variables" in (close(by_variables).error(*ended).hint or "")
    by_flags = account_of(dialect=PT2_0, channel="flags")
    assert "from flags" in (close(by_flags).error(*ended).hint or "")
    around = account_of("VERSION 1\nCMETHODS DONE\n", proxy="socks5://127.0.0.1:9")
    assert "gone around it" in (around.error(*ended).hint or "")


# --- a start that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize("filename", [None, "pt"])
def test_a_program_that_cannot_be_started(filename: str | None) -> None:
    error = start_error(OSError(errno.ENOENT, "not there", filename), "pt", "nothing")
    assert str(error).startswith(f"cannot start 'pt': not there (error {errno.ENOENT})")
    assert error.errno == errno.ENOENT
    assert "PATH" in (error.hint or "")
    assert error.final


def test_who_could_not_start_it_may_matter() -> None:
    error = start_error(OSError(errno.EACCES, "no"), "pt", "file", user=0)
    assert str(error).startswith(f"cannot start 'pt': no (error {errno.EACCES}, as user 0)")


@pytest.mark.parametrize(
    ("filename", "nature", "hint"), [("/gone", "program", False), ("", "program", True)]
)
def test_it_may_be_something_else_that_is_not_there(
    filename: str, nature: Nature, hint: bool
) -> None:
    """The hint is about what is missing, not about the program, if it is known what that is."""
    error = start_error(OSError(errno.ENOENT, "not there", filename), "pt", nature)
    text = f"cannot start 'pt', for {filename!r} is not as it should be: not there (error 2)"
    assert str(error).startswith(text)
    assert ("#!" in (error.hint or "")) is hint


def test_what_may_be_otherwise_later_is_not_final() -> None:
    assert not start_error(OSError(errno.EAGAIN, "later"), "pt", "program").final
