"""``ptipc trace``: whoever is at either end of it cannot tell that it is there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import HELLO, PATIENCE, PTIPC, on_terminal, running, wait_until
from tests.interop.processes import is_running, wait_for_end

BARE = {"PATH": "/usr/bin:/bin"}
"""An environment without a locale: Python would add one to it."""

CONFESS = r"""
for word in "$@"; do echo "[$word]"; done
tr '\0' '\n' < /proc/$$/environ | sort
cat > "$OUT.stdin" <&0
grep -E '^(SigIgn|SigCgt|Umask)' /proc/$$/status
for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do
    [ ! -e /proc/$$/fd/$fd ] || echo "$fd $(readlink /proc/$$/fd/$fd | sed 's/:.*//')"
done
ulimit -a
pwd
"""
"""Tells all that a program can know of how it was started."""


GO_ON = "while :; do sleep 0.1; done"
"""A shell that reads would miss a signal that comes just before it does."""


def traced(log: Path, *command: str) -> list[str]:
    return [*PTIPC, "trace", "-o", str(log), "--", *command]


def outcome(command: Sequence[str], **settings: Any) -> tuple[int, bytes, bytes]:
    """The exit status of a program, and what it writes."""
    done = subprocess.run(list(command), capture_output=True, timeout=PATIENCE, **settings)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "before",
    [
        "",
        "umask 077; ulimit -n 99;",
        "trap '' INT HUP USR1;",
        "exec <&-;",
        "exec 5</dev/null 7>/dev/null;",
        "exec 2>&-;",
        "export ODD=$(printf '\\377\\376') EMPTY= ;",
    ],
)
def test_the_process_is_started_as_without_us(before: str, tmp_path: Path) -> None:
    """Its words, variables, descriptors, limits, signals and input are those of the host."""
    environ = {**BARE, "OUT": str(tmp_path / "out")}
    confess = ["/bin/sh", "-c", CONFESS, "sh", "a", "b c", ""]

    def told(command: Sequence[str]) -> list[Any]:
        (tmp_path / "out.stdin").write_bytes(b"nothing")
        script = f'{before} exec "$@"'
        found = outcome(
            ["/bin/sh", "-c", script, "sh", *command], env=environ, input=b"\0octets\n", cwd="/"
        )
        return [*found, (tmp_path / "out.stdin").read_bytes()]

    assert told(traced(tmp_path / "log", *confess)) == told(confess)


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 77",
        "kill -TERM $$",
        "kill -SEGV $$",
        "kill -KILL $$",
        "kill -PIPE $$",
        "printf 'without an end'",
        "printf '\\000\\377\\r\\n'; printf 'err' >&2; exit 3",
        "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2",
    ],
)
def test_what_it_writes_and_how_it_ends_is_the_same(script: str, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", script]
    assert outcome(traced(tmp_path / "log", *command)) == outcome(command)


def test_what_it_leaves_behind_does_not_keep_us(tmp_path: Path) -> None:
    """We end with the process, even if something else still holds its outputs."""
    script = "sleep 100 & echo here; exit 4"
    with running(*traced(tmp_path / "log", "/bin/sh", "-c", script)) as process:
        assert process.process.wait(PATIENCE) == 4
        process.wait_for("here\n")
        os.killpg(process.process.pid, signal.SIGKILL)


def test_what_is_written_is_handed_on_at_once(tmp_path: Path) -> None:
    """Also what is not a line yet; and the end of one output is not the end of the other."""
    script = "printf one; read -r line; exec >&-; read -r line; printf two >&2; read -r line"
    with subprocess.Popen(
        traced(tmp_path / "log", "/bin/sh", "-c", script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3) == b"one"
        process.stdin.write(b"\n")
        assert process.stdout.read() == b""
        process.stdin.write(b"\n")
        assert process.stderr.read(3) == b"two"
        process.stdin.close()
        assert process.wait(PATIENCE) == 1  # what "read" returns at the end


def test_a_host_that_stops_reading_is_noticed_by_the_process(tmp_path: Path) -> None:
    """It gets the SIGPIPE that it would have got."""
    log = tmp_path / "log"
    with subprocess.Popen(
        traced(log, "/bin/sh", "-c", "echo y; read -r line; echo y; exit 0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        wait_until(lambda: "does not read stdout any more" in log.read_text())
        process.stdin.write(b"\n")
        assert process.wait(PATIENCE) == -signal.SIGPIPE


def test_what_is_too_much_for_the_log_is_handed_on_all_the_same(tmp_path: Path) -> None:
    """It does not grow in memory, and in the end it is closed in good time."""
    script = "head -c 60000000 /dev/zero | tr '\\0' '\\n'; exit 5"
    status, out, _ = outcome(traced(tmp_path / "log", "/bin/sh", "-c", script))
    assert (status, len(out)) == (5, 60_000_000)
    last = (tmp_path / "log").read_text()[-2000:]
    assert "octets more, too fast to be written down" in last
    assert "process ends with exit 5" in last


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
def test_signals_are_forwarded(name: str, tmp_path: Path) -> None:
    """Each once, and the process may do with them as it likes."""
    script = f"trap 'echo {name}; exit 9' {name}; echo ready; {GO_ON}"
    with running(*traced(tmp_path / "log", "/bin/sh", "-c", script)) as process:
        process.wait_for("ready")
        process.process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.end() == 9
        assert process.said == f"ready\n{name}\n"
    assert re.search(rf"host    sends SIG{name}$", (tmp_path / "log").read_text(), re.MULTILINE)


def test_an_interrupt_from_the_terminal_reaches_the_process_once(tmp_path: Path) -> None:
    """It has it from the terminal already, as a member of our process group."""
    script = f"""
        trap 'count=x$count; echo got $count' INT
        trap 'echo ends with $count; exit 5' TERM
        echo ready; {GO_ON}
    """
    log = tmp_path / "log"
    with on_terminal(*traced(log, "/bin/sh", "-c", script)) as process:
        process.wait_for("ready")
        process.interrupt()
        process.wait_for("got x\r")
        wait_until(lambda: "sends SIGINT, from the terminal" in " ".join(log.read_text().split()))
        process.process.send_signal(signal.SIGTERM)
        assert process.end() == 5
        assert "ends with x\r\n" in process.said


def test_the_end_of_stdin_is_seen_by_the_process_and_noted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(*traced(log, *HELLO), env={**os.environ, **CLIENT}) as process:
        process.wait_for("CMETHODS DONE")
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.end() == 0
    assert "closes stdin, which asks the process to end" in log.read_text()


def test_the_process_sees_the_end_of_its_host(tmp_path: Path) -> None:
    """When the host is killed, the process loses its parent, its input and its outputs."""
    script = "echo $$; exec sleep 100"
    host = (
        "import subprocess, sys\n"
        "p = subprocess.Popen(sys.argv[1:], stdin=-1, stdout=-1)\n"
        "print(p.pid, p.stdout.readline().decode(), end='', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", host, *traced(tmp_path / "log", "/bin/sh", "-c", script)]
    with running(*command) as process:
        tracer, pid = (int(number) for number in process.wait_for(r"(\d+) (\d+)").groups())
        process.process.kill()
        process.end()
    try:
        wait_for_end(tracer)
        assert is_running(pid)  # it does not care; but it knows
        status = Path(f"/proc/{pid}/status")
        wait_until(lambda: f"PPid:\t{tracer}\n" not in status.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert "host    is gone" in (tmp_path / "log").read_text()


def test_who_started_us_may_go_if_nothing_else_goes_with_it(tmp_path: Path) -> None:
    """As with a program that a shell leaves behind, in the background."""
    mark = tmp_path / "mark"
    script = f"while [ ! -e {mark} ]; do sleep 0.1; done; echo done"
    command = " ".join(traced(tmp_path / "log", "/bin/sh", "-c", f"'{script}'"))
    out = tmp_path / "out"
    subprocess.run(["/bin/sh", "-c", f"{command} </dev/null >{out} 2>&1 &"], check=True)
    mark.touch()
    wait_until(lambda: out.exists() and out.read_text() == "done\n")


# --- what is written down -------------------------------------------------------------------------

CLIENT = {
    "TOR_PT_MANAGED_TRANSPORT_VER": "1",
    "TOR_PT_CLIENT_TRANSPORTS": "one",
    "TOR_PT_STATE_LOCATION": "/tmp",
    "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
}
SECRETS = {
    "TOR_PT_MANAGED_TRANSPORT_VER": "1",
    "TOR_PT_SERVER_TRANSPORTS": "one",
    "TOR_PT_SERVER_BINDADDR": "one-127.0.0.1:9",
    "TOR_PT_ORPORT": "127.0.0.1:9",
    "TOR_PT_SERVER_TRANSPORT_OPTIONS": "one:key=hush",
    "TOR_PT_STATE_LOCATION": "/tmp",
}


def log_of(tmp_path: Path, script: str, environ: dict[str, str], *words: str) -> str:
    """What is written down of a script."""
    log = tmp_path / "log"
    command = [*PTIPC, "trace", "-o", str(log), *words, "--", "/bin/sh", "-c", script]
    outcome(command, env={**BARE, **environ}, stdin=subprocess.DEVNULL)
    return log.read_text()


def test_the_conversation_is_annotated(tmp_path: Path) -> None:
    """Everything has its time, everything new its meaning; and no line is longer than 80."""
    log = log_of(tmp_path, "echo VERSION 1; echo CMETHODS DONE; exit 5", CLIENT)
    for pattern in (
        r"^--- \d{4}-\d\d-\d\d, process \d+, of the host \d+ \(.*\)$",
        r"^\d\d:\d\d:\d\d\.\d\d\d host    starts /bin/sh -c ",
        r"^\d\d:\d\d:\d\d\.\d\d\d host    sets TOR_PT_CLIENT_TRANSPORTS=one$",
        r"^                       = the transports to start$",
        r"^\d\d:\d\d:\d\d\.\d\d\d host    hands on PATH$",
        r"^\d\d:\d\d:\d\d\.\d\d\d process VERSION 1$",
        r"^                       = The version that the transport process has chosen among$",
        r"^\d\d:\d\d:\d\d\.\d\d\d process ends with exit 5$",
    ):
        assert re.search(pattern, log, re.MULTILINE), pattern
    assert max(len(line) for line in log.splitlines()) <= 80
    assert "!" not in log


@pytest.mark.parametrize(
    ("script", "mark"),
    [
        ("echo VERSION 2", "the version '2' was not offered (C2)"),
        ("echo CMETHOD one socks5 127.0.0.1:9", "CMethod in the phase 'start'"),
        ("echo VERSION 1; echo CMETHOD one", "malformed CMETHOD line: no protocol"),
        ("echo VERSION 1; echo CMETHOD two socks5 127.0.0.1:9", "'two' was not asked for (C27)"),
        ("echo VERSION 1; printf CMETHODS", "a line without its end"),
        ("echo VERSION 1", "the process ended before it was ready"),
        ("echo VERSION 1; echo SMETHODS DONE", "is not for a client"),
    ],
)
def test_violations_are_marked(script: str, mark: str, tmp_path: Path) -> None:
    log = " ".join(log_of(tmp_path, script, CLIENT).split())
    assert re.search(rf"! [^!]*{re.escape(mark)}", log), log


@pytest.mark.parametrize(
    ("environ", "mark"),
    [
        ({}, "no transport is asked for"),
        ({**CLIENT, "TOR_PT_SERVER_TRANSPORTS": "x"}, "a client or a server, not both"),
        ({**CLIENT, "TOR_PT_PROXY": "socks5://u:secret@x"}, "a proxy is not at ip:port"),
        ({**CLIENT, "TOR_PT_SOMETHING": "x"}, "TOR_PT_SOMETHING"),
    ],
)
def test_so_are_those_of_the_host(environ: dict[str, str], mark: str, tmp_path: Path) -> None:
    log = " ".join(log_of(tmp_path, "true", environ).split())
    assert re.search(rf"! [^!]*{re.escape(mark)}", log), log
    assert "secret" not in log


def test_secrets_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    script = "echo VERSION 1; echo SMETHOD one 127.0.0.1:9 ARGS:cert=hush,iat-mode=0"
    log = log_of(tmp_path, script, SECRETS)
    assert "ARGS:cert=...,iat-mode=..." in log
    assert "TOR_PT_SERVER_TRANSPORT_OPTIONS=one:key=..." in log
    told = log_of(tmp_path, script, SECRETS, "--secrets")
    assert told.startswith(log)  # it is written behind what was there
    assert "ARGS:cert=hush,iat-mode=0" in told
    assert "one:key=hush" in told


def test_flags_are_understood_behind_the_words_of_the_program(tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = [
        "-ptversion",
        "2.2",
        "-client",
        "-transport",
        "one",
        "-state",
        "/tmp",
        "-exit-on-stdin-close",
    ]
    options = ["-options", '{"one": {"key": "hush"}}', "-proxy", "socks5://user:hush@127.0.0.1:9"]
    script = "echo VERSION 2.2; echo PROXY DONE; echo CMETHOD one socks5 127.0.0.1:9"
    command = traced(log, "/bin/sh", "-c", f"{script}; echo CMETHODS DONE", "sh", *flags, *options)
    outcome(command, env=BARE, stdin=subprocess.DEVNULL)
    assert "hush" not in log.read_text()
    assert "socks5://...@127.0.0.1:9" in log.read_text()
    assert "!" not in log.read_text().replace("#!", "")


def test_nobody_else_can_read_the_log(tmp_path: Path) -> None:
    log_of(tmp_path, "true", CLIENT)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_does_not_matter_to_the_process() -> None:
    command = [*PTIPC, "trace", "-o", "/dev/full", "--", "/bin/sh", "-c", "echo here; exit 3"]
    assert outcome(command) == (3, b"here\n", b"")


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ([], 2, "which process?"),
        (["--", "/nonexistent"], 127, "/nonexistent: No such file or directory"),
        (["--", "/tmp"], 126, "/tmp: Permission denied"),
        (["-o", "/nonexistent/x", "--", "true"], 2, "cannot write to /nonexistent/x: No such"),
        (["true"], 2, "the program of a transport has its place behind --"),
    ],
)
def test_what_cannot_be_started_is_said(
    words: list[str], status: int, complaint: str, tmp_path: Path
) -> None:
    found, _, said = outcome([*PTIPC, "trace", *words], cwd=tmp_path)
    assert found == status
    assert complaint in said.decode()
