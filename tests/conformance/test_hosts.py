"""``ptipc check host``: a host of ours keeps every rule, and each flaw in another one is found."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

import ptipc
from ptipc.cli.main import main
from ptipc.conformance import scripted
from ptipc.conformance.cases import fixtures_directory, load
from ptipc.conformance.hostchecks import host_problem
from ptipc.conformance.hostplay import HOST_VERBS, play_host
from ptipc.conformance.hosts import (
    PLACEHOLDERS,
    HostStage,
    host_cases,
    missing_for_host,
    placeholders_in,
)
from ptipc.conformance.runner import Runner
from ptipc.conformance.verdicts import Outcome, Verdict
from ptipc.core.dialects import PT1, PT3_0, Role

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of Unix"),
]

HERE = Path(__file__).parent
OURS = [sys.executable, str(HERE / "ourhost.py"), "{plan}"]
PLAIN = [sys.executable, "-I", "-S", str(HERE / "plainhost.py"), "{plan}"]
ENV = ["--env", f"PYTHONPATH={Path(ptipc.__file__).parents[1]}"]


def check(*words: str, host: list[str]) -> int:
    return main(["check", "host", *words, "--", *host])


async def judging(stage: HostStage, *wanted: str) -> list[Verdict]:
    runner = Runner(stage=stage, play=play_host, judge=host_problem, missing=missing_for_host)
    try:
        return await runner.run(host_cases(stage.role.value, "1", wanted))
    finally:
        await stage.close()


def judged(stage: HostStage, *wanted: str) -> list[Verdict]:
    return asyncio.run(judging(stage, *wanted))


def stage_for(*command: str, **more: Any) -> HostStage:
    return HostStage(command=command, transports=["foo"], role=Role.CLIENT, dialect=PT1, **more)


# --- our own host ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [PT1.version, PT3_0.version])  # by variables, and by flags
@pytest.mark.parametrize("role", [role.value for role in Role])
def test_our_host_keeps_every_rule(
    role: str, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that should be kept, and those that real transports need, as well."""
    status = check("--role", role, "--dialect", dialect, "--strict", *ENV, host=OURS)
    said = capsys.readouterr().out
    assert status == 0, said
    assert "note" not in said


# --- flaws ----------------------------------------------------------------------------------------

FLAWS = {
    "inherits": "host.start.inherited",
    "odd version": "host.start.version",
    "relative state": "host.start.state",
    "no state": "host.start.state",
    "asks for more": "host.start.transports",
    "one name": "host.start.several",
    "stdin does not count": "host.start.stdin-flag",
    "no stdin": "host.start.stdin-pipe",
    "closes stdin": "host.start.stdin-pipe",
    "both roles": "host.start.readable",
    "empty proxy": "host.start.no-proxy",
    "signals": "host.start.signals",
    "starts two": "host.start.once",
    "no scheme": "host.upstream.socks5",
    "past the proxy": "host.upstream.unanswered",
    "prefixes": "host.reads.prefix-error",
    "no CR": "host.reads.crlf",
    "any case": "host.reads.lower-case",
    "strict text": "host.reads.not-utf-8",
    "stops at what is unknown": "host.reads.unknown",
    "one error is all": "host.reads.other-error",
    "half lines": "host.refuses.no-line-feed",
    "any version": "host.refuses.other-version",
    "no version": "host.refuses.no-version",
    "errors are not heard": "host.refuses.env-error-late",
    "does not wait for DONE": "host.refuses.no-done",
    "deaf after DONE": "host.streams.stdout",
    "deaf to stderr": "host.streams.stderr",
    "no escapes": "host.socks.escapes",
    "half the escapes": "host.socks.escapes-equals",
    "splits early": "host.socks.split-255",
    "no NUL": "host.socks.args",
    "odd offer": "host.socks.no-args",
    "in a hurry": "host.socks.wait-method",
    "sends early": "host.socks.wait-reply",
    "one read": "host.socks.granted-pieces",
    "knows eight codes": "host.socks.refused-unknown",
    "keeps what is refused": "host.socks.no-method",
    "no SOCKS4": "host.socks.socks4",
    "leaves it": "host.stop.signal",
    "kills at once": "host.stop.time",
    "no time": "host.stop.time",
    "signal first": "host.stop.first",
    "only stdin": "host.stop.signal",
    "no kill": "host.stop.deaf",
    "leaves what is refused": "host.stop.refused",
    "no pause": "host.restart.storm",
    "no back-off": "host.restart.back-off",
    "tries for ever": "host.restart.refused",
    "dies with it": "host.restart.early",
}
"""One rule broken each, and the case that finds it."""


@pytest.fixture(scope="module")
def found() -> dict[str, Verdict]:
    """What is found of each flaw; all of them at once, for most of it is waiting."""

    async def run() -> list[list[Verdict]]:
        return await asyncio.gather(*(verdicts(flaw, case) for flaw, case in FLAWS.items()))

    at_a_time = asyncio.Semaphore(8)

    async def verdicts(flaw: str, case: str) -> list[Verdict]:
        async with at_a_time:
            return await judging(stage_for(*PLAIN, flaw, timeout=4.0), case)

    return {flaw: verdict for flaw, (verdict,) in zip(FLAWS, asyncio.run(run()), strict=True)}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found(flaw: str, found: dict[str, Verdict]) -> None:
    verdict = found[flaw]
    assert verdict.id == FLAWS[flaw]
    assert verdict.outcome is Outcome.FAILED, verdict
    assert verdict.expected
    assert verdict.got


