"""A transport as a program: what it reads, what it says, and what ends it."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptipc.core.codecs import Address, LogLevel
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect
from tests.aio.programs import (
    DEADLINE,
    clean_environment,
    running,
    wait_for_the_end_of,
    write_program,
)


@pytest.fixture
def hello(tmp_path: Path) -> list[str]:
    return write_program(tmp_path)


# --- what it is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "channel"),
    [
        (PT1, "environment"),
        (PT2_0, "environment"),
        (PT2_0, "flags"),
        (PT2_2, "environment"),
        (PT2_2, "flags"),
        (PT3_0, "flags"),
    ],
    ids=str,
)
def test_it_is_configured_in_every_edition_and_by_either_way(
    dialect: Dialect, channel: str, hello: list[str]
) -> None:
    with running(hello, dialect=dialect, channel=channel, client=["hello"]) as program:
        assert program.address().is_loopback
        assert program.lines[0] == f"VERSION {dialect.version}"
        program.close_stdin()
        assert program.end() == 0
        assert all(line.startswith("LOG ") for line in program.rest())
    with running(
        hello,
        dialect=dialect,
        channel=channel,
        server={"hello": "127.0.0.1:0"},
        target="127.0.0.1:9",
    ) as program:
        program.until("SMETHOD hello 127.0.0.1:")
        program.until("SMETHODS DONE")


def test_options_come_from_a_file(tmp_path: Path) -> None:
    command = write_program(
        tmp_path,
        """
        from ptipc.aio import StreamTransport, run

        run(StreamTransport("hello", publish=lambda options: options))
        """,
    )
    options = tmp_path / "options.json"
    options.write_text('{"hello": {"key": "value"}}')
    with running(
        command,
        dialect=PT3_0,
        server={"hello": "127.0.0.1:0"},
        target="127.0.0.1:9",
        options_file=str(options),
    ) as program:
        assert program.until("SMETHOD hello").endswith("ARGS:key=value")


def test_warnings_about_the_configuration_are_log_lines(hello: list[str]) -> None:
    """Also of an Extended ORPort that is not on this machine, which may be read on its way."""
    environ = {
        **clean_environment(),
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_SERVER_TRANSPORTS": "hello",
        "TOR_PT_SERVER_BINDADDR": "hello-127.0.0.1:0",
        "TOR_PT_EXTENDED_SERVER_PORT": "192.0.2.1:9",
        "TOR_PT_AUTH_COOKIE_FILE": "/nowhere/cookie",
    }
    with running(hello, environ=environ) as program:
        assert program.until("VERSION 1") == "VERSION 1"
        assert program.until("not on this machine").startswith("LOG SEVERITY=warning MESSAGE=")


VERSIONS = "TOR_PT_MANAGED_TRANSPORT_VER"
CLIENT = "TOR_PT_CLIENT_TRANSPORTS"


@pytest.mark.parametrize(
    ("environ", "stdout", "stderr", "status"),
    [
        ({VERSIONS: "9", CLIENT: "hello"}, "VERSION-ERROR no-version", "", 78),
        ({VERSIONS: "1"}, "ENV-ERROR no transport is asked for", "", 64),
        ({VERSIONS: "2"}, "", "ENV-ERROR no transport is asked for", 64),
        ({CLIENT: "hello", "TOR_PT_PROXY": "nonsense", VERSIONS: "1"}, "PROXY-ERROR", "", 69),
        ({CLIENT: "hello", "TOR_PT_PROXY": "nonsense", VERSIONS: "2.2"}, "", "PROXY-ERROR", 69),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said(
    environ: dict[str, str], stdout: str, stderr: str, status: int, hello: list[str]
) -> None:
    """On the stream that the host reads, and with the exit status of PT 3.0 section 1.2."""
    done = subprocess.run(
        hello,
        env={**clean_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == status
    said = [line for line in done.stdout.splitlines() if not line.startswith("VERSION ")]
    assert (said or [""])[0].startswith(stdout)
    assert bool(said) == bool(stdout)
    assert done.stderr.startswith(stderr)
    assert bool(done.stderr) == bool(stderr)


# --- by hand --------------------------------------------------------------------------------------


def by_hand(command: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_started_by_hand_it_says_what_it_is_and_how_to_try_it(hello: list[str]) -> None:
    """To a person on stderr, and in case that it was a host, to that as well."""
    done = by_hand(hello)
    assert done.returncode == 64
    assert done.stdout.startswith("ENV-ERROR ")
    assert "the pluggable transport hello" in done.stderr
    assert f"ptipc demo --transport hello -- {' '.join(hello)}" in done.stderr
    assert f"ptipc run client hello -- {' '.join(hello)}" in done.stderr
    assert "ClientTransportPlugin hello exec" in done.stderr


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_it_helps_who_asks(word: str, hello: list[str]) -> None:
    done = by_hand(hello, word)
    assert (done.returncode, done.stdout) == (0, "")
    assert "ptipc demo" in done.stderr


def test_on_a_terminal_the_help_is_all(hello: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        hello, env=clean_environment(), stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    _, errors = process.communicate(timeout=DEADLINE)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 64
    assert errors == b""
    assert "ptipc demo" in shown
    assert "ENV-ERROR" not in shown


def test_a_program_of_several_transports_names_them_all(tmp_path: Path) -> None:
    command = write_program(
        tmp_path,
        """
        from ptipc.aio import StreamTransport, run

        run(StreamTransport("one"), StreamTransport("two"))
        """,
    )
    assert "one, two" in by_hand(command).stderr


# --- what is said ---------------------------------------------------------------------------------

TALKATIVE = """
    import logging, os, subprocess, sys
    from ptipc.aio import StreamTransport, run

    def publish(options):
        print("a stray print")
        os.write(1, b"CMETHODS DONE\\n")
        subprocess.run(["echo", "SMETHOD by a child"])
        logging.getLogger("mine").info("client 192.0.2.7:443 came")
        logging.getLogger("mine").debug("nobody asked")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("it failed")
        return {{}}

    run(StreamTransport("hello", publish=publish){options})
