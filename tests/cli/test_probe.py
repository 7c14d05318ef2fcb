"""``ptipc probe``: what is known about bridges, and what is not."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.aio.hosting import program
from tests.cli.commands import ptipc, result_of, tcp_server, wait_until
from tests.interop.processes import free_port


def silent(connection: socket.socket) -> None:
    """Take everything, and say nothing."""
    while connection.recv(65536):
        pass


def banner(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-test\r\n")


def words_of(said: str) -> str:
    return " ".join(said.split())


def test_a_bridge_that_answers_works() -> None:
    """With --tls whatever is behind it has to answer, in TLS or not."""
    with tcp_server(banner) as port:
        status, said = result_of("probe", "--tls", f"hello 127.0.0.1:{port}")
    assert status == 0
    assert said.startswith("works ")
    assert f"hello 127.0.0.1:{port}" in said
    assert "answers, though not in TLS" in said
    assert said.endswith("1 bridge: 1 works\n")


def test_without_a_proof_it_is_only_granted() -> None:
    """Which is good enough, unless --strict."""
    with tcp_server(silent) as port:
        status, said = result_of("probe", f"hello 127.0.0.1:{port}")
        assert status == 0
        assert said.startswith("granted ")
        assert "try --tls" in words_of(said)
        assert result_of("probe", "--strict", "hello", f"127.0.0.1:{port}")[0] == 1


def test_what_fails_says_why() -> None:
    """Every line has its result, in order, however long each takes."""
    closed = free_port()
    with tcp_server(silent) as quiet, tcp_server(lambda connection: None) as closing:
        lines = [f"hello 127.0.0.1:{port}" for port in (quiet, closed, closing)]
        status, said = result_of("probe", "--tls", "--timeout", "5", "-j", "1", *lines)
    assert status == 1
    assert [line.split()[0] for line in said.splitlines() if "hello 127" in line] == ["fails"] * 3
    told = words_of(said)
    assert f"hello 127.0.0.1:{quiet} no answer within 5 seconds: the bridge is silent" in told
    assert f"hello 127.0.0.1:{closed} the target refused the connection (reply 0x05)" in told
    assert f"hello 127.0.0.1:{closing} the connection was closed without an answer to TLS" in told
    assert told.endswith("3 bridges: 3 fails")


def test_json_has_a_line_for_each(tmp_path: Path) -> None:
    """The lines may come from a file, with comments, and args are not repeated."""
    with tcp_server(banner) as port:
        file = tmp_path / "bridges"
        file.write_text(
            f"# two of them\n\nBridge hello 127.0.0.1:{port} {'A' * 40} key=hush\n"
            f"hello 127.0.0.1:{free_port()}\n"
        )
        status, said = result_of("probe", "--json", "--tls", "-f", str(file))
    assert status == 1
    results = sorted(map(json.loads, said.splitlines()), key=lambda result: result["number"])
    assert (
        results[0].items()
        >= {
            "number": 1,
            "transport": "hello",
            "address": f"127.0.0.1:{port}",
            "fingerprint": "A" * 40,
            "verdict": "works",
        }.items()
    )
    assert results[1]["verdict"] == "fails"
    assert results[0]["seconds"] >= 0
    assert "hush" not in said


def test_bridges_may_come_by_standard_input() -> None:
    with tcp_server(banner) as port, ptipc("probe", "--tls", "-f", "-") as process:
        assert process.process.stdin is not None
        process.process.stdin.write(f"hello 127.0.0.1:{port}\n".encode() * 30)
        process.process.stdin.close()
        assert process.end() == 0
        assert process.said.count("works ") == 30


def test_a_process_that_does_not_start_leaves_its_bridges_untried() -> None:
    status, said = result_of("probe", "one 127.0.0.1:9", "--", *program("crash_early"))
    assert status == 3
    assert said.startswith("untried ")
    assert "crash_early.py" not in said.splitlines()[0]
    assert "did not start: ended with exit 7 before it was ready" in words_of(said)


def test_so_does_one_that_ends() -> None:
    status, said = result_of("probe", "one 127.0.0.1:9", "--", *program("crash_late"))
    assert status == 3
    assert "the process of one ended with exit 3" in words_of(said)


def test_an_interrupt_ends_it() -> None:
    with tcp_server(silent) as port, ptipc("probe", "--tls", f"hello 127.0.0.1:{port}") as process:
        wait_until(process.children)
        process.process.send_signal(signal.SIGTERM)
        assert process.end() == 130


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "which bridges? Give their lines"),
        (["hello there", "127.0.0.1:9"], "line 1: not an IP address: 'there'"),
        (["hello there", "127.0.0.1:9"], "line 2: 127.0.0.1:9 names no transport"),
        (["-f", "/nonexistent"], "cannot read /nonexistent: No such file"),
        (["-j", "0", "hello 127.0.0.1:9"], "argument -j/--jobs: not a number from 1 on: '0'"),
        (["unknown 127.0.0.1:9"], "which program is the client of unknown?"),
        (["hello 127.0.0.1:9 k=v secret"], "is not key=value"),
    ],
)
def test_a_wrong_command_line_is_explained(words: list[str], complaint: str) -> None:
    status, said = result_of("probe", *words)
    assert status == 2
    assert complaint in said
    assert "secret" not in said
