"""Cases are played on real processes: small ones, made for the purpose, good and bad."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptipc.conformance.cases import Case, load
from ptipc.conformance.play import VERBS, can_share, play
from ptipc.conformance.probing import CAPABILITIES, NotStarted, missing, probe
from ptipc.conformance.runner import Runner, cases_for
from ptipc.conformance.stage import Stage
from ptipc.conformance.verdicts import Outcome, Transcript, Verdict
from ptipc.core.dialects import PT1, PT3_0, Role

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of Unix")

START = """
import os, socket, sys, time
def say(*lines):
    for line in lines:
        sys.stdout.write(line + "\\n")
    sys.stdout.flush()
with open(os.environ["STARTS"], "a") as starts:
    starts.write("x")
"""
"""The beginning of a program; it counts how often it was started."""

LISTEN = """
listener = socket.create_server(("127.0.0.1", 0))
say("VERSION 1", "CMETHOD foo socks5 127.0.0.1:%d" % listener.getsockname()[1], "CMETHODS DONE")
"""

GREET = f"""{LISTEN}
served = 0
while True:
    connection, _ = listener.accept()
    if connection.recv(3) == b"\\5\\1\\0":
        connection.sendall(b"\\5\\0")
    served += 1
"""
"""It speaks as much of SOCKS as a greeting."""

READY = {"ready": True}


class Programs:
    """Makes stages for programs, and knows whether any of them are left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mark = f"PTIPC_TEST={directory}"
        self.starts = directory / "starts"
        self.stages: list[Stage] = []

    def stage(self, source: str, role: Role = Role.CLIENT, **more: Any) -> Stage:
        path = self._directory / f"program-{len(self.stages)}.py"
        path.write_text(START + source, encoding="utf-8")
        stage = Stage(
            command=[sys.executable, "-I", "-S", str(path)],
            transports=["foo"],
            role=role,
            dialect=more.pop("dialect", PT1),
            extra={"PTIPC_TEST": str(self._directory), "STARTS": str(self.starts)},
            **{"timeout": 5.0, **more},
        )
        self.stages.append(stage)
        return stage

    def started(self) -> int:
        """How often programs were started."""
        return len(self.starts.read_text()) if self.starts.exists() else 0

    def left(self) -> list[int]:
        """The processes that are still there."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if self._mark in environment:
                found.append(int(path.parent.name))
        return found


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Whatever a test does, nothing is left behind."""
    made = Programs(tmp_path)
    yield made
    for stage in made.stages:
        asyncio.run(stage.close())
        assert not stage.root.exists()
    assert made.left() == []


def case(
    script: Sequence[Any], expect: Any = None, id: str = "client.start.x", **more: Any
) -> Case:
    return Case(
        id=id,
        title="",
        level="MUST",
        requirements=(),
        contradictions=(),
        dialects=("1",),
        section="",
        rule="",
        result="valid",
        op=more.pop("op", "process/client"),
        fixture="process/x",
        content={"input": more.pop("input", {}), "script": script, "expect": expect or {}, **more},
    )


def played(stage: Stage, *script: Any, **more: Any) -> Transcript:
    return asyncio.run(play(stage, case(script, {"exit": "any"}, **more)))


def judged(stage: Stage, *cases: Case, **more: Any) -> list[Verdict]:
    async def run() -> list[Verdict]:
        try:
            return await Runner(stage=stage, **more).run(cases)
        finally:
            await stage.close()

    return asyncio.run(run())


def outcomes(transcript: Transcript) -> list[str]:
    return [entry.text for entry in transcript.find("script", event="outcome")]


def lines(transcript: Transcript, stream: str = "stdout") -> list[str]:
    return [entry.text for entry in transcript.find(stream, event="line", played=False)]


# --- the cases ------------------------------------------------------------------------------------


def test_there_are_enough_cases() -> None:
    assert len(cases_for(Role.CLIENT)) > 300
    assert len(cases_for(Role.SERVER)) > 200


@pytest.mark.parametrize("role", Role)
def test_every_case_has_a_name_of_its_own(role: Role) -> None:
    names = [each.id for each in cases_for(role)]
    assert len(names) == len(set(names))


def test_cases_are_chosen_by_edition_level_and_name() -> None:
    assert all("3.0" in each.dialects for each in cases_for(Role.CLIENT, "3.0"))
    assert {each.level for each in cases_for(Role.CLIENT, level="SHOULD")} == {"MUST", "SHOULD"}
    chosen = cases_for(Role.SERVER, None, ["server.stop"], ["server.stop.stdin"])
    assert {each.id.split(".")[1] for each in chosen} == {"stop"}
    assert not [each for each in chosen if each.id.startswith("server.stop.stdin.")]


