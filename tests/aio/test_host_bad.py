"""The catalogue of bad processes: what comes of each, and that nothing is left of it.

Every one ends as documented here, whatever the event loop: as an error of ``launch``, as one of
``dial``, or as a process that works all the same and a violation that is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ptipc.aio import TransportProcess, launch
from ptipc.core.codecs import Address, LogLevel
from ptipc.core.errors import PtipcError, RemoteProtocolError
from ptipc.core.launch import LaunchError, ProcessEnded
from ptipc.core.messages import Log, Unknown
from ptipc.core.session import Heard, Incomplete, Violation
from ptipc.core.socks import REPLIES, ReplyCode, RequestForbidden, TargetRefused

from .hosting import IMPATIENT, LoopFactory, end, loop_factories, nothing_left, program, run

TARGET = Address("192.0.2.7", 443)

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())


def outcome(
    command: Sequence[str], loop: LoopFactory, *, dial: bool = False, **settings: Any
) -> tuple[TransportProcess | None, BaseException | None]:
    """What comes of a process, when it is launched, dialled if so wished, and ended."""

    async def main() -> tuple[TransportProcess | None, BaseException | None]:
        process = None
        try:
            async with launch(
                command,
                client=settings.pop("client", ["one"]),
                stop_timeouts=settings.pop("stop_timeouts", IMPATIENT),
                **settings,
            ) as process:
                assert process.pid is not None
                pids.append(process.pid)
                if dial:
                    await process.dial("one", TARGET, timeout=10)
        except (PtipcError, OSError) as error:
            return process, error
        return process, None

    with nothing_left() as pids:
        return run(main(), loop)


def launch_error(command: Sequence[str], loop: LoopFactory, **settings: Any) -> LaunchError:
    process, error = outcome(command, loop, **settings)
    assert process is None
    assert isinstance(error, LaunchError)
    return error


def works(command: Sequence[str], loop: LoopFactory, **settings: Any) -> TransportProcess:
    process, error = outcome(command, loop, **settings)
    assert error is None
    assert process is not None
    return process


def dial_error(command: Sequence[str], loop: LoopFactory) -> BaseException:
    process, error = outcome(command, loop, dial=True)
    assert process is not None
    assert error is not None
    return error


def violations(process: TransportProcess) -> list[str]:
    return [event.rule for event in process.transcript if isinstance(event, Violation)]


# --- those that do not become ready ---------------------------------------------------------------


@loops
def test_a_silent_one_is_given_up_in_time(loop: LoopFactory) -> None:
    error = launch_error(program("silent"), loop, timeout=0.2)
    assert "not ready within 0.2 seconds: still waiting for VERSION; it said nothing" in str(error)
    assert error.hint is not None
    assert "not a managed transport?" in error.hint
    assert error.transcript == ()


@loops
def test_one_that_stops_half_way_is_told_what_is_missing(loop: LoopFactory) -> None:
    for seconds in (0.5, 5.0, 50.0):  # a busy machine may not even have started it by then
        error = launch_error(program("mumbling"), loop, timeout=seconds, client=["one", "two"])
        if error.transcript:
            break
    assert "still waiting for two; it said 'IMPORTANT as it is' last" in str(error)


@loops
def test_one_that_crashes_early_tells_how(loop: LoopFactory) -> None:
    error = launch_error(program("crash_early"), loop)
    assert error.reason == (
        "ended with exit 7 before it was ready; it said 'VERSION 1' last; "
        "on stderr it wrote 'and this is why'"
    )
    name = program("crash_early")[0].rpartition("/")[2]
    assert str(error) == f"{name}: {error.reason}"
    assert error.returncode == 7
    assert error.stderr == ("something was wrong", "and this is why")


@loops
@pytest.mark.parametrize("number", [11, 9, 6])
def test_a_signal_has_a_name(loop: LoopFactory, number: int) -> None:
    error = launch_error(program("crash_early", str(number)), loop)
    assert error.returncode == -number
    assert {11: "signal SIGSEGV", 9: "signal SIGKILL", 6: "signal SIGABRT"}[number] in str(error)


@loops
def test_one_that_dies_without_a_word_about_its_proxy_is_explained(loop: LoopFactory) -> None:
    error = launch_error(program("crash_early"), loop, proxy="socks5://127.0.0.1:9")
    assert error.hint is not None
    assert "goptlib" in error.hint


@loops
def test_what_is_no_transport_process_is_told_apart(loop: LoopFactory) -> None:
    error = launch_error(program("not_managed"), loop)
    assert error.returncode == 1
    assert error.stderr == ("usage: not_managed [--help]",)
    assert error.hint is not None
    assert "not a managed transport?" in error.hint


@loops
def test_one_that_offers_nothing_and_ends_tells_why_and_how(loop: LoopFactory) -> None:
    """obfs4proxy says DONE and exits with 255 when it has launched nothing."""
    error = launch_error(program("done_and_gone", "none"), loop)
    assert "one: no such method" in str(error)
    assert "exit 255" in str(error)


@loops
def test_one_that_closes_its_outputs_is_not_waited_for(loop: LoopFactory) -> None:
    error = launch_error(program("closing"), loop)
    assert "closed its outputs before it was ready" in str(error)


@loops
def test_the_children_of_one_that_ends_end_with_it(loop: LoopFactory) -> None:
    """One of them holds the outputs open, which would otherwise never end."""
    error = launch_error(program("parent"), loop)
    assert error.returncode == 5


@loops
def test_a_child_that_has_run_away_keeps_nobody_waiting(loop: LoopFactory) -> None:
    """It has left the session and holds the outputs open: it is not ours to end."""

    async def main() -> None:
        async with launch(program("parent", "runaway"), client=["one"]):
            pass

    with nothing_left():
        with pytest.raises(LaunchError, match="exit 5") as caught:
            run(main(), loop)
        end(int(caught.value.stderr[0]))


@loops
@pytest.mark.parametrize("status", ["0", "stay"])
@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["VERSION-ERROR no-version"], "no-version (VERSION-ERROR)"),
        (["ENV-ERROR no such variable"], "no such variable (ENV-ERROR)"),
        (["VERSION 1", "ENV-ERROR no such variable"], "no such variable (ENV-ERROR)"),
        (["VERSION 1", "2ENV-ERROR no such flag"], "no such flag (ENV-ERROR)"),
        (["VERSION 1", "PROXY-ERROR unreachable"], "unreachable (PROXY-ERROR)"),
        (["VERSION 9"], "the version '9' was not offered (C2)"),
        (["CMETHODS DONE"], "never said VERSION (C67)"),
        (["VERSION 1", "CMETHODS DONE"], "does not use the upstream proxy (C44)"),
    ],
)
def test_a_refusal_is_final_and_in_its_own_words(
    loop: LoopFactory, status: str, lines: list[str], text: str
) -> None:
    """Whatever its exit status says, and if it stays it is ended."""
    error = launch_error(program("refusing", status, *lines), loop, proxy="socks5://127.0.0.1:9")
    assert text in str(error)
    assert error.final


@loops
def test_one_that_never_says_version_can_be_forgiven(loop: LoopFactory) -> None:
    command = program("refusing", "stay", "CMETHOD one socks5 127.0.0.1:9", "CMETHODS DONE")
    assert list(works(command, loop, lax=True).methods) == ["one"]


# --- those that are ready and then are not --------------------------------------------------------


@loops
def test_one_that_crashes_late_fails_the_connection(loop: LoopFactory) -> None:
    error = dial_error(program("crash_late"), loop)
    assert isinstance(error, ProcessEnded)
    assert "exit 3" in str(error)


@loops
def test_one_that_ends_when_ready_is_found_out(loop: LoopFactory) -> None:
    """Whether before the launch is over or after depends on who is quicker."""

    async def main() -> None:
        async with launch(program("done_and_gone"), client=["one"]) as process:
            await process.exited.wait()
            await process.dial("one", TARGET)

    with (
        nothing_left(),
        pytest.raises((LaunchError, ProcessEnded), match="exit 255"),
    ):
        run(main(), loop)


@loops
def test_an_unreachable_port_is_named(loop: LoopFactory) -> None:
    command = program("methods", "CMETHOD one socks5 127.0.0.1:1")
    error = dial_error(command, loop)
    assert isinstance(error, ConnectionRefusedError)
    assert "cannot reach the port of one at 127.0.0.1:1" in str(error)


# --- those that are deaf or talk too much ---------------------------------------------------------


@loops
def test_a_deaf_one_is_killed(loop: LoopFactory) -> None:
    assert works(program("deaf"), loop).returncode == -9


@loops
def test_a_deaf_one_is_killed_with_its_child(loop: LoopFactory) -> None:
    assert works(program("deaf", "child"), loop).returncode == -9


@loops
def test_a_flood_on_stderr_blocks_nobody_and_fills_no_memory(loop: LoopFactory) -> None:
    process = works(program("flood"), loop)
    assert sum(len(event.line) for event in process.transcript) <= 1 << 20
    assert process.transcript.lost > 0
    assert len(process.stderr) <= 100


@loops
def test_an_endless_line_is_cut(loop: LoopFactory) -> None:
    process = works(program("long_line"), loop)
    cut = [event for event in process.transcript if isinstance(event, Incomplete)]
    assert [event.truncated for event in cut] == [True]
    assert len(cut[0].line) == 64 * 1024
    assert list(process.methods) == ["one"]


@loops
def test_a_slow_one_is_waited_for(loop: LoopFactory) -> None:
    assert list(works(program("slow"), loop).methods) == ["one"]


# --- those that cannot write ----------------------------------------------------------------------


@loops
def test_what_is_not_text_is_survived(loop: LoopFactory) -> None:
    process = works(program("not_text"), loop)
    heard = [event.message for event in process.transcript if isinstance(event, Heard)]
    assert any(isinstance(each, Log) and each.text == "caf\ufffd" for each in heard)
    assert any(isinstance(each, Unknown) for each in heard)


@loops
def test_windows_line_ends_are_line_ends(loop: LoopFactory) -> None:
    process = works(program("crlf"), loop)
    assert process.method("one").address == Address("127.0.0.1", 9)
    assert violations(process) == []


@loops
@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["CMETHOD one socks5 127.0.0.1:1", "CMETHOD one socks5 127.0.0.1:2"], "C27"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD other socks5 127.0.0.1:1"], "C27"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD bad-name socks5 127.0.0.1:1"], "syntax"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD one http 127.0.0.1:1"], "syntax"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD one socks5 example.com:1"], "syntax"),
        (["CMETHOD one socks5 127.0.0.1:2", "SMETHOD one 127.0.0.1:1"], "role"),
        (["CMETHOD one socks5 127.0.0.1:2", "PROXY DONE"], "C43"),
        (["CMETHOD one socks5 127.0.0.1:2", "CMETHOD"], "syntax"),
    ],
)
def test_lines_against_the_rules_are_told_and_passed_over(
    loop: LoopFactory, lines: list[str], rule: str
) -> None:
    process = works(program("methods", *lines), loop)
    assert violations(process) == [rule]
    assert process.method("one").address == Address("127.0.0.1", 2)


@loops
def test_what_is_settled_when_ready_stays_settled(loop: LoopFactory) -> None:
    """Four lines out of order and one too late, and it goes on to say what it has to say."""

    async def main() -> TransportProcess:
        async with launch(program("after_done"), client=["one"]) as process:
            async for event in process.events():
                if isinstance(event, Heard) and event.message == Log(LogLevel.NOTICE, "the last"):
                    break
            assert process.method("one").address == Address("127.0.0.1", 9)
        return process

    with nothing_left():
        process = run(main(), loop)
    assert violations(process) == ["C26"] * 5


@loops
def test_one_that_does_not_listen_on_loopback_is_refused(loop: LoopFactory) -> None:
    """Unless that is allowed: whatever goes there is not disguised yet (C28)."""
    command = program("methods", "CMETHOD one socks5 192.0.2.1:9")
    error = launch_error(command, loop)
    assert (
        "what was required is not up (one: its line was not taken: a client listens on "
        "'192.0.2.1:9', not on loopback)"
    ) in str(error)
    assert error.hint == "allow_remote=True takes a port that is not on loopback"
    process = works(command, loop, allow_remote=True)
    assert process.method("one").address == Address("192.0.2.1", 9)


# --- those whose port lies ------------------------------------------------------------------------


@loops
@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        (["48 54 54 50 2f 31"], RemoteProtocolError, "looks like HTTP"),
        (["15 03 01"], RemoteProtocolError, "not SOCKS5"),
        (["05 80"], RemoteProtocolError, "chose 0x80, which was not offered"),
        (["05 ff", "close"], RequestForbidden, "accepts none of the methods"),
        (["05 00", "04 00 00 01"], RemoteProtocolError, "not SOCKS5"),
        (["05 00", "05 00 00 07"], RemoteProtocolError, "unknown type"),
        (["05 00", "05 05 00 01", "close"], TargetRefused, "192.0.2.7:443: the target refused"),
        (["05 00", "05 05 00", "close"], TargetRefused, "refused"),
        (["close"], (RemoteProtocolError, ConnectionError), "closed|broke"),
        (["05 00", "close"], (RemoteProtocolError, ConnectionError), "closed|broke"),
        (["05 00", "05", "close"], (RemoteProtocolError, ConnectionError), "closed|broke"),
        (["05 00", "05 00 00 01", "close"], (RemoteProtocolError, ConnectionError), "closed|br"),
        (["reset"], ConnectionError, "broke|cannot reach"),
        (["05 00", "reset"], ConnectionError, "broke"),
    ],
)
def test_a_port_that_lies_is_found_out(
    loop: LoopFactory, answers: list[str], kind: type[Exception], text: str
) -> None:
    process, error = outcome(program("liar", *answers), loop, dial=True)
    assert process is not None
    assert isinstance(error, kind)
    assert any(part in str(error) for part in text.split("|"))


@loops
@pytest.mark.parametrize("row", [row for row in REPLIES if isinstance(row.code, ReplyCode)])
def test_every_reply_code_has_an_error(loop: LoopFactory, row: Any) -> None:
    error = dial_error(program("liar", "05 00", f"05 {row.code:02x} 00 01"), loop)
    assert type(error) is row.error
    assert row.text in str(error)
    assert isinstance(error, OSError)


@loops
def test_a_port_that_says_nothing_costs_no_more_than_the_time_for_it(loop: LoopFactory) -> None:
    async def main() -> None:
        async with launch(program("liar", "05 00", "keep"), client=["one"]) as process:
            with pytest.raises(TimeoutError, match=r"no connection within 0\.2 seconds"):
                await process.dial("one", TARGET, timeout=0.2)
            await process.stop(IMPATIENT)

    with nothing_left():
        run(main(), loop)


@loops
@pytest.mark.parametrize("early", ["", " 68 65 6c 6c 6f"])
def test_what_the_target_says_early_is_kept(loop: LoopFactory, early: str) -> None:
    """It may come in one piece with the reply; a socket then still holds it."""

    async def main() -> list[bytes]:
        heard = []
        reply = "05 00 00 01 00 00 00 00 00 00" + early
        for way in ("dial", "dial_socket", "open_connection"):
            words = program("liar", "05 00", reply, "68 65 6c 6c 6f")
            async with launch(words, client=["one"]) as process:
                async with asyncio.timeout(10):
                    if way == "dial":
                        stream = await process.dial("one", TARGET)
                        await stream.send(b"?")
                        heard.append(await stream.receive(5))
                        await stream.aclose()
                    elif way == "dial_socket":
                        connection = await process.dial_socket("one", TARGET, blocking=True)
                        with connection:
                            connection.sendall(b"?")
                            heard.append(connection.recv(5))
                    else:
                        reader, writer = await process.open_connection("one", TARGET)
                        writer.write(b"?")
                        heard.append(await reader.readexactly(5))
                        writer.close()
                        await writer.wait_closed()
        return heard

    with nothing_left():
        assert run(main(), loop) == [b"hello"] * 3
