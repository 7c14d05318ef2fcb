"""The scripted transport process, which a host under test starts: it plays, and reports."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from ptipc.conformance import scripted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of Unix"),
]


@pytest.fixture
def tester() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@contextlib.contextmanager
def launched(
    tester: socket.socket, directory: Path, *steps: Any, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], TextIO]]:
    """A scripted process, and what it reports, line by line."""
    port = tester.getsockname()[1]
    path = directory / "script.json"
    path.write_text(json.dumps({"report": f"127.0.0.1:{port}", "steps": steps}))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(scripted.__file__), str(path), "-flag"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environment},
    )
    with process:
        link, _ = tester.accept()
        link.settimeout(10)
        with link, link.makefile() as reports:
            yield process, reports
            link.shutdown(socket.SHUT_RDWR)


def test_a_scripted_process_reports_with_what_it_was_started(
    tester: socket.socket, tmp_path: Path
) -> None:
    with launched(tester, tmp_path, {"say": ["VERSION 1"]}, TOR_PT_A="b", B="c") as (
        process,
        reports,
    ):
        told = json.loads(reports.readline())
        assert told["event"] == "started"
        assert told["pid"] == process.pid
        assert told["argv"] == ["-flag"]
        assert told["environ"] == {"TOR_PT_A": "b"}
        assert told["streams"] == ["pipe"] * 3
        assert json.loads(reports.readline()) == {"event": "played"}
        process.terminate()
        assert json.loads(reports.readline()) == {"event": "signal", "what": "SIGTERM"}
        assert json.loads(reports.readline()) == {"event": "ended", "what": "exit 0"}
        assert process.communicate(timeout=10) == (b"VERSION 1\n", b"")


def test_it_writes_what_its_script_says(tester: socket.socket, tmp_path: Path) -> None:
    steps = [
        {"trickle": ["a"]},
        {"write": ["b", {"hex": "ff"}, {"repeat": "c", "times": 3}]},
        {"flood": {"on": "stdout", "line": "d", "times": 2}},
        {"complain": ["e"]},
        {"wait": 0.01},
        {"exit": 7},
    ]
    with launched(tester, tmp_path, *steps) as (process, _):
        assert process.communicate(timeout=10) == (b"a\nb\xffcccd\nd\n", b"e\n")
        assert process.returncode == 7


@pytest.mark.parametrize(("variable", "ends"), [("1", True), ("0", False)])
def test_the_end_of_stdin_counts_if_the_host_says_so(
    variable: str, ends: bool, tester: socket.socket, tmp_path: Path
) -> None:
    with launched(tester, tmp_path, TOR_PT_EXIT_ON_STDIN_CLOSE=variable) as (process, reports):
        assert process.stdin is not None
        process.stdin.close()
        told = [json.loads(reports.readline())["event"] for _ in range(3)]
        assert told == ["started", "played", "stdin-end"]
        if ends:
            assert json.loads(reports.readline())["event"] == "ended"
        else:
            process.terminate()
            assert json.loads(reports.readline())["event"] == "signal"


def test_it_does_not_outlive_the_tester(tester: socket.socket, tmp_path: Path) -> None:
    """Whatever it ignores, and while it waits for its script."""
    steps = [{"ignore": ["stdin", "signals"]}, {"say": ["deaf"]}, {"wait": 600}]
    with launched(tester, tmp_path, *steps) as (process, reports):
        assert json.loads(reports.readline())["event"] == "started"
        assert process.stdout is not None
        assert process.stdout.readline() == b"deaf\n"
        process.terminate()
        assert json.loads(reports.readline())["event"] == "signal"
    assert process.returncode == 3