@pytest.mark.parametrize("role", Role)
def test_every_case_is_understood(role: Role) -> None:
    """Each step has exactly one verb, and what a case needs is something that is probed."""
    for each in cases_for(role):
        for step in each.content["script"]:
            assert len([word for word in step if word in VERBS]) == 1, each.id
        assert set(each.content.get("needs", ())) <= set(CAPABILITIES), each.id


def test_the_schema_has_the_words_of_the_player() -> None:
    path = Path(load.__code__.co_filename).parents[2] / "spec-fixtures/schema/process.schema.json"
    if not path.exists():
        path = Path(load.__code__.co_filename).parents[1] / "fixtures/schema/process.schema.json"
    definitions = json.loads(path.read_text("utf-8"))["$defs"]
    steps = {each["required"][0] for name, each in definitions.items() if name.startswith("step-")}
    assert steps == set(VERBS)
    needs = definitions["case"]["properties"]["needs"]["items"]["enum"]
    assert set(needs) == set(CAPABILITIES)


# --- how a program is started ---------------------------------------------------------------------


def test_a_program_sees_nothing_of_our_own_launch(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither variables of the protocol, nor others that are not its business."""
    monkeypatch.setenv("TOR_PT_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    stage = programs.stage("say(*sorted(os.environ), os.environ['HOME'], os.getcwd())")
    found = lines(played(stage, {"exit": True}))
    assert "TOR_PT_PROXY" not in found
    assert "http_proxy" not in found
    assert "TOR_PT_CLIENT_TRANSPORTS" in found
    assert found[-2:] == [str(stage.root / "1" / name) for name in ("home", "cwd")]


def test_signals_that_we_ignore_are_not_ignored_by_a_program(programs: Programs) -> None:
    """A shell script that starts us in the background ignores SIGINT for us."""
    stage = programs.stage(
        "import signal; say(str(signal.getsignal(2)), str(signal.getsignal(15)))"
    )
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        found = lines(played(stage, {"exit": True}))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found[1] == str(signal.SIG_DFL)


@pytest.mark.parametrize(
    ("stdin", "said"), [("null", "b''"), ("eof", "b''"), ("closed", "closed"), ("open", "waits")]
)
def test_every_kind_of_standard_input(programs: Programs, stdin: str, said: str) -> None:
    stage = programs.stage(
        "import select\n"
        f"try: ready = select.select([0], [], [], {0.2 if said == 'waits' else 60})[0]\n"
        "except (OSError, ValueError): say('closed')\n"
        "else: say(str(os.read(0, 9)) if ready else 'waits')\n"
    )
    assert lines(played(stage, {"exit": True}, input={"stdin": stdin})) == [said]


def test_nobody_else_holds_the_standard_input(programs: Programs) -> None:
    """Another program that was started meanwhile would keep it open."""
    stage = programs.stage("say('VERSION 1', 'CMETHODS DONE')\nos.read(0, 1)")
    closing = case([READY, {"settle": 0.5}, {"stdin": "close"}, {"exit": True}], {"exit": [0]})

    async def run() -> list[Transcript]:
        return await asyncio.gather(*(play(stage, closing) for _ in range(4)))

    for transcript in asyncio.run(run()):
        assert outcomes(transcript) == ["ready", "gone"]


def test_a_state_directory_of_each_kind(programs: Programs) -> None:
    source = "path = os.environ['TOR_PT_STATE_LOCATION']; say(str(os.path.isdir(path)), path)"
    stage = programs.stage(source)
    assert lines(played(stage, {"exit": True}))[0] == "True"
    assert lines(played(stage, {"exit": True}, input={"state": "file"}))[0] == "False"
    missing_one = lines(played(stage, {"exit": True}, input={"state": "missing"}))
    assert missing_one[0] == "False"
    assert not Path(missing_one[1]).parent.exists()


# --- what is heard --------------------------------------------------------------------------------


def test_lines_are_heard_octet_by_octet_and_to_the_end(programs: Programs) -> None:
    stage = programs.stage(
        "sys.stdout.buffer.write(b'VERSION 1\\r\\n\\xff')\n"
        "sys.stdout.flush()\n"
        "sys.stderr.write('to people\\n')\n"
    )
    found = played(stage, {"exit": True})
    assert lines(found) == ["VERSION 1\r"]
    assert lines(found, "stderr") == ["to people"]
    assert [entry.text for entry in found.find("stdout", event="fragment")] == ["\udcff"]
    assert [entry.text for entry in found.find("exit")] == ["exit 0"]


def test_a_flood_of_lines_does_not_drown_us(programs: Programs) -> None:
    stage = programs.stage("while True: say('x' * 100)")
    found = played(stage, {"hear": "x*"}, {"settle": 1.0})
    assert len(lines(found)) <= 5000


def test_a_line_without_an_end_does_not_either(programs: Programs) -> None:
    stage = programs.stage("sys.stdout.write('x' * 5_000_000 + '\\n'); say('VERSION 1')")
    found = played(stage, {"exit": True})
    assert [len(line) for line in lines(found)] == [8192, 9]


def test_a_child_that_holds_the_outputs_does_not_hold_us(programs: Programs) -> None:
    stage = programs.stage("if os.fork() == 0: time.sleep(600)")
    found = played(stage, {"exit": True})
    assert outcomes(found) == ["gone"]


def test_a_program_that_does_not_want_to_end_is_killed(programs: Programs) -> None:
    """The fixture looks for what is left."""
    stage = programs.stage(
        "import signal\n"
        "for number in (1, 2, 13, 15): signal.signal(number, signal.SIG_IGN)\n"
        "os.fork()\nsay('VERSION 1', 'CMETHODS DONE')\n"
        "while True: time.sleep(1)\n"
    )
    assert outcomes(played(stage, READY, {"signal": "TERM"}, {"running": True, "for": 0.3})) == [
        "ready",
        "running",
    ]


def test_a_tester_that_is_cancelled_leaves_nothing_behind(programs: Programs) -> None:
    stage = programs.stage(f"{LISTEN}\ntime.sleep(600)")

    async def run() -> None:
        task = asyncio.create_task(play(stage, case([READY, {"settle": 60.0}], {"exit": "any"})))
        while not programs.started():
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert programs.left() == []


def test_the_end_of_a_parent_is_brought_about(programs: Programs) -> None:
    stage = programs.stage(
        "parent = os.getppid()\n"
        "say('VERSION 1', 'CMETHODS DONE')\n"
        "while os.getppid() == parent: time.sleep(0.05)\n"
    )
    orphan = played(stage, READY, {"orphan": True}, {"exit": True}, input={"parent": True})
    assert outcomes(orphan) == ["ready", "gone"]
    deaf = programs.stage("say('VERSION 1', 'CMETHODS DONE')\ntime.sleep(600)")
    stays = played(
        deaf, READY, {"orphan": True}, {"exit": True, "within": 1}, input={"parent": True}
    )
    assert outcomes(stays) == ["ready", "timeout"]


def test_files_are_seen_wherever_they_are(programs: Programs) -> None:
    stage = programs.stage(
        "open(os.path.expanduser('~/.hidden'), 'w').close()\n"
        "open(os.environ['TOR_PT_STATE_LOCATION'] + '/key', 'w').close()\n"
    )
    found = played(stage, {"exit": True})
    made = {entry.text for entry in found.find("file", played=False)}
    assert made == {"home/.hidden", "state/pt/key"}


# --- probing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "says nothing and ends with exit 0"),
        ("sys.exit('not a transport')", "'not a transport' and ends with exit 1"),
        ("say('VERSION-ERROR no-version')", "VERSION-ERROR no-version"),
        ("say('VERSION 1', 'CMETHODS DONE'); time.sleep(60)", "does not provide the transport"),
        ("say('VERSION 1', 'CMETHOD foo socks5 127.0.0.1:1', 'CMETHODS DONE')", "exit 0"),
    ],
)
def test_what_is_no_transport_process_is_not_judged(
    programs: Programs, source: str, reason: str
) -> None:
    with pytest.raises(NotStarted, match=reason):
        asyncio.run(probe(programs.stage(source), None))


def test_a_program_that_is_not_there_is_not_judged() -> None:
    stage = Stage(
        command=["/nonexistent/program"], transports=["foo"], role=Role.CLIENT, dialect=PT1
    )
    with pytest.raises(NotStarted, match="cannot be started"):
        asyncio.run(probe(stage, None))
    asyncio.run(stage.close())


def test_a_program_without_flags_is_found_out(programs: Programs) -> None:
    stage = programs.stage("sys.exit('unknown flag ' + sys.argv[1])", dialect=PT3_0)
    with pytest.raises(NotStarted, match="unknown flag"):
        asyncio.run(probe(stage, None))


def test_what_a_transport_cannot_do_is_not_asked_of_it(programs: Programs) -> None:
    stage = programs.stage(f"{GREET}    connection.close()\n")
    asyncio.run(probe(stage, None))
    assert "socks5" in stage.capabilities
    assert not {"relays", "grants", "dials", "plain"} & set(stage.capabilities)
    assert missing(case([READY], needs=["relays"]), stage) == f"needs: {CAPABILITIES['relays']}"
    assert missing(case([READY], needs=["socks5"]), stage) is None


# --- many cases -----------------------------------------------------------------------------------


def test_one_situation_is_played_once(programs: Programs) -> None:
    stage = programs.stage(f"{LISTEN}\ntime.sleep(600)")
    facts = [
        case([READY, {"settle": 0.1}], {"says": ["VERSION 1"]}, "client.a.version"),
        case([READY, {"settle": 0.1}], {"says": ["VERSION 2"]}, "client.a.other"),
        case([READY, {"settle": 0.1}], {"lines": ["ordered"]}, "client.a.order"),
    ]
    verdicts = judged(stage, *facts)
    assert [verdict.outcome.value for verdict in verdicts] == ["passed", "failed", "passed"]
    assert [verdict.id for verdict in verdicts] == [each.id for each in facts]
    assert programs.started() == 1


def test_cases_about_connections_share_a_process(programs: Programs) -> None:
    stage = programs.stage(GREET)
    greet = [READY, {"connect": True}, {"send": "05 01 00"}, {"receive": "05 00"}]
    cases = [
        case([*greet, {"settle": number / 100}], id=f"socks5.{number}") for number in (1, 2, 3)
    ]
    assert all(can_share(each) for each in cases)
    verdicts = judged(stage, *cases, jobs=1)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASSED] * 3
    assert programs.started() == 1


def test_what_another_case_has_left_behind_does_not_count(programs: Programs) -> None:
    """This program serves one client: the second case is played again, on a process of its own."""
    busy = GREET.replace("if connection", "if not served and connection")
    stage = programs.stage(f"{busy}    connection.close()\n")
    greet = [READY, {"connect": True}, {"send": "05 01 00"}, {"receive": "05 00"}]
    cases = [case([*greet, {"settle": number / 100}], id=f"socks5.{number}") for number in (1, 2)]
    verdicts = judged(stage, *cases, jobs=1)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASSED] * 2
    assert programs.started() == 2


def test_a_process_that_died_is_not_used_again(programs: Programs) -> None:
    stage = programs.stage(GREET.replace("served += 1", "connection.recv(9); sys.exit()"))
    greet = [READY, {"connect": True}, {"send": "05 01 00"}, {"receive": "05 00"}]
    cases = [case([*greet, {"settle": number / 100}], id=f"socks5.{number}") for number in (1, 2)]
    verdicts = judged(stage, *cases, jobs=1)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASSED] * 2


def test_what_does_not_apply_is_skipped_with_a_reason(programs: Programs) -> None:
    (verdict,) = judged(programs.stage(LISTEN), case([READY], needs=["relays"]))
    assert verdict.outcome is Outcome.SKIPPED
    assert verdict.reason.startswith("needs: ")
    assert programs.started() == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"script": [{"dance": True}]}, "no verb"),
        ({"script": [READY], "input": {"settings": {"colour": "red"}}}, "colour"),
        ({"script": [READY], "input": {"state": "liquid"}}, "liquid"),
    ],
)
def test_a_case_that_makes_no_sense_is_our_own_fault(
    programs: Programs, wrong: dict[str, Any], reason: str
) -> None:
    stage = programs.stage(f"{LISTEN}\ntime.sleep(600)")
    (verdict,) = judged(stage, case(expect={"exit": "running"}, **wrong))
    assert verdict.outcome is Outcome.BROKEN
    assert reason in verdict.reason


def test_whoever_hears_the_verdicts_can_stop(programs: Programs) -> None:
    stage = programs.stage(f"{LISTEN}\ntime.sleep(600)")
    cases = [case([READY, {"settle": number / 100}], {}, f"a.{number}") for number in range(1, 6)]
    heard: list[str] = []

    def stop(verdict: Verdict) -> bool:
        heard.append(verdict.id)
        return len(heard) == 2

    verdicts = judged(stage, *cases, jobs=1, on_verdict=stop)
    assert len(verdicts) == 2


def test_a_step_that_fails_is_the_last(programs: Programs) -> None:
    stage = programs.stage(f"{LISTEN}\ntime.sleep(600)")
    found = played(stage, READY, {"connect": True}, {"receive": "05", "within": 0.2}, {"echo": 1})
    assert outcomes(found) == ["ready", "opened", "timeout"]


def test_a_port_that_nobody_announced_cannot_be_connected_to(programs: Programs) -> None:
    stage = programs.stage("say('VERSION 1', 'CMETHODS DONE')\ntime.sleep(600)")
    assert outcomes(played(stage, READY, {"dial": "granted"})) == ["ready", "no port"]


def test_the_tester_waits_no_longer_than_it_is_told(programs: Programs) -> None:
    stage = programs.stage("time.sleep(600)", timeout=1.0)
    assert outcomes(played(stage, {"ready": True, "within": 3})) == ["timeout"]


def test_our_own_directories_go_with_the_stage(programs: Programs) -> None:
    stage = programs.stage("say('VERSION 1')")
    played(stage, {"exit": True})
    assert os.listdir(stage.root)
    asyncio.run(stage.close())
    assert not stage.root.exists()
