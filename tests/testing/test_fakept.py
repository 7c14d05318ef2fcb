"""A fake transport process does its steps, whatever they are, and then waits."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ptipc.testing.fakept import Exit, Listen, Pause, Raw, Stderr, write_fake_pt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")


def test_it_says_what_it_is_told_to_and_ends_with_its_stdin(tmp_path: Path) -> None:
    steps = ("VERSION 1", Stderr("to people"), Pause(0.01), Raw(b"half \r\xff"))
    fake = write_fake_pt(tmp_path / "a", *steps)
    ended = subprocess.run(fake.command, input=b"", capture_output=True, timeout=30)
    assert ended.stdout == b"VERSION 1\nhalf \r\xff"
    assert ended.stderr == b"to people\n"
    assert ended.returncode == 0


def test_it_is_a_program_that_can_be_started_as_it_is(tmp_path: Path) -> None:
    fake = write_fake_pt(tmp_path / "a", 'STATUS "\\"\' {x}', Exit(7))
    ended = subprocess.run([fake], capture_output=True, timeout=30)
    assert (ended.stdout, ended.returncode) == (b'STATUS "\\"\' {x}\n', 7)


@pytest.mark.parametrize(("echo", "back"), [(True, b"hello"), (False, b"")])
def test_it_listens(tmp_path: Path, echo: bool, back: bytes) -> None:
    fake = write_fake_pt(tmp_path / "a", Listen("foo", answer=b"220 ", echo=echo), "CMETHODS DONE")
    with subprocess.Popen(
        fake.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        word, name, protocol, address = process.stdout.readline().split()
        assert (word, name, protocol) == ("CMETHOD", "foo", "socks5")
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as stream:
            stream.sendall(b"hello")
            stream.shutdown(socket.SHUT_WR)
            with stream.makefile("rb") as answer:
                assert answer.read() == b"220 " + back


def test_a_deaf_one_has_to_be_killed(tmp_path: Path) -> None:
    fake = write_fake_pt(tmp_path / "a", "VERSION 1", deaf=True)
    with subprocess.Popen(
        fake.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "VERSION 1\n"
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
