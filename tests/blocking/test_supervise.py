"""Processes that threads keep running: restarts, their limits, and changes while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptipc.blocking import Backoff, GaveUp, LaunchError, Plan, Supervisor, plan, supervise
from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import Address
from ptipc.core.errors import LocalProtocolError
from ptipc.core.launch import ProcessEnded
from ptipc.core.supervision import Abandoned, Down, Said, Up
from tests.aio.hosting import PATIENT, nothing_left, program
from tests.blocking.loopback import echo, ping, serving

HASTY = Backoff(first=0.001, cap=0.01, give_up=3, steady=1000)


def one(*words: str, **settings: Any) -> Plan:
    """A plan for a transport that is called one."""
    settings.setdefault("client", ["one"])
    return plan(program(*(words or ("honest",))), stop_timeouts=PATIENT, **settings)


def echoes(supervisor: Supervisor, target: Address, transport: str = "one") -> None:
    stream = supervisor.dial(transport, target)
    try:
        ping(stream)
    finally:
        stream.close()


def until_it_fails(supervisor: Supervisor, target: Address) -> None:
    while True:
        echoes(supervisor, target)


def kill(supervisor: Supervisor, transport: str = "one") -> None:
    pid = supervisor.process(transport).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_process_that_ends_is_started_again() -> None:
    with nothing_left():
        with (
            serving(echo) as target,
            supervise(one(), backoff=HASTY, random=lambda: 0.0) as supervisor,
        ):
            events = supervisor.events(timeout=20)
            echoes(supervisor, target)
            kill(supervisor)
            # Whoever connects at once has to wait, and does.
            echoes(supervisor, target)
            process = supervisor.process("one")
        assert process.returncode == 0
        down, up = [event for event in events if not isinstance(event, Said)]
    assert isinstance(down, Down)
    assert down.reason == "it ended with signal SIGKILL"
    assert (down.failures, down.retry) == (1, 0.001)
    assert isinstance(up, Up)
    assert up.restarts == 1


def test_all_the_ways_to_dial_wait_for_it() -> None:
    hasty = Backoff(first=0.001, give_up=None)
    with (
        nothing_left(),
        serving(echo) as target,
        supervise(one(), backoff=hasty) as supervisor,
    ):
        kill(supervisor)
        with supervisor.dial_socket("one", target) as connection:
            assert connection.gettimeout() is None
        kill(supervisor)
        supervisor.dial(BridgeLine(transport="one", address=target)).close()


def test_whoever_is_not_patient_is_told_at_once() -> None:
    slow = Backoff(first=1000, cap=1000)
    with (
        nothing_left(),
        serving(echo) as target,
        supervise(one(), backoff=slow, patience=0) as supervisor,
    ):
        echoes(supervisor, target)
        process = supervisor.process("one")
        kill(supervisor)
        with pytest.raises(ProcessEnded):
            until_it_fails(supervisor, target)
        assert process.exited.wait(20)
        with pytest.raises(ProcessEnded, match="is down: "):
            supervisor.dial("one", target)


def test_patience_ends_with_the_time_for_the_connection() -> None:
    slow = Backoff(first=1000, cap=1000)
    with nothing_left(), serving(echo) as target, supervise(one(), backoff=slow) as supervisor:
        process = supervisor.process("one")
        kill(supervisor)
        assert process.exited.wait(20)
        with pytest.raises((ProcessEnded, TimeoutError)):
            supervisor.dial("one", target, timeout=0.05)


def test_one_that_fails_again_and_again_is_given_up(tmp_path: Path) -> None:
    honest = " ".join(program("honest"))
    crashing = plan(
        [
            script(
                tmp_path / "program.sh",
                f"echo x >> {tmp_path}/starts\n"
                f"[ $(wc -l < {tmp_path}/starts) -le 1 ] && exec {honest}\n"
                "echo VERSION 1\nexit 4\n",
            )
        ],
        client=["one"],
        stop_timeouts=PATIENT,
    )
    heard: list[Any] = []
    with (
        nothing_left(),
        serving(echo) as target,
        supervise(crashing, backoff=HASTY, on_event=heard.append) as supervisor,
    ):
        kill(supervisor)
        with pytest.raises(GaveUp, match="ended with exit 4 before it was ready"):
            until_it_fails(supervisor, target)
        with pytest.raises(GaveUp):
            supervisor.process("one")
        assert supervisor.plans == (crashing,)
    events = [event for event in heard if not isinstance(event, Said)]
    assert [type(event) for event in events] == [Up, Down, Down, Abandoned]
    assert [event.failures for event in events if isinstance(event, Down)] == [1, 2]


def test_one_that_held_out_for_long_begins_anew() -> None:
    failures: list[int] = []
    steady = Backoff(first=0.001, give_up=2, steady=0.0)
    with nothing_left(), supervise(one(), backoff=steady) as supervisor:
        events = supervisor.events(timeout=20)
        kill(supervisor)
        for event in events:
            if isinstance(event, Down):
                failures.append(event.failures)
            elif isinstance(event, Up) and len(failures) < 3:
                kill(supervisor)
            elif isinstance(event, Up):
                break
    assert failures == [1, 1, 1]


def test_what_will_not_change_is_not_tried_again(tmp_path: Path) -> None:
    path = script(tmp_path / "program.sh", "exec " + " ".join(program("honest")) + "\n")
    gone = plan([path], client=["one"])
    with (
        nothing_left(),
        serving(echo) as target,
        supervise(gone, backoff=HASTY) as supervisor,
    ):
        path.unlink()
        kill(supervisor)
        with pytest.raises(GaveUp, match="No such file"):
            until_it_fails(supervisor, target)


def test_what_cannot_be_started_at_all_is_said_at_once() -> None:
    with nothing_left():
        with (
            pytest.raises(LaunchError, match="exit 7"),
            supervise(one(), one("crash_early", client=["two"]), backoff=HASTY),
        ):
            pass
        with (
            pytest.raises(LocalProtocolError, match="target"),
            supervise(plan(program("honest"), server=["one"])),
        ):
            pass


def test_only_what_has_changed_is_started_again() -> None:
    with (
        nothing_left(),
        serving(echo) as target,
        supervise(one(), one(client=["two"]), one(client=["three"])) as supervisor,
    ):
        before = {name: supervisor.process(name) for name in ("one", "two", "three")}
        stream = supervisor.dial("one", target)
        dialer = supervisor.dialer("two")
        supervisor.reconfigure(one(), one("honest", "4", client=["two"]), one(client=["four"]))
        ping(stream)  # a connection through what is as it was does not notice
        stream.close()
        assert supervisor.process("one") is before["one"]
        assert supervisor.process("two") is not before["two"]
        assert before["two"].returncode == before["three"].returncode == 0
        with pytest.raises(LookupError, match="no plan"):
            supervisor.dial("three", target)
        dialer.dial(target).close()  # one that somebody kept finds the new one
        echoes(supervisor, target, "four")


def test_a_change_that_fails_leaves_the_rest() -> None:
    with nothing_left(), serving(echo) as target, supervise(one()) as supervisor:
        bad, good = one("crash_early", client=["bad"]), one(client=["good"])
        with pytest.raises(LaunchError, match="exit 7"):
            supervisor.reconfigure(one(), bad, good)
        assert supervisor.plans == (one(), good)
        echoes(supervisor, target)
        echoes(supervisor, target, "good")


def test_a_client_is_meant_where_a_server_has_the_name_too(tmp_path: Path) -> None:
    path = script(
        tmp_path / "server.sh",
        "echo VERSION 1\necho SMETHOD one 127.0.0.1:9\necho SMETHODS DONE\ncat\n",
    )
    server = plan([path], server=["one"], target="127.0.0.1:9")
    with nothing_left(), serving(echo) as target, supervise(server) as supervisor:
        with pytest.raises(LookupError, match="a server's"):
            supervisor.dial("one", target)
        supervisor.reconfigure(server, one())
        echoes(supervisor, target)


INTERRUPTED = """
import os, signal, sys
from ptipc.blocking import plan, supervise

signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs us may ignore it

def interrupt(event):
    os.kill(os.getpid(), signal.SIGINT)

try:
    # The one has said something, the other is silent and has long to become ready.
    with supervise(
        plan(sys.argv[1:], client=["one"], on_event=interrupt, stop_timeouts=(0.05, 0.05)),
        plan([*sys.argv[1:-1], sys.argv[-1].replace("mumbling", "silent")], client=["two"],
             stop_timeouts=(0.05, 0.05)),
    ):
        print("not reached")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interruption_while_processes_are_being_started_ends_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *program("mumbling")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)


def test_one_that_waits_to_be_started_again_is_not() -> None:
    with nothing_left():
        supervisor = Supervisor(backoff=Backoff(first=1000, cap=1000))
        supervisor.reconfigure(one())
        events = supervisor.events(timeout=20)
        kill(supervisor)
        assert any(isinstance(event, Down) for event in events)
        supervisor.close()
        supervisor.close()


def test_plans_may_have_ears_of_their_own() -> None:
    heard: list[Any] = []
    with supervise(one(on_event=heard.append)):
        pass
    assert heard
