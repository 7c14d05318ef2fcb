"""``ptipc check host``: a host of ours keeps every rule, and each flaw in another one is found."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import ptipc
from ptipc.cli.main import main
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
from ptipc.core.dialects import PT1, PT2_2, PT3_0, Dialect, Role

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of Unix"),
]

HERE = Path(__file__).parent
OURS = [sys.executable, str(HERE / "ourhost.py"), "{plan}"]
PLAIN = [sys.executable, "-I", "-S", str(HERE / "plainhost.py"), "{plan}"]
PLAIN_SERVER = [sys.executable, "-I", "-S", str(HERE / "plainserver.py"), "{plan}"]


def check(*words: str, host: list[str]) -> int:
    return main(["check", "host", *words, "--", *host])


async def judging(stage: HostStage, *wanted: str, jobs: int = 4) -> list[Verdict]:
    runner = Runner(
        stage=stage, jobs=jobs, play=play_host, judge=host_problem, missing=missing_for_host
    )
    try:
        return await runner.run(host_cases(stage.role.value, stage.dialect.version, wanted))
    finally:
        await stage.close()


def judged(stage: HostStage, *wanted: str) -> list[Verdict]:
    return asyncio.run(judging(stage, *wanted))


def stage_for(
    *command: str, role: Role = Role.CLIENT, dialect: Dialect = PT1, **more: Any
) -> HostStage:
    return HostStage(command=command, transports=["foo"], role=role, dialect=dialect, **more)


def broken(verdicts: list[Verdict]) -> dict[str, str]:
    """What is not as it should be."""
    return {
        f"{each.id} in PT {each.dialect}": f"{each.expected!r}, {each.got!r} {each.reason}"
        for each in verdicts
        if each.outcome is not Outcome.PASSED
    }


# --- our own host ---------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_our_host_keeps_every_rule(role: Role) -> None:
    """By variables and by flags, through asyncio and through threads, all of them at once."""
    environment = {"PYTHONPATH": str(Path(ptipc.__file__).parents[1])}
    runs = [(PT1, "asyncio", "*"), (PT1, "blocking", "*"), (PT3_0, "asyncio", "*")]
    runs += [(PT2_2, "asyncio", "host.mode")]

    async def run() -> list[list[Verdict]]:
        return await asyncio.gather(
            *(
                judging(stage_for(*OURS, way, role=role, dialect=dialect, extra=environment), cases)
                for dialect, way, cases in runs
            )
        )

    assert broken([verdict for verdicts in asyncio.run(run()) for verdict in verdicts]) == {}


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
    "the proxy may fail": "host.upstream.error-late",
    "past the transport": "host.refuses.direct",
    "no outbound address": "host.outbound.v4",
    "no brackets": "host.outbound.v6",
    "always an outbound address": "host.outbound.none",
}
"""One rule broken each, and the case that finds it."""

MODE_FLAWS = {
    "no mode": "host.mode.udp",
    "any case of a mode": "host.mode.stun",
    "no server": "host.mode.server-address",
}
"""The same in the edition 3.0."""

SERVER_FLAWS = {
    "binds one": "host.server.bind-order",
    "binds backwards": "host.server.bind-order",
    "no brackets to bind": "host.server.bind-ipv6",
    "one option": "host.server.options-several",
    "no escapes in options": "host.server.options-escapes",
    "no cookie": "host.extorport.told",
    "bare cookie": "host.extorport.file",
    "cookie for all": "host.extorport.file-private",
    "old cookie": "host.extorport.file-new",
    "no SAFE_COOKIE": "host.extorport.types",
    "any type": "host.extorport.type-other",
    "wrong proof": "host.extorport.proof",
    "believes anybody": "host.extorport.wrong-hash",
    "one nonce": "host.extorport.nonce",
    "no decision": "host.extorport.client",
    "IPv4 only": "host.extorport.client-ipv6",
    "address first": "host.extorport.any-order",
    "wants all of it": "host.extorport.done-alone",
    "no body behind DONE": "host.extorport.done-body",
    "decides early": "host.extorport.not-done",
    "knows three commands": "host.extorport.unknown",
    "short bodies": "host.extorport.unknown-long",
    "any address": "host.extorport.bad-address",
    "any name": "host.extorport.bad-name",
    "in one piece": "host.extorport.pieces",
    "reads ahead": "host.extorport.one-piece",
    "one after the other": "host.extorport.silent",
}
"""The same of a host of servers."""

ALL_FLAWS = FLAWS | MODE_FLAWS | SERVER_FLAWS


def flawed(flaw: str) -> HostStage:
    """A host with a flaw, or with none."""
    if flaw in SERVER_FLAWS:
        return stage_for(*PLAIN_SERVER, flaw, role=Role.SERVER, timeout=4.0)
    return stage_for(*PLAIN, flaw, dialect=PT3_0 if flaw in MODE_FLAWS else PT1, timeout=4.0)


@pytest.fixture(scope="module")
def found() -> dict[str, Verdict]:
    """What is found of each flaw; all of them at once, for most of it is waiting."""

    async def run() -> list[list[Verdict]]:
        return await asyncio.gather(*(verdicts(*each) for each in ALL_FLAWS.items()))

    at_a_time = asyncio.Semaphore(8)

    async def verdicts(flaw: str, case: str) -> list[Verdict]:
        async with at_a_time:
            return await judging(flawed(flaw), case)

    return {flaw: verdict for flaw, (verdict,) in zip(ALL_FLAWS, asyncio.run(run()), strict=True)}


@pytest.mark.parametrize("flaw", ALL_FLAWS)
def test_a_flaw_is_found(flaw: str, found: dict[str, Verdict]) -> None:
    verdict = found[flaw]
    assert verdict.id == ALL_FLAWS[flaw]
    assert verdict.outcome is Outcome.FAILED, verdict
    assert verdict.expected
    assert verdict.got


def test_without_a_flaw_nothing_is_found() -> None:
    """Otherwise it would not be the flaw that is found."""

    hosts = [
        (stage_for(*PLAIN), FLAWS),
        (stage_for(*PLAIN, dialect=PT3_0), MODE_FLAWS),
        (stage_for(*PLAIN_SERVER, role=Role.SERVER), SERVER_FLAWS),
    ]

    async def run() -> list[list[Verdict]]:
        return await asyncio.gather(*(judging(host, *flaws.values()) for host, flaws in hosts))

    verdicts = [verdict for some in asyncio.run(run()) for verdict in some]
    assert broken(verdicts) == {}
    assert len(verdicts) == len({*ALL_FLAWS.values()})


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
    command = ["ptipc", "check", "host", "-v", "--name", "bar", "--env", "A=b"]
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
    assert len(host_cases("server", "1")) > 45


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