"""


def test_whatever_else_is_written_to_stdout_becomes_a_log_line(tmp_path: Path) -> None:
    """Whatever it looks like, no host can take it for a line of the conversation."""
    command = write_program(tmp_path, TALKATIVE.format(options=""))
    with running(command, server=["hello"], target="127.0.0.1:9") as program:
        program.until("SMETHODS DONE")
        program.close_stdin()
        program.rest()
        said = [line for line in program.lines if not line.startswith("LOG ")]
        assert [line.split()[0] for line in said] == ["VERSION", "SMETHOD", "SMETHODS"]
        for text in ("a stray print", "CMETHODS DONE", "SMETHOD by a child"):
            assert f'LOG SEVERITY=info MESSAGE="{text}"' in program.lines
        assert 'LOG SEVERITY=info MESSAGE="client [scrubbed] came"' in program.lines
        assert not any("nobody asked" in line for line in program.lines)
        (failure,) = [line for line in program.lines if "it failed" in line]
        assert failure.startswith(
            'LOG SEVERITY=error MESSAGE="it failed: '
            "ZeroDivisionError('division by zero') in publish, "
        )


def test_addresses_and_details_are_shown_to_who_asks_for_them(tmp_path: Path) -> None:
    options = ", unsafe_logging=True, log_level=10"
    command = write_program(tmp_path, TALKATIVE.format(options=options))
    with running(command, server=["hello"], target="127.0.0.1:9") as program:
        program.until("client 192.0.2.7:443 came")
        program.until("nobody asked")


@pytest.mark.parametrize(
    ("level", "heard"),
    [(LogLevel.NONE, []), (LogLevel.WARNING, ["ERROR"]), (LogLevel.INFO, ["INFO", "ERROR"])],
)
def test_the_host_says_from_which_level_on_it_listens(
    level: LogLevel, heard: list[str], tmp_path: Path
) -> None:
    """PT 2.2: -ipcLogLevel, and nothing without it."""
    command = write_program(tmp_path, TALKATIVE.format(options=""))
    with running(
        command,
        dialect=PT2_2,
        server={"hello": "127.0.0.1:0"},
        target="127.0.0.1:9",
        log_threshold=level,
    ) as program:
        program.until("SMETHODS DONE")
        program.close_stdin()
        program.rest()
        mine = [line for line in program.lines if "client" in line or "it failed" in line]
        assert [line.split()[1] for line in mine] == heard


# --- its end --------------------------------------------------------------------------------------


def connected(place: Address) -> socket.socket:
    return socket.create_connection((place.host, place.port), DEADLINE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        yield server


def test_the_end_of_stdin_counts_only_if_the_host_says_so(hello: list[str]) -> None:
    with running(hello, client=["hello"], exit_on_stdin_close=False) as program:
        place = program.address()
        program.close_stdin()
        for _ in range(10):
            connected(place).close()
        assert program.process.poll() is None
        program.process.terminate()
        assert program.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_connections_finish_and_a_second_does_not(
    number: signal.Signals, tmp_path: Path, listener: socket.socket
) -> None:
    command = write_program(
        tmp_path,
        """
        from ptipc.aio import StreamTransport, run
        from ptipc.aio.service import Limits

        run(StreamTransport("hello"), limits=Limits(drain=1000))
        """,
    )
    with running(command, server=["hello"], target=listener_address(listener)) as program:
        client = connected(program.address())
        client.settimeout(DEADLINE)
        host, _ = listener.accept()
        program.process.send_signal(number)
        program.until(f"ending: signal {number.name}")
        host.sendall(b"still there")
        assert client.recv(100) == b"still there"
        program.process.send_signal(number)
        assert program.end() == 0
        assert client.recv(100) == b""
        client.close()
        host.close()


def listener_address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


HOST = """
    import os, subprocess, sys
    environ = dict(os.environ)
    child = subprocess.Popen(
        {command!r}, env={environ!r}, stdin={stdin}, start_new_session=True
    )
    print("pid", child.pid, flush=True)
    child.wait()
