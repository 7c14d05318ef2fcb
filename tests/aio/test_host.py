"""Launching and hearing transport processes that are as they should be."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from ptipc.aio import TransportProcess, launch
from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import LaunchError
from ptipc.core.messages import CMethod, Log, StatusVersion
from ptipc.core.session import Heard

from .hosting import (
    IMPATIENT,
    LoopFactory,
    echo_server,
    loop_factories,
    nothing_left,
    program,
    run,
)

loops = pytest.mark.parametrize("loop", loop_factories().values(), ids=loop_factories())

HONEST = program("honest")


def logged(process: TransportProcess) -> list[str]:
    """What the process has logged so far."""
    heard = [event.message for event in process.transcript if isinstance(event, Heard)]
    return [message.text for message in heard if isinstance(message, Log)]


async def told(**settings: Any) -> list[str]:
    """What the honest process says that it was told."""
    async with launch(HONEST, client=["one"], **settings) as process:
        return logged(process)


# --- what it is told ------------------------------------------------------------------------------


def test_settings_of_others_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """tor hands on what it has inherited, and its transports act on it."""
    monkeypatch.setenv("TOR_PT_PROXY", "socks5://192.0.2.9:9")
    monkeypatch.setenv("TOR_PT_SERVER_TRANSPORTS", "another")
    texts = [text for text in run(told()) if text.startswith("TOR_PT_")]
    assert [text.partition("=")[0] for text in texts] == [
        "TOR_PT_CLIENT_TRANSPORTS",
        "TOR_PT_EXIT_ON_STDIN_CLOSE",
        "TOR_PT_MANAGED_TRANSPORT_VER",
        "TOR_PT_STATE_LOCATION",
    ]


def test_other_editions_can_be_offered() -> None:
    texts = run(told(dialect=PT1, offered=[PT2_0]))
    assert "TOR_PT_MANAGED_TRANSPORT_VER=1,2" in texts


def test_the_state_directory_is_absolute_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"TOR_PT_STATE_LOCATION={tmp_path}/state" in run(told(state="state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"TOR_PT_STATE_LOCATION={tmp_path}/state" in run(told(state=Path("~/state")))


def test_a_state_directory_of_ours_is_private_and_goes_with_the_process() -> None:
    async def main() -> str:
        async with launch(HONEST, client=["one"]) as process:
            (found,) = [text for text in logged(process) if "STATE_LOCATION=" in text]
            path = found.partition("=")[2]
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
            Path(path, "file").write_text("something")
            return path

    assert not os.path.exists(run(main()))


def test_it_inherits_no_descriptor_and_no_ignored_or_blocked_signal() -> None:
    """A shell starts what runs in the background with SIGINT ignored."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        texts = run(told())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGHUP, before[1])
        os.close(reading)
        os.close(writing)
    # Python itself ignores these two.
    assert "ignored SIGPIPE SIGXFSZ" in texts
    assert "blocked " in texts
    assert "descriptors 3" in texts


def test_it_may_have_another_directory_mask_and_environment(tmp_path: Path) -> None:
    texts = run(told(cwd=tmp_path, umask=0o27, environ={"TOR_PT_PROXY": "x", "PATH": "/bin"}))
    assert f"cwd {tmp_path} umask 27" in texts
    assert not any(text.startswith("TOR_PT_PROXY") for text in texts)


def test_it_leads_a_session_of_its_own() -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one"]) as process:
            assert process.pid is not None
            assert os.getsid(process.pid) == process.pid
            assert os.getsid(0) != process.pid

    run(main())


# --- when it cannot be started --------------------------------------------------------------------


def start_error(command: list[str], **settings: Any) -> LaunchError:
    async def main() -> None:
        async with launch(command, client=["one"], **settings):
            pass

    with nothing_left(), pytest.raises(LaunchError) as caught:
        run(main())
    assert caught.value.final
    return caught.value


def file_at(path: Path, content: str, mode: int) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    error = start_error([str(tmp_path / "lyrebird")])
    assert f"cannot start '{tmp_path}/lyrebird': No such file" in str(error)
    assert f"as user {os.geteuid()}" in str(error)
    assert error.errno == 2
    assert error.hint is not None
    assert "is it installed?" in error.hint


def test_what_is_not_on_the_path_is_looked_for_there() -> None:
    error = start_error(["no-such-program-of-ours"], environ={"PATH": "/bin"})
    assert error.hint is not None
    assert "PATH" in error.hint


@pytest.mark.parametrize(
    ("content", "mode", "number", "hint"),
    [
        ("#!/bin/sh\n", 0o644, 13, "chmod +x"),
        ("#!/no/such/interpreter\n", 0o755, 2, "what runs it"),
        ("\0\0\0\0", 0o755, 8, "another kind of machine"),
    ],
)
def test_what_cannot_be_executed_is_explained(
    tmp_path: Path, content: str, mode: int, number: int, hint: str
) -> None:
    error = start_error([file_at(tmp_path / "program", content, mode)])
    assert error.errno == number
    assert error.hint is not None
    assert hint in error.hint


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    assert start_error([str(tmp_path)]).hint == "it is a directory"