def test_without_a_flaw_nothing_is_found() -> None:
    """Otherwise it would not be the flaw that is found."""
    verdicts = judged(stage_for(*PLAIN), *FLAWS.values())
    assert {each.id: each.got for each in verdicts if each.outcome is not Outcome.PASSED} == {}
    assert len(verdicts) == len({*FLAWS.values()})


# --- what a case is told --------------------------------------------------------------------------


def test_what_a_host_cannot_be_told_is_not_asked_of_it() -> None:
    stage = stage_for("host", "{pt}", files={"config": "connect {target}\n"})
    asyncio.run(stage.close())
    needs = {case.id: missing_for_host(case, stage) for case in host_cases("client", "1")}
    assert needs["host.reads.unknown"] is None
    assert needs["host.socks.args"] == f"needs: {{args}}, {PLACEHOLDERS['args']}"


def test_a_line_for_which_there_is_nothing_is_left_out(tmp_path: Path) -> None:
    """Neither in a file nor among the arguments."""
    template = tmp_path / "template"
    template.write_text("target {target}\nproxy {socks5_proxy}\nname {name}\n")
    said = tmp_path / "said"
    script = (
        f"import sys; open({str(said)!r}, 'w').write(open('config').read() + str(sys.argv[1:]))"
    )
    host = [sys.executable, "-c", script, "{pt}", "--proxy={socks5_proxy}", "--to={target}"]
    assert check("--file", f"config={template}", host=host) == 3
    text = said.read_text()
    assert text.startswith("target 127.0.0.1:9\nname foo\n")
    assert "--proxy" not in text
    assert "'--to=127.0.0.1:9'" in text


def test_the_transport_process_can_be_started_by_its_path() -> None:
    script = "import subprocess, sys; subprocess.run(sys.argv[1])"
    environment = {"TOR_PT_MANAGED_TRANSPORT_VER": "1"}
    stage = stage_for(sys.executable, "-c", script, "{pt}", extra=environment)
    (verdict,) = judged(stage, "host.start.once")
    assert verdict.outcome is Outcome.PASSED, verdict


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--", "host"],
        ["--", "host", "{pt}", "{nonsense}"],
        ["--file", "nonsense", "--", "host", "{pt}"],
        ["--file", "../config=/dev/null", "--", "host", "{pt}"],
        ["--file", "config=/nonexistent", "--", "host", "{pt}"],
        ["--timeout", "0", "--", "host", "{pt}"],
        ["--role", "both", "--", "host", "{pt}"],
    ],
)
def test_a_wrong_command_line_is_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = main(["check", "host", *words])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert capsys.readouterr().err


def test_a_host_that_starts_nothing_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("-v", host=[sys.executable, "-c", "print('no thanks')", "{pt}"]) == 3
    said = capsys.readouterr().err
    assert "started no transport in PT 1" in said
    assert "no thanks; exit 0" in said
    assert check(host=["/nonexistent/host", "{pt}"]) == 3


def test_no_case_at_all_is_status_4() -> None:
    assert check("--select", "client", host=PLAIN) == 4


def test_a_finding_comes_with_the_command_that_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = [*PLAIN, "odd version"]
    words = ["--name", "bar", "--env", "A=b", "--select", "host.start.version"]
    assert check(*words, host=host) == 1
    said = capsys.readouterr().out
    assert "FAIL  MUST host.start.version" in said
    command = ["ptipc", "check", "host", "--name", "bar", "--env", "A=b"]
    command += ["--select", "host.start.version", "--", *host]
    assert shlex.join(command) in said


def test_failures_that_are_known_are_no_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "known.toml"
    words = ["--expect", str(path), "--select", "host.start.version"]
    assert check(*words, "--update-expect", host=[*PLAIN, "odd version"]) == 0
    assert check(*words, host=[*PLAIN, "odd version"]) == 0
    assert "KNOWN MUST host.start.version" in capsys.readouterr().out
    assert check(*words, host=PLAIN) == 1


# --- the cases ------------------------------------------------------------------------------------


def test_there_are_enough_cases() -> None:
    assert len(host_cases("client", "1")) > 100
    assert len(host_cases("server", "1")) > 15


def test_every_case_is_understood() -> None:
    for case in (case for case in load(["process"]) if case.op == "process/host"):
        for step in case.content["script"]:
            assert len([word for word in step if word in HOST_VERBS]) == 1, case.id
        assert set(case.content.get("needs", ())) <= set(PLACEHOLDERS), case.id


def test_the_schema_has_the_words_of_the_player() -> None:
    path = fixtures_directory() / "schema" / "process.schema.json"
    definitions = json.loads(path.read_text("utf-8"))["$defs"]
    choices = definitions["host-case"]["properties"]["script"]["items"]["oneOf"]
    names = [each["$ref"].removeprefix("#/$defs/") for each in choices]
    assert {definitions[name]["required"][0] for name in names} <= set(HOST_VERBS)
    needs = definitions["host-case"]["properties"]["needs"]["items"]["enum"]
    assert set(needs) <= set(PLACEHOLDERS)


def test_placeholders_are_names_in_braces() -> None:
    assert placeholders_in("a {pt} {socks5_proxy}{ x }{}") == ["pt", "socks5_proxy"]


# --- the scripted process -------------------------------------------------------------------------


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
