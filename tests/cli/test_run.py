"""``ptipc run``: the conversation of any process, and its end step by step."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.aio.hosting import program
from tests.cli.commands import (
    connect,
    echo,
    ptipc,
    receive_all,
    receive_exactly,
    result_of,
    tcp_server,
)
from tests.interop.processes import free_port


def test_the_conversation_is_shown_with_what_it_means() -> None:
    """What the host sets, what the process says, and how both end it."""
    with ptipc("run", "client", "hello", "--proxy", "socks5://me:secret@127.0.0.1:9") as process:
        process.wait_for("waits; Ctrl-C ends it")
        process.interrupt()
        assert process.end() == 0
        said = process.said
    for line in (
        "   host    sets TOR_PT_CLIENT_TRANSPORTS=hello",
        "             = the transports to start",
        "   host    sets TOR_PT_PROXY=socks5://...@127.0.0.1:9",
        "   client  VERSION 1",
        "   client  PROXY DONE",
        "   client  CMETHODS DONE",
        "             = Every transport of a client is up or has failed.",
        "   host    closes its stdin, which asks it to end",
        "   client  ends with exit 0",
    ):
        assert line in said.splitlines()
    assert "secret" not in said


def test_a_local_port_leads_through_a_client() -> None:
    with (
        tcp_server(echo) as port,
        ptipc("run", "client", "hello", "--to", f"127.0.0.1:{port}") as process,
    ):
        local = int(process.wait_for(r"leads 127\.0\.0\.1:(\d+) through hello to")[1])
        with connect(local) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        process.wait_for(r"says that #1 .* is closed")
        process.interrupt()
        assert process.end() == 0


def test_a_server_sends_back_what_nobody_else_wants() -> None:
    """Its settings are flags where those are usual."""
    with ptipc("run", "server", "hello", "--dialect", "2.2", "--option", "key=hush") as process:
        process.wait_for("adds -ptversion 2.2$")
        process.wait_for(r'adds -options \{"hello": \{"key": "\.\.\."\}\}')
        port = int(process.wait_for(r"would tell clients of this: hello 127\.0\.0\.1:(\d+)")[1])
        with connect(port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
        process.interrupt()
        assert process.end() == 0


def test_a_server_leads_to_where_it_is_told() -> None:
    with (
        tcp_server(lambda connection: connection.sendall(b"there")) as port,
        ptipc("run", "server", "hello", "--to", f"127.0.0.1:{port}") as process,
    ):
        server = int(process.wait_for(r"would tell clients of this: hello 127\.0\.0\.1:(\d+)")[1])
        with connect(server) as client:
            assert receive_all(client) == b"there"
        process.interrupt()
        assert process.end() == 0


def test_a_process_that_will_not_end_is_ended() -> None:
    """It has three seconds to notice its stdin, then there is SIGTERM, and Ctrl-C hurries."""
    with ptipc("run", "client", "one", "--", *program("deaf")) as process:
        process.wait_for("waits; Ctrl-C ends it")
        process.interrupt()
        process.wait_for("closes its stdin, which asks it to end")
        process.wait_for("sends SIGTERM")
        process.interrupt()
        process.wait_for("kills it")
        assert process.end() == 1
        assert process.said.endswith("client  ends with signal SIGKILL\n")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("silent", ["--timeout", "0.3"], "it did not become ready: not ready within 0.3 seconds"),
        ("crash_early", [], "it did not become ready: ended with exit 7 before it was ready"),
        ("after_done", [], "! against the rules: Version in the phase 'ready' (C26)"),
        ("not_managed", [], "it did not become ready"),
        ("done_and_gone", [], "ends with exit 255"),
    ],
)
def test_what_bad_processes_do_is_shown(name: str, words: list[str], said: str) -> None:
    """And no matter what it is, they end, with the exit status 1 or that of good order."""
    with ptipc("run", "client", "one", *words, "--", *program(name)) as process:
        if "waits" in process.wait_for(r"client  ends with|waits; Ctrl-C")[0]:
            process.interrupt()
        status = process.end()
        assert said in " ".join(process.said.split())
        assert status == (0 if name == "after_done" else 1)


def test_a_transport_that_is_not_there_is_missed() -> None:
    """The others are served all the same."""
    with ptipc("run", "client", "one", "two", "--", *program("crlf")) as process:
        process.wait_for(r"! two is not up: the process did not offer it \(C24\)")
        process.wait_for("waits; Ctrl-C")
        process.interrupt()
        assert process.end() == 1


def test_nothing_that_a_process_writes_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    """A terminal obeys escape sequences; and a line of any length is cut."""
    script = tmp_path / "script"
    script.write_text(
        "printf 'VERSION 1\\n\\033[2JHELLO\\n'\nhead -c 50000 /dev/zero | tr '\\0' x\necho\n"
    )
    status, said = result_of("run", "client", "one", "--", "/bin/sh", str(script))
    assert status == 1
    assert "client  \\x1b[2JHELLO" in said
    assert "\x1b" not in said
    assert "more characters)" in said
    assert max(map(len, said.splitlines())) < 1100


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("client", "which transport?"),
        ("clown hello", "invalid choice: 'clown'"),
        ("server hello --args a=b", "--bridge and --args are for clients"),
        ("server hello other --listen 9 -- prog", "several transports cannot listen at one port"),
        ("server hello --proxy socks5://127.0.0.1:9", "proxy cannot be said to a server in PT 1"),
        ("server hello --to name:9", "target: not an IP address"),
        ("client unknown", "which program is the client of unknown?"),
    ],
)
def test_a_wrong_command_line_is_explained(words: str, complaint: str) -> None:
    status, said = result_of("run", *words.split())
    assert status == 2
    assert complaint in said


def test_a_program_that_is_not_there_is_said_to_be_missing() -> None:
    status, said = result_of("run", "client", "one", "--", "/nonexistent")
    assert status == 1
    assert "! cannot start '/nonexistent'" in said


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("run", "client", "hello", "--to", f"127.0.0.1:{free_port()}")
        status, said = result_of(*words, "--listen", str(port))
    assert status == 1
    assert f"nobody can listen at 127.0.0.1:{port}: Address already in use" in " ".join(
        said.split()
    )