def test_a_directory_to_work_in_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = start_error(HONEST, cwd=tmp_path / "nowhere")
    assert f"for '{tmp_path}/nowhere' is not as it should be" in str(error)


def test_what_cannot_be_said_is_our_callers_fault() -> None:
    async def main() -> None:
        async with launch(HONEST, server=["one"]):
            pass

    with nothing_left(), pytest.raises(LocalProtocolError, match="target"):
        run(main())


def test_a_process_is_started_once() -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one"]) as process:
            with pytest.raises(LocalProtocolError, match="once"):
                await process.start()

    run(main())


# --- what comes up --------------------------------------------------------------------------------


async def launched(require: Any, *names: str) -> TransportProcess:
    async with launch(HONEST, client=names, require=require) as process:
        return process


@pytest.mark.parametrize("require", ["any", ["one"], {"one", "two"}])
def test_one_that_fails_does_not_take_the_others_with_it(require: Any) -> None:
    process = run(launched(require, "one", "broken", "unknown", "two"))
    assert list(process.methods) == ["one", "two"]
    assert process.errors == {"broken": "it is broken"}


@pytest.mark.parametrize("require", ["all", ["broken"], ["one", "broken"]])
def test_unless_the_caller_says_so(require: Any) -> None:
    with pytest.raises(LaunchError, match=r"not up \(broken: it is broken\)"):
        run(launched(require, "one", "broken"))


def test_nothing_at_all_is_never_enough() -> None:
    with pytest.raises(LaunchError, match="broken; unknown: the process did not offer"):
        run(launched("any", "broken", "unknown"))


def test_what_is_up_and_what_is_not() -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one", "broken"]) as process:
            assert process.implementation == StatusVersion("honest", "1.0")
            assert process.command == tuple(HONEST)
            assert process.config.transports == ("one", "broken")
            assert process.returncode is None
            assert isinstance(process.method("one"), CMethod)
            assert process.bridge_line("one").transport == "one"
            with pytest.raises(LookupError, match="it is broken"):
                process.method("broken")
            with pytest.raises(LookupError, match="did not offer it"):
                await process.dial("other", Address("192.0.2.7", 1))
        assert process.returncode == 0

    run(main())


# --- what it says ---------------------------------------------------------------------------------


@loops
def test_everything_is_told_to_everybody(loop: LoopFactory) -> None:
    """To a function, to any number of iterators, and all of it whenever they begin."""

    async def main() -> None:
        heard: list[Any] = []
        async with launch(HONEST, client=["one"], on_event=heard.append) as process:
            early, late = process.events(), process.events(past=False)

            async def collect(events: Any) -> list[Any]:
                return [event async for event in events]

            collecting = [asyncio.create_task(collect(each)) for each in (early, late)]
            async with echo_server() as target:
                stream = await process.dial("one", target, {"k": "v"})
                await stream.aclose()
        everything, news = await asyncio.gather(*collecting)
        assert everything == list(process.transcript) == heard
        assert [event.message.text for event in news] == ["args k=v"]
        assert [event async for event in process.events()] == everything
        assert early.lost == 0

    run(main(), loop)


def test_a_hearer_that_fails_is_nobody_elses_matter(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("oh")

    async def main() -> None:
        async with launch(HONEST, client=["one"], on_event=fail) as process:
            assert list(process.methods) == ["one"]

    run(main())
    assert "a function that was told of an event failed" in caplog.text


def test_a_hearer_that_is_forgotten_is_gone() -> None:
    async def main() -> None:
        async with launch(HONEST, client=["one"]) as process:
            events = process.events()
            del events
            gc.collect()
            async with echo_server() as target:
                await (await process.dial("one", target)).aclose()

    run(main())


def test_a_slow_hearer_loses_the_oldest() -> None:
    async def main() -> None:
        async with launch(program("flood"), client=["one"], stop_timeouts=IMPATIENT) as process:
            events = process.events()
            while not events.lost:
                await asyncio.sleep(0.01)

    run(main())


def test_it_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Under its own name, with its own levels; what belongs to the protocol is for debugging."""
    caplog.set_level(logging.DEBUG, "ptipc.host")
    lines = ['LOG SEVERITY=warning MESSAGE="\\033[2J"', "CMETHOD one socks5 127.0.0.1:9"]

    async def main() -> None:
        async with launch(program("methods", *lines), client=["one"]):
            pass

    run(main())
    name = f"ptipc.host.{Path(HONEST[0]).name.replace('.', '_')}"
    records = [(record.levelname, record.message) for record in caplog.records]
    assert {record.name for record in caplog.records} >= {name}
    assert ("DEBUG", "CMETHOD one socks5 127.0.0.1:9") in records
    assert ("WARNING", "\\x1b[2J") in records
