"""``ptipc check client``, ``server`` and ``list``: what they print and return."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import ptipc
from ptipc.cli.main import main
from ptipc.conformance import expectations
from tests.test_readme import example

HERE = Path(__file__).parent
PACKAGE = Path(ptipc.__file__).parent
CHECKOUT = HERE.parents[1]
HELLO = [sys.executable, str(CHECKOUT / "examples" / "hello.py")]
OURS = ["--env", f"PYTHONPATH={PACKAGE.parent}"]
"""So that the example finds the same ptipc as we do."""

SILENT = [sys.executable, "-c", "print('VERSION 1')"]


def check(*words: str, program: Sequence[str] = ()) -> int:
    return main(["check", *words, *(["--", *program] if program else [])])


def check_apart(*words: str, program: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """As people do it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ptipc", "check", *words, "--", *program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def talker(*lines: str) -> list[str]:
    """A program that says some lines and goes on."""
    script = f"import time\nprint({', '.join(map(repr, lines))}, sep='\\n', flush=True)\n"
    return [sys.executable, "-c", f"{script}time.sleep(60)"]


LINES = ("VERSION 1", "CMETHOD foo socks5 127.0.0.1:9", "CMETHODS DONE")
QUICK = ("--timeout", "3")
"""There is nothing to wait for in such a program."""


