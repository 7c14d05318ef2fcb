"""The catalogue of bad processes, launched from threads: the outcomes that ``ptipc.aio`` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ptipc.blocking import TransportProcess, launch
from ptipc.core.codecs import Address, LogLevel
from ptipc.core.errors import PtipcError, RemoteProtocolError
from ptipc.core.launch import LaunchError, ProcessEnded
from ptipc.core.messages import Log, Unknown
from ptipc.core.session import Heard, Incomplete, Violation
from ptipc.core.socks import RequestForbidden, TargetRefused
from tests.aio.hosting import IMPATIENT, nothing_left, program

TARGET = Address("192.0.2.7", 443)


def outcome(
    command: Sequence[str], *, dial: bool = False, **settings: Any
) -> tuple[TransportProcess | None, BaseException | None]:
    """What comes of a process, when it is launched, dialled if so wished, and ended."""
    process = None
    with nothing_left() as pids:
        try:
            with launch(
                command,
                client=settings.pop("client", ["one"]),
                stop_timeouts=IMPATIENT,
                **settings,
            ) as process:
                assert process.pid is not None
                pids.append(process.pid)
                if dial:
                    process.dial("one", TARGET, timeout=10)
        except (PtipcError, OSError) as error:
            return process, error
        return process, None


def launch_error(command: Sequence[str], **settings: Any) -> LaunchError:
    process, error = outcome(command, **settings)
    assert process is None
    assert isinstance(error, LaunchError)
    return error


def works(command: Sequence[str], **settings: Any) -> TransportProcess:
    process, error = outcome(command, **settings)
    assert error is None
    assert process is not None
    return process


def violations(process: TransportProcess) -> list[str]:
    return [event.rule for event in process.transcript if isinstance(event, Violation)]


# --- those that do not become ready ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "settings", "text"),
    [
        (["silent"], {"timeout": 0.2}, "still waiting for VERSION; it said nothing"),
        (["crash_early"], {}, "ended with exit 7 before it was ready; it said 'VERSION 1' last"),
        (["crash_early", "11"], {}, "signal SIGSEGV"),
        (["crash_early", "9"], {}, "signal SIGKILL"),
        (["not_managed"], {}, "usage: not_managed"),
        (["done_and_gone", "none"], {}, "exit 255"),
        (["closing"], {}, "closed its outputs before it was ready"),
        (["parent"], {}, "exit 5"),
        (["methods", "CMETHOD one socks5 192.0.2.1:9"], {}, "what was required is not up"),
    ],
)
def test_one_that_does_not_become_ready_is_an_error_of_the_launch(
    command: list[str], settings: dict[str, Any], text: str
) -> None:
    assert text in str(launch_error(program(*command), **settings))


def test_one_that_stops_half_way_is_told_what_is_missing() -> None:
    for seconds in (0.5, 5.0, 50.0):  # a busy machine may not even have started it by then
        error = launch_error(program("mumbling"), timeout=seconds, client=["one", "two"])
        if error.transcript:
            break
    assert "still waiting for two" in str(error)


def test_the_error_has_what_there_is_to_know() -> None:
    error = launch_error(program("crash_early"))
    assert error.returncode == 7
    assert error.stderr == ("something was wrong", "and this is why")
    silent = launch_error(program("silent"), timeout=0.2)
    assert silent.hint is not None
    assert "not a managed transport?" in silent.hint
    proxied = launch_error(program("crash_early"), proxy="socks5://127.0.0.1:9")
    assert proxied.hint is not None
    assert "goptlib" in proxied.hint


# --- those that are ready and then are not --------------------------------------------------------


def test_one_that_crashes_late_fails_the_connection() -> None:
    _, error = outcome(program("crash_late"), dial=True)
    assert isinstance(error, ProcessEnded)
    assert "exit 3" in str(error)


def test_one_that_ends_when_ready_is_found_out() -> None:
    """Whether before the launch is over or after depends on who is quicker."""

    def live() -> None:
        with launch(program("done_and_gone"), client=["one"]) as process:
            assert process.exited.wait(20)
            process.dial("one", TARGET)

    with nothing_left(), pytest.raises((LaunchError, ProcessEnded), match="exit 255"):
        live()


def test_an_unreachable_port_is_named() -> None:
    _, error = outcome(program("methods", "CMETHOD one socks5 127.0.0.1:1"), dial=True)
    assert isinstance(error, ConnectionRefusedError)
    assert "cannot reach the port of one at 127.0.0.1:1" in str(error)


# --- those that are deaf or talk too much ---------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("child",)])
def test_a_deaf_one_is_killed(words: tuple[str, ...]) -> None:
    assert works(program("deaf", *words)).returncode == -9


def test_a_flood_on_stderr_blocks_nobody_and_fills_no_memory() -> None:
    process = works(program("flood"))
    assert sum(len(event.line) for event in process.transcript) <= 1 << 20
    assert process.transcript.lost > 0
    assert len(process.stderr) <= 100


def test_an_endless_line_is_cut() -> None:
    process = works(program("long_line"))
    cut = [event for event in process.transcript if isinstance(event, Incomplete)]
    assert [event.truncated for event in cut] == [True]
    assert len(cut[0].line) == 64 * 1024


def test_a_slow_one_is_waited_for() -> None:
    assert list(works(program("slow")).methods) == ["one"]


# --- those that cannot write ----------------------------------------------------------------------


def test_what_is_not_text_is_survived() -> None:
    process = works(program("not_text"))
    heard = [event.message for event in process.transcript if isinstance(event, Heard)]
    assert any(isinstance(each, Log) and each.text == "caf\ufffd" for each in heard)
    assert any(isinstance(each, Unknown) for each in heard)


def test_windows_line_ends_are_line_ends() -> None:
    assert violations(works(program("crlf"))) == []


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["CMETHOD one socks5 127.0.0.1:1", "CMETHOD one socks5 127.0.0.1:2"], "C27"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD bad-name socks5 127.0.0.1:1"], "syntax"),
        (["CMETHOD one socks5 127.0.0.1:2", "SMETHOD one 127.0.0.1:1"], "role"),
        (["CMETHOD one socks5 127.0.0.1:2", "PROXY DONE"], "C43"),
    ],
)
def test_lines_against_the_rules_are_told_and_passed_over(lines: list[str], rule: str) -> None:
    process = works(program("methods", *lines))
    assert violations(process) == [rule]
    assert process.method("one").address == Address("127.0.0.1", 2)


def test_what_is_settled_when_ready_stays_settled() -> None:
    with nothing_left():
        with launch(program("after_done"), client=["one"]) as process:
            for event in process.events(timeout=20):
                if isinstance(event, Heard) and event.message == Log(LogLevel.NOTICE, "the last"):
                    break
            assert process.method("one").address == Address("127.0.0.1", 9)
        assert violations(process) == ["C26"] * 5


# --- those whose port lies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        (["48 54 54 50 2f 31"], RemoteProtocolError, "looks like HTTP"),
        (["05 80"], RemoteProtocolError, "chose 0x80, which was not offered"),
        (["05 ff", "close"], RequestForbidden, "accepts none of the methods"),
        (["05 00", "05 05 00 01", "close"], TargetRefused, "192.0.2.7:443: the target refused"),
        (["close"], (RemoteProtocolError, ConnectionError), "closed|broke"),
        (["05 00", "05", "close"], (RemoteProtocolError, ConnectionError), "closed|broke"),
        (["reset"], ConnectionError, "broke|cannot reach"),
        (["05 00", "reset"], ConnectionError, "broke"),
    ],
)
def test_a_port_that_lies_is_found_out(
    answers: list[str], kind: type[Exception], text: str
) -> None:
    process, error = outcome(program("liar", *answers), dial=True)
    assert process is not None
    assert isinstance(error, kind)
    assert any(part in str(error) for part in text.split("|"))


def test_a_port_that_says_nothing_costs_no_more_than_the_time_for_it() -> None:
    with nothing_left(), launch(program("liar", "05 00", "keep"), client=["one"]) as process:
        with pytest.raises(TimeoutError, match=r"no connection within 0\.2 seconds"):
            process.dial("one", TARGET, timeout=0.2)
        process.stop(IMPATIENT)


@pytest.mark.parametrize("early", ["", " 68 65 6c 6c 6f"])
@pytest.mark.parametrize("way", ["dial", "dial_socket"])
def test_what_the_target_says_early_is_kept(way: str, early: str) -> None:
    """It may come in one piece with the reply; a socket then still holds it."""
    reply = "05 00 00 01 00 00 00 00 00 00" + early
    words = program("liar", "05 00", reply, "68 65 6c 6c 6f")
    with nothing_left(), launch(words, client=["one"]) as process:
        if way == "dial":
            stream = process.dial("one", TARGET)
            stream.send(b"?")
            assert stream.receive(5) == b"hello"
            stream.close()
        else:
            with process.dial_socket("one", TARGET) as connection:
                connection.sendall(b"?")
                assert connection.recv(5) == b"hello"
