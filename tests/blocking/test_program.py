"""A transport in threads as a program: what it reads, what it says, and what ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ptipc.core.codecs import Address
from ptipc.core.dialects import PT1, PT2_0, PT2_2, PT3_0, Dialect
from tests.aio.programs import (
    DEADLINE,
    clean_environment,
    running,
    wait_for_the_end_of,
    write_program,
)

HELLO = [sys.executable, str(Path(__file__).parents[2] / "examples" / "blocking_hello.py")]

VERSIONS = "TOR_PT_MANAGED_TRANSPORT_VER"
CLIENT = "TOR_PT_CLIENT_TRANSPORTS"


def connected(place: Address) -> socket.socket:
    return socket.create_connection((place.host, place.port), DEADLINE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        yield server


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def test_the_example_is_short() -> None:
    assert len(Path(HELLO[1]).read_text().splitlines()) <= 15


# --- what it is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "channel"),
    [
        (PT1, "environment"),
        (PT2_0, "flags"),
        (PT2_2, "environment"),
        (PT2_2, "flags"),
        (PT3_0, "flags"),
    ],
    ids=str,
)
def test_it_is_configured_in_every_edition_and_by_either_way(
    dialect: Dialect, channel: str
) -> None:
    with running(HELLO, dialect=dialect, channel=channel, client=["hello"]) as program:
        assert program.address().is_loopback
        assert program.lines[0] == f"VERSION {dialect.version}"
        program.close_stdin()
        assert program.end() == 0
        assert all(line.startswith("LOG ") for line in program.rest())
    with running(
        HELLO,
        dialect=dialect,
        channel=channel,
        server={"hello": "127.0.0.1:0"},
        target="127.0.0.1:9",
    ) as program:
        program.until("SMETHOD hello 127.0.0.1:")
        program.until("SMETHODS DONE")


@pytest.mark.parametrize(
    ("environ", "said", "status"),
    [
        ({VERSIONS: "9", CLIENT: "hello"}, "VERSION-ERROR no-version", 78),
        ({VERSIONS: "1"}, "ENV-ERROR no transport is asked for", 64),
        ({CLIENT: "hello", "TOR_PT_PROXY": "nonsense", VERSIONS: "1"}, "PROXY-ERROR", 69),
        ({}, "ENV-ERROR no TOR_PT_MANAGED_TRANSPORT_VER", 64),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said(
    environ: dict[str, str], said: str, status: int
) -> None:
    done = subprocess.run(
        HELLO,
        env={**clean_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == status
    assert said in done.stdout
    assert ("the pluggable transport hello" in done.stderr) is (not environ)


TALKATIVE = """
    import logging, os
    from ptipc.blocking import StreamTransport, run

    def publish(options):
        print("a stray print")
        os.write(1, b"CMETHODS DONE\\n")
        logging.getLogger("mine").info("client 192.0.2.7:443 came")
        return {}

    run(StreamTransport("hello", publish=publish))
"""


def test_whatever_else_is_written_to_stdout_becomes_a_log_line(tmp_path: Path) -> None:
    command = write_program(tmp_path, TALKATIVE)
    with running(command, server=["hello"], target="127.0.0.1:9") as program:
        program.until("SMETHODS DONE")
        program.close_stdin()
        program.rest()
        said = [line for line in program.lines if not line.startswith("LOG ")]
        assert [line.split()[0] for line in said] == ["VERSION", "SMETHOD", "SMETHODS"]
        for text in ("a stray print", "CMETHODS DONE", "client [scrubbed] came"):
            assert f'LOG SEVERITY=info MESSAGE="{text}"' in program.lines


# --- its end --------------------------------------------------------------------------------------


def test_the_end_of_stdin_counts_only_if_the_host_says_so() -> None:
    with running(HELLO, client=["hello"], exit_on_stdin_close=False) as program:
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
        from ptipc.blocking import StreamTransport, run
        from ptipc.blocking.service import Limits

        run(StreamTransport("hello"), limits=Limits(drain=1000))
        """,
    )
    with running(command, server=["hello"], target=address(listener)) as program:
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_flood_of_signals_is_an_end_like_any_other(number: signal.Signals) -> None:
    """A handler may run in the middle of anything that the main thread does, and not lock it up."""
    with running(HELLO, client=["hello"]) as program, ExitStack() as guests:
        place = program.address()
        for _ in range(20):
            guests.enter_context(connected(place))
        while program.process.poll() is None:
            program.process.send_signal(number)
        assert program.end() == 0


HOST = """
    import os, subprocess
    child = subprocess.Popen(
        {command!r}, env={environ!r}, stdin={stdin}, start_new_session=True
    )
    print("pid", child.pid, flush=True)
    child.wait()
"""


@pytest.mark.parametrize("asked", [True, False], ids=["with the stdin flag", "without"])
def test_a_host_that_is_killed_leaves_no_transport_process(asked: bool, tmp_path: Path) -> None:
    environ = {**clean_environment(), VERSIONS: "1", CLIENT: "hello"}
    if asked:
        environ["TOR_PT_EXIT_ON_STDIN_CLOSE"] = "1"
    stdin = "subprocess.PIPE" if asked else "subprocess.DEVNULL"
    source = HOST.format(command=HELLO, environ=environ, stdin=stdin)
    with running(write_program(tmp_path, source, "host.py"), environ=clean_environment()) as host:
        pid = int(host.until("pid").split()[1])
        host.until("CMETHODS DONE")
        host.process.kill()
        wait_for_the_end_of(pid)


def test_a_host_that_reads_no_more_is_gone() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        HELLO,
        env={**clean_environment(), VERSIONS: "1", CLIENT: "hello"},
        stdin=subprocess.PIPE,
        stdout=writing,
    )
    os.close(writing)
    os.close(reading)
    assert process.wait(DEADLINE) == 0
    assert process.stdin is not None
    process.stdin.close()


def test_many_silent_clients_hurt_nobody_else(listener: socket.socket) -> None:
    """500 of them, and a length that promises 4 GiB."""
    with running(HELLO, dialect=PT2_2, client=["hello"]) as program, ExitStack() as guests:
        place = program.address()
        silent = [guests.enter_context(connected(place)) for _ in range(500)]
        silent[0].sendall(b"\5\1\x09\xff\xff\xff\xff" + bytes(1000))
        client = guests.enter_context(connected(place))
        client.settimeout(DEADLINE)
        host, port = listener.getsockname()
        request = b"\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big")
        client.sendall(b"\5\1\0" + request)
        server = guests.enter_context(listener.accept()[0])
        server.sendall(b"served")
        answers = guests.enter_context(client.makefile("rb"))
        assert answers.read(18) == b"\5\0" + b"\5\0\0\1" + bytes(6) + b"served"
        program.close_stdin()
        assert program.end() == 0