# --- our own example ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("role", ["client", "server"])
def test_a_transport_that_undoes_what_it_does_by_doing_it_again_is_no_plain_one(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An echo through it looks as if it changed nothing; it is the one on the front page."""
    program = tmp_path / "rot13.py"
    program.write_text(example("rot13.py"))
    words = ("check", role, "rot13", "--select", f"{role}.relay.payload")
    assert main([*words, "--", sys.executable, str(program)]) == 0
    assert "1 checked: 1 passed" in capsys.readouterr().out


@pytest.mark.slow
def test_our_example_keeps_every_rule() -> None:
    """As a program that is started each time; ``test_examples`` has all of them, and all editions.

    What CI sees is that it goes on: a line now and then.
    """
    found = check_apart("client", "hello", "--strict", *OURS, program=HELLO)
    assert found.returncode == 0, found.stdout
    assert "NOTE" not in found.stdout
    said = found.stderr.splitlines()
    assert [
        line for line in said if not re.fullmatch(r"ptipc check: \d+/\d+  0 failed", line)
    ] == []
    assert said


def test_a_program_may_be_named_from_where_we_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is started elsewhere; the command that shows a failure again is the one that we gave."""
    (tmp_path / "bin").mkdir()
    script = talker(*LINES, "CMETHODS DONE")[-1]
    (tmp_path / "bin" / "pt.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    program = [sys.executable, "bin/pt.py"]
    assert check("client", "foo", *QUICK, "--select", "client.start.once", program=program) == 1
    said = capsys.readouterr().out
    assert said.startswith("pt.py, as client foo")
    assert f"--select client.start.once -- {shlex.join(program)}" in said


def test_what_a_program_is_called_and_which_version_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it says itself, unless the tester says it."""
    status = 'STATUS TYPE=version IMPLEMENTATION="foo-pt" VERSION="2.3"'
    words = ["client", "foo", *QUICK, "--select", "client.start.once"]
    assert check(*words, program=talker(LINES[0], status, *LINES[1:])) == 0
    assert capsys.readouterr().out.startswith("foo-pt 2.3, as client foo, PT 1")
    assert check(*words, "--name", "mine", program=talker(LINES[0], status, *LINES[1:])) == 0
    assert capsys.readouterr().out.startswith("mine 2.3, as client foo, PT 1")


def test_what_is_required_is_not_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """The case is played, and fails; if there is none, it is a failure all the same."""
    words = ["client", "foo", *QUICK]
    refused, once = (("--select", f"client.{name}") for name in ("socks.refused", "start.once"))
    assert check(*words, *refused, program=talker(*LINES)) == 0
    assert "skipped" in capsys.readouterr().out
    assert check(*words, *refused, "--require", "dials", program=talker(*LINES)) == 1
    said = capsys.readouterr()
    assert "FAIL  MUST client.socks.refused" in said.out
    assert f"--require dials {' '.join(QUICK)} --select client.socks.refused -- " in said.out
    assert check(*words, *once, "--require", "dials", program=talker(*LINES)) == 1
    assert "PT 1 it shows nothing of what --require dials says" in capsys.readouterr().err


def test_a_mode_that_an_edition_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["client", "foo", "--mode", "STUN", "--select", "client.start.once"]
    assert check(*words, program=talker(*LINES)) == 3
    assert "PT 1 has no mode STUN" in capsys.readouterr().err


# --- real programs --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "transport", "program"),
    [
        pytest.param(role, transport, program, marks=pytest.mark.program(program), id=name)
        for name, role, transport, program in (
            ("obfs4proxy-client", "client", "obfs4", "obfs4proxy"),
            ("obfs4proxy-server", "server", "obfs4", "obfs4proxy"),
            ("snowflake-client", "client", "snowflake", "snowflake-client"),
        )
    ],
)
def test_a_real_program_deviates_as_its_list_says(role: str, transport: str, program: str) -> None:
    """The reasons in the lists were confirmed by hand; a tester that finds nothing is wrong."""
    path = HERE / "expect" / f"{program.removesuffix(f'-{role}')}-{role}.toml"
    words = (role, transport, "--strict", "--expect", str(path))
    found = check_apart(*words, program=[program])
    assert found.returncode == 0, found.stdout
    assert "NOTE" not in found.stdout
    assert "KNOWN MUST" in found.stdout


@pytest.mark.parametrize(
    "path", sorted((HERE / "expect").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_deviation_of_a_real_program_has_a_reason(path: Path) -> None:
    known = expectations.read(path).known
    assert len(known) > 10
    assert [each.id for each in known if each.reason == "to be looked at"] == []


# --- what it returns ------------------------------------------------------------------------------


def test_a_failure_is_told_with_the_command_that_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A MUST that is broken: status 1, and everything a person needs to see why."""
    program = talker(*LINES, "CMETHODS DONE")
    assert check("client", "foo", *QUICK, "--select", "client.start.once", program=program) == 1
    said = capsys.readouterr().out
    assert "FAIL  MUST client.start.once" in said
    assert "'CMETHODS DONE'" in said
    assert "breaks    tor" in said
    selected = ["--select", "client.start.once"]
    shown = shlex.join(["client", "foo", "-v", *QUICK, *selected, "--", *program])
    assert f"        ptipc check {shown}\n" in said
    assert check(*shlex.split(shown)) == 1
    again = capsys.readouterr().out
    assert "FAIL  MUST client.start.once" in again
    assert "stdout line             CMETHODS DONE" in again


def test_a_should_fails_only_if_we_are_strict(capsys: pytest.CaptureFixture[str]) -> None:
    program = talker("VERSION 1", "CMETHOD foo socks4 127.0.0.1:9", "CMETHODS DONE")
    words = ["client", "foo", *QUICK, "--select", "client.start.socks5"]
    assert check(*words, program=program) == 0
    assert "WARN  SHOULD client.start.socks5" in capsys.readouterr().out
    assert check(*words, "--strict", program=program) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["client"],
        ["client", "hello"],
        ["client", "hello", "stray"],
        ["client", ","],
        ["client", "hello", "--dialect", "9"],
        ["client", "hello", "--args", "novalue"],
        ["client", "hello", "--option", "novalue"],
        ["client", "hello", "--timeout", "0"],
        ["client", "hello", "--require", "magic"],
        ["client", "hello", "--update-expect"],
        ["client", "hello", "--expect", "/nonexistent.toml"],
        ["client", "hello", "--report", "x.pdf"],
        ["list", "nobody"],
        ["nonsense"],
    ],
)
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and one sentence."""
    program = (
        [] if words in (["client"], ["client", "hello"], ["client", "hello", "stray"]) else HELLO
    )
    with pytest.raises(SystemExit) as ended:
        check(*words, program=program)
    assert ended.value.code == 2
    assert "ptipc check" in capsys.readouterr().err


def test_a_program_that_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3: it was not judged."""
    words = ["client", "foo", "--select", "client.start"]
    assert check(*words, program=["/nonexistent/program"]) == 3
    assert check(*words, program=SILENT) == 3
    said = capsys.readouterr()
    assert "it says 'VERSION 1' and ends with exit 0" in said.err
    waiting = "a host waits for VERSION, 'CMETHOD foo ...' and CMETHODS DONE"
    assert said.err.count(waiting) == 1, "of what was not even started nothing is awaited"
    assert said.out == ""
    assert check(*words, "-v", program=SILENT) == 3
    assert "stdout line" in capsys.readouterr().err


