"""Launching, hearing, dialling and ending transport processes from threads."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ptipc.blocking import TransportProcess, launch
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.dialects import Stream
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import LaunchError, ProcessEnded, plan
from ptipc.core.messages import CMethod, Log, StatusVersion
from ptipc.core.session import Heard
from ptipc.core.socks import TargetRefused
from tests.aio.hosting import (
    IMPATIENT,
    children,
    nothing_left,
    program,
    session_of,
    wait_until,
)
from tests.blocking.loopback import Doing, echo, nobody_listens, ping, read_all, serving

HONEST = program("honest")


def logged(process: TransportProcess) -> list[str]:
    heard = [event.message for event in process.transcript if isinstance(event, Heard)]
    return [message.text for message in heard if isinstance(message, Log)]


def told(**settings: Any) -> list[str]:
    """What the honest process says that it was told."""
    with launch(HONEST, client=["one"], **settings) as process:
        return logged(process)


# --- what it is told ------------------------------------------------------------------------------


def test_settings_of_others_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOR_PT_PROXY", "socks5://192.0.2.9:9")
    texts = [text for text in told() if text.startswith("TOR_PT_")]
    assert [text.partition("=")[0] for text in texts] == [
        "TOR_PT_CLIENT_TRANSPORTS",
        "TOR_PT_EXIT_ON_STDIN_CLOSE",
        "TOR_PT_MANAGED_TRANSPORT_VER",
        "TOR_PT_STATE_LOCATION",
    ]


def test_a_state_directory_of_ours_is_private_and_goes_with_the_process() -> None:
    with launch(HONEST, client=["one"]) as process:
        (found,) = [text for text in logged(process) if "STATE_LOCATION=" in text]
        path = found.partition("=")[2]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    assert not os.path.exists(path)


def test_it_may_have_another_directory_mask_and_environment(tmp_path: Path) -> None:
    texts = told(cwd=tmp_path, umask=0o27, environ={"TOR_PT_PROXY": "x", "PATH": "/bin"})
    assert f"cwd {tmp_path} umask 27" in texts
    assert "descriptors 3" in texts


def test_what_cannot_be_started_or_said_is_an_error(tmp_path: Path) -> None:
    with nothing_left():
        with (
            pytest.raises(LaunchError, match="No such file") as caught,
            launch([tmp_path / "lyrebird"], client=["one"]),
        ):
            pass
        assert caught.value.final
        assert caught.value.errno == 2
        with pytest.raises(LocalProtocolError, match="target"), launch(HONEST, server=["one"]):
            pass


def test_one_that_fails_does_not_take_the_others_with_it() -> None:
    with launch(HONEST, client=["one", "broken", "unknown"]) as process:
        assert list(process.methods) == ["one"]
        assert process.errors == {"broken": "it is broken"}
        assert process.implementation == StatusVersion("honest", "1.0")
        assert isinstance(process.method("one"), CMethod)
        assert process.bridge_line("one").transport == "one"
        assert process.upstream_proxy("one").scheme == "socks5"
        with pytest.raises(LookupError, match="it is broken"):
            process.dial("broken", Address("192.0.2.7", 1))
        with pytest.raises(LocalProtocolError, match="once"):
            process.start()
    assert process.returncode == 0
    with (
        pytest.raises(LaunchError, match=r"not up \(broken: it is broken\)"),
        launch(HONEST, client=["one", "broken"], require="all"),
    ):
        pass


# --- what it says ---------------------------------------------------------------------------------


def test_everything_is_told_to_everybody() -> None:
    """To a function, to any number of iterators, and all of it whenever they begin."""
    heard: list[Any] = []
    with launch(HONEST, client=["one"], on_event=heard.append) as process:
        early, late = process.events(), process.events(past=False, timeout=20)
        collecting = [Doing(lambda events=events: list(events)) for events in (early, late)]  # type: ignore[misc]
        with serving(echo) as target:
            process.dial("one", target, {"k": "v"}).close()
    everything, news = (each.result() for each in collecting)
    assert everything == list(process.transcript) == heard
    assert [event.message.text for event in news] == ["args k=v"]
    assert list(process.events()) == everything
    assert early.lost == 0


def test_an_event_may_be_waited_for_so_long_and_no_longer() -> None:
    with launch(HONEST, client=["one"]) as process:
        events = process.events(past=False, timeout=0.01)
        with pytest.raises(TimeoutError):
            next(events)
    assert list(events) == []


def test_a_hearer_that_fails_or_is_forgotten_is_nobody_elses_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("oh")

    with launch(HONEST, client=["one"], on_event=fail) as process:
        events = process.events()
        del events
        gc.collect()
        assert list(process.methods) == ["one"]
    assert "a function that was told of an event failed" in caplog.text


def test_a_hearer_may_end_the_process() -> None:
    """In the thread that tells it, which cannot wait for itself."""
    stopped = threading.Event()

    def stop(event: object) -> None:
        if not stopped.is_set():
            stopped.set()
            process.stop((0.05, 0.05))

    process = TransportProcess(plan(program("deaf"), client=["one"], on_event=stop))
    with nothing_left(), pytest.raises(LaunchError):
        process.start()
    process.stop()


def test_a_slow_hearer_loses_the_oldest() -> None:
    with launch(program("flood"), client=["one"], stop_timeouts=IMPATIENT) as process:
        events = process.events()
        wait_until(lambda: events.lost)


def test_it_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ptipc.host")
    lines = ['LOG SEVERITY=warning MESSAGE="\\033[2J"', "CMETHOD one socks5 127.0.0.1:9"]
    with launch(program("methods", *lines), client=["one"]):
        pass
    records = [(record.levelname, record.message) for record in caplog.records]
    assert ("DEBUG", "CMETHOD one socks5 127.0.0.1:9") in records
    assert ("WARNING", "\\x1b[2J") in records


# --- through it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_data_goes_both_ways_by_every_way_to_dial(version: str, host: str) -> None:
    with (
        nothing_left(),
        serving(echo) as address,
        launch(program("honest", version), client=["one"]) as process,
    ):
        target = Address(host, address.port)
        stream = process.dial("one", target, {"way": "stream"})
        ping(stream)
        stream.send_eof()
        assert read_all(stream) == b""
        stream.close()
        with process.dial_socket("one", target, {"way": "socket"}) as connection:
            assert connection.gettimeout() is None
            connection.sendall(b"second")
            assert connection.recv(6, socket.MSG_WAITALL) == b"second"
        wait_until(lambda: "args way=socket" in logged(process))
        assert "args way=stream" in logged(process)


def test_a_bridge_line_has_everything_in_one() -> None:
    with serving(echo) as target, launch(HONEST, client=["one"]) as process:
        line = BridgeLine(transport="one", address=target, args={"cert": "x"})
        stream = process.dial(line)
        ping(stream)
        stream.close()
        with pytest.raises(LocalProtocolError, match="of its own"):
            process.dial(line, target)
        wait_until(lambda: "args cert=x" in logged(process))


def test_a_dialer_can_be_kept_and_used_again() -> None:
    with serving(echo) as target, launch(HONEST, client=["one"]) as process:
        dialer = process.dialer("one", {"k": "v"})
        for each in (dialer, dialer, dialer.given({"k": "w"})):
            each.dial(target).close()
        with pytest.raises(LocalProtocolError, match="no target"):
            dialer.dial()
    with pytest.raises(ProcessEnded, match="has ended with exit 0"):
        dialer.dial(target)


def test_a_refusal_is_told_with_its_code() -> None:
    with launch(HONEST, client=["one"]) as process:
        target = nobody_listens()
        with pytest.raises(TargetRefused) as caught:
            process.dial("one", target)
        assert str(caught.value).startswith(f"one cannot connect to {target}: the target refused")
        assert (caught.value.code, caught.value.errno) == (5, 111)


def test_two_hundred_connections_at_a_time() -> None:
    with nothing_left(), serving(echo) as target, launch(HONEST, client=["one"]) as process:
        dialer = process.dialer("one")
        dialling = [Doing(lambda: dialer.dial(target)) for _ in range(200)]
        streams = [each.result() for each in dialling]
        for stream in streams:
            ping(stream)
        for stream in streams:
            stream.close()


# --- its end --------------------------------------------------------------------------------------


def test_it_can_be_stopped_early_and_again() -> None:
    with nothing_left():
        with launch(HONEST, client=["one"]) as process:
            for each in [Doing(process.stop) for _ in range(3)]:
                each.result()
            assert process.returncode == 0
            assert process.exited.is_set()
        unstarted = TransportProcess(plan(HONEST, client=["one"]))
        unstarted.stop()
        assert unstarted.pid is None
        assert unstarted.returncode is None
        with pytest.raises(LaunchError, match="stopped before"):
            unstarted.start()


def test_one_that_is_not_ready_yet_can_be_stopped() -> None:
    process = TransportProcess(plan(program("silent"), client=["one"], stop_timeouts=IMPATIENT))
    with nothing_left():
        starting = Doing(process.start)
        wait_until(lambda: process.pid)
        process.stop()
        with pytest.raises(LaunchError, match="before it was ready"):
            starting.result()


def drop(things: list[Any]) -> None:
    things.clear()
    gc.collect()


def test_one_that_is_dropped_is_ended_and_warned_about() -> None:
    with nothing_left():
        process = [TransportProcess(plan(HONEST, client=["one"]))]
        process[0].start()
        with pytest.warns(ResourceWarning, match="was not stopped"):
            drop(process)
        assert children() == []


def test_data_for_a_process_can_be_replayed() -> None:
    process = TransportProcess(plan(["pt"], client=["one"]))
    process.receive(Stream.STDOUT, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\n")
    process.receive(Stream.STDERR, b"hello\n")
    assert list(process.methods) == ["one"]
    assert process.stderr == ["hello"]


INTERRUPTED = """
import os, signal, sys
from ptipc.blocking import launch

signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs us may ignore it

def interrupt(event):
    if sys.argv[1] == "early":
        os.kill(os.getpid(), signal.SIGINT)

try:
    with launch(
        sys.argv[2:], client=["one"], on_event=interrupt, stop_timeouts=(0.05, 0.05)
    ) as process:
        print(process.pid, flush=True)
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_an_interruption_from_the_keyboard_ends_the_process(when: str) -> None:
    """While it is being started, and later; also one that is deaf."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when, *program("deaf")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("interrupted\n")
    assert done.stderr == ""
    assert done.returncode == 0


HOST = """
import sys, threading
from ptipc.blocking import launch

with launch(sys.argv[1:], client=["one"]) as process:
    print(process.pid, flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("words", [("deaf",), ("deaf", "child"), ("honest",)])
def test_nothing_outlives_a_host_that_was_killed(words: tuple[str, ...], tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOST, *program(*words)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Who is killed cannot take its state directory away.
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        wait_until(lambda: len(session_of(pid)) == len(words) + 1)  # with the guardian
        os.kill(host.pid, signal.SIGKILL)
        wait_until(lambda: session_of(pid) == [])