"""


@pytest.mark.parametrize("asked", [True, False], ids=["with the stdin flag", "without"])
def test_a_host_that_is_killed_leaves_no_transport_process(
    asked: bool, hello: list[str], tmp_path: Path
) -> None:
    """With SIGKILL, of which it can tell nobody; the flag is not needed for that."""
    environ = {**clean_environment(), VERSIONS: "1", CLIENT: "hello"}
    if asked:
        environ["TOR_PT_EXIT_ON_STDIN_CLOSE"] = "1"
    stdin = "subprocess.PIPE" if asked else "subprocess.DEVNULL"
    source = HOST.format(command=hello, environ=environ, stdin=stdin)
    with running(write_program(tmp_path, source, "host.py"), environ=clean_environment()) as host:
        pid = int(host.until("pid").split()[1])
        host.until("CMETHODS DONE")
        host.process.kill()
        wait_for_the_end_of(pid)


def test_a_host_that_reads_no_more_is_gone(hello: list[str]) -> None:
    """The next line that cannot be written ends the process."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        hello,
        env={**clean_environment(), VERSIONS: "1", CLIENT: "hello"},
        stdin=subprocess.PIPE,
        stdout=writing,
    )
    os.close(writing)
    os.close(reading)
    assert process.wait(DEADLINE) == 0
    assert process.stdin is not None
    process.stdin.close()


def test_a_host_that_reads_slowly_holds_up_no_connection(
    tmp_path: Path, listener: socket.socket
) -> None:
    """Its pipe is full of LOG lines; clients are served, and the end comes in time."""
    command = write_program(
        tmp_path,
        """
        import logging
        from ptipc.aio import StreamTransport, run

        async def flood(stream, args):
            for _ in range(3000):
                logging.info("x" * 100)
            return stream

        run(StreamTransport("hello", server=flood))
        """,
    )
    environ = {
        **clean_environment(),
        VERSIONS: "1",
        "TOR_PT_SERVER_TRANSPORTS": "hello",
        "TOR_PT_SERVER_BINDADDR": "hello-127.0.0.1:0",
        "TOR_PT_ORPORT": listener_address(listener),
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
    }
    process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        lines = iter(process.stdout.readline, b"")
        port = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"SMETHOD hello"))
        for _ in range(2):
            client = socket.create_connection(("127.0.0.1", port), DEADLINE)
            host, _ = listener.accept()
            host.sendall(b"served")
            assert client.recv(100) == b"served"
            client.close()
            host.close()
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