def test_an_edition_that_a_program_does_not_speak(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a failure only if just that edition was asked for."""
    script = (
        "import os, time\n"
        "if os.environ.get('TOR_PT_MANAGED_TRANSPORT_VER') != '1': raise SystemExit(78)\n"
        "print('VERSION 1', 'CMETHOD foo socks5 127.0.0.1:9', 'CMETHODS DONE', sep='\\n',"
        " flush=True)\n"
        "time.sleep(60)"
    )
    program = [sys.executable, "-c", script]
    words = ["client", "foo", *QUICK, "--select", "client.start.once"]
    assert check(*words, "--dialect", "all", program=program) == 0
    assert check(*words, "--dialect", "1", "--dialect", "3.0", program=program) == 3
    assert "did not start in PT 3.0" in capsys.readouterr().err


def test_nothing_selected_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("client", "hello", "--select", "no.such.case", program=HELLO) == 4
    assert check("list", "--select", "no.such.case") == 4
    assert capsys.readouterr().err.count("no case is selected") == 2


def test_a_list_of_known_failures_is_written_and_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it expects passes; what has been mended since then does not."""
    path = tmp_path / "expect.toml"
    words = ["client", "foo", *QUICK, "--select", "client.start.once", "--expect", str(path)]
    good, bad = talker(*LINES), talker(*LINES, "CMETHODS DONE")
    assert check(*words, "--update-expect", program=bad) == 0
    assert '[fail."client.start.once"]' in path.read_text()
    assert check(*words, program=bad) == 0
    assert check(*words, program=good) == 1
    assert "XPASS" in capsys.readouterr().out
    assert check(*words, "--update-expect", program=good) == 0
    assert check(*words, program=good) == 0


def test_it_stops_at_the_first_failure(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["client", "foo", *QUICK, "-x", "--select", "client.config.error"]
    assert check(*words, program=talker(*LINES)) == 1
    assert " 1 failed" in capsys.readouterr().out


def test_reports_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON lines, for a CI server, and whatever else the name of a file asks for."""
    lines, junit, page = (tmp_path / name for name in ("x.jsonl", "x.xml", "x.html"))
    status = check(
        *("client", "hello", "--select", "client.start.version", *OURS, "-q"),
        *("--json", str(lines), "--junit", str(junit), "--report", str(page)),
        program=HELLO,
    )
    assert status == 0
    head, verdict = (json.loads(line) for line in lines.read_text().splitlines())
    assert (head["what"], head["version"]) == ("client hello", "1.0")
    assert (verdict["id"], verdict["outcome"]) == ("client.start.version", "passed")
    assert "<testsuite" in junit.read_text()
    assert "<html" in page.read_text()
    assert capsys.readouterr().out == ""


def test_what_cases_need_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("list", "client", "--capabilities", "--select", "client.socks") == 0
    said = capsys.readouterr().out
    assert "dials " in said
    assert "it connects to the target that SOCKS names" in said
    assert "http-proxy" not in said
    assert check("list", "host", "--capabilities", "--select", "host.outbound") == 0
    assert "{outbound_v6} " in capsys.readouterr().out


def test_the_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("list", "server", "--level", "must", "--select", "server.bind") == 0
    assert "server.bind.port" in capsys.readouterr().out
    assert check("list", "client", "--json", "--dialect", "1") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"id", "title", "level", "rule", "section", "requirements", "dialects"} == set(listed[0])
    assert len(listed) > 250
    assert check("list", "host", "--select", "host.start") == 0
    assert "host.start.inherited" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_tester_that_is_told_to_end_takes_its_programs_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    script = (
        "import pathlib, time\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(__import__('os').getpid()))\n"
        "time.sleep(600)"
    )
    tester = subprocess.Popen(
        [
            *(sys.executable, "-m", "ptipc", "check", "client", "foo", "--timeout", "60"),
            *("--", sys.executable, "-c", script),
        ],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.DEVNULL,
    )
    while not (mark.exists() and mark.read_text()):
        assert tester.poll() is None
    tester.send_signal(signal.SIGTERM)
    tester.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
