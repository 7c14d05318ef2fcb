"""Both ends of the protocol of adapters: ours behind it, other people's, and broken ones."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import ptipc
from ptipc.cli.main import main
from ptipc.conformance.adapter import Adapter, AdapterError, Implementation, serve
from ptipc.conformance.answering import answer
from ptipc.conformance.cases import Case, fixtures_directory, load, select
from ptipc.conformance.fixtures import read
from ptipc.conformance.interview import applicable, interview
from ptipc.conformance.operations import operation_names
from ptipc.conformance.questions import Answer, Question, questions
from ptipc.conformance.verdicts import Outcome
from ptipc.core.dialects import DIALECTS, PT1
from tests.interop.golang import build, require_goptlib

ADAPTERS = Path(__file__).parents[2] / "examples" / "adapters"
OURS = [sys.executable, "-m", "ptipc", "adapter"]
OURSELVES = Implementation(name="ptipc", version="1", language="python", ops=("address/parse",))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subprocess finds the ptipc that is tested."""
    monkeypatch.setenv("PYTHONPATH", str(Path(ptipc.__file__).parents[1]))


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


HONEST = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["cmd"] == "stop":
        break
    if asked["cmd"] == "start":
        told = {"version": 1, "name": "x", "ops": ["address/parse"]}
    else:
        told = {"seq": asked["seq"]}
        {then}
    print(json.dumps(told), flush=True)
"""


def adapter(then: str) -> list[str]:
    """The command of an adapter that does something when it is asked."""
    return python(HONEST.replace("{then}", then))


def address_question() -> Question:
    case = select(load(["codec"]), ["address.ipv4"])[0]
    return next(questions(case, PT1))


# --- ours -----------------------------------------------------------------------------------------


def test_everything_that_we_support_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every case that is no process, in every edition, through the protocol."""
    assert main(["check", "adapter", "-j", "2", "--timeout", "60", "--", *OURS]) == 0
    summary = capsys.readouterr().out.splitlines()[-1]
    count = sum(len(case.dialects) for case in load(["codec", "config", "wire", "session"]))
    assert summary.startswith(f"{count} checked: {count} passed")


def lines(*asked: dict[str, Any]) -> Iterator[str]:
    return (json.dumps(each) for each in asked)


def test_a_conversation_follows_the_schema() -> None:
    """What both ends say is what ``schema/adapter.schema.json`` has for them."""
    schemas = [read(path) for path in (fixtures_directory() / "schema").glob("*.json")]
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )

    def follows(what: str, told: Any) -> None:
        reference = {"$ref": f"tag:ptipc,2026:adapter/v1#/$defs/{what}"}
        Draft202012Validator(reference, registry=registry).validate(told)

    asked: list[dict[str, Any]] = [{"cmd": "start", "version": 1}]
    cases = select(load(["codec", "wire", "session"]), ["address", "socks5", "host", "extorport"])
    asked += [
        {"cmd": "run", "seq": number, **question.as_json()}
        for number, question in enumerate(
            question for case in cases for question in questions(case, DIALECTS[0])
        )
    ]
    asked.append({"cmd": "stop"})
    for each in asked:
        follows("request", each)
        follows(each["cmd"], each)
    told: list[Any] = []
    ours = Implementation(name="ptipc", ops=tuple(operation_names()))
    serve(ours, answer, lines(*asked), lambda text: told.append(json.loads(text)))
    follows("introduction", told[0])
    for each in told[1:]:
        follows("answer", each)
    assert len(told) == len(asked) - 1


def conversation() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The requests of the README of the fixtures, and their answers."""
    text = (fixtures_directory() / "README.md").read_text(encoding="utf-8")
    said = re.findall(r"^    ([<>]) (.*(?:\n     +\S.*)*)", text, re.MULTILINE)
    told = [(who, json.loads(line)) for who, line in said]
    for (asker, asked), (answerer, answered) in pairwise(told):
        if asker == ">" and answerer == "<":
            yield asked, answered


def test_the_readme_has_the_answers() -> None:
    (start, introduction), *runs = conversation()
    assert start == {"cmd": "start", "version": 1}
    assert Implementation.from_json(introduction).ops == ("client-args/parse", "socks/responder")
    assert [asked["op"] for asked, _ in runs] == ["client-args/parse", "socks/responder"]
    for asked, answered in runs:
        told: list[str] = []
        serve(OURSELVES, answer, lines(asked), told.append)
        ours = json.loads(told[0])
        ours.pop("trailing", None)
        ours["said"] = [octets.replace(" ", "") for octets in ours.get("said", ())]
        assert ours == {"said": [], **answered}


def test_nothing_is_answered_behind_stop() -> None:
    told: list[str] = []
    serve(OURSELVES, answer, lines({"cmd": "stop"}, {"cmd": "start"}), told.append)
    assert told == []


@pytest.mark.parametrize("asked", [{}, {"cmd": "sing"}, {"cmd": "run"}])
def test_a_request_that_is_none(asked: dict[str, Any]) -> None:
    with pytest.raises((LookupError, ValueError)):
        serve(OURSELVES, answer, lines(asked), print)


def test_what_we_do_not_have_is_skipped() -> None:
    question = Question(op="tea/make", dialect="1", input={}, result="valid")
    assert answer(question).skip is not None


@pytest.mark.parametrize(
    "implementation",
    [
        OURSELVES,
        Implementation(name="x", ops=()),
        Implementation(name="x", ops=("a/b",), dialects=("1", "3.0"), ways=()),
    ],
)
def test_introductions_survive_as_json(implementation: Implementation) -> None:
    assert Implementation.from_json(implementation.as_json()) == implementation


@pytest.mark.parametrize(
    "told",
    [
        {"name": "x", "ops": []},
        {"version": 2, "name": "x", "ops": []},
        {"version": 1, "ops": []},
        {"version": 1, "name": 1, "ops": []},
        {"version": 1, "name": "x", "ops": "address/parse"},
        {"version": 1, "name": "x", "ops": [1]},
        {"version": 1, "name": "x", "ops": [], "dialects": "1"},
        {"version": 1, "name": "x", "ops": [], "ways": "split"},
    ],
)
def test_what_is_no_introduction(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is|are|there"):
        Implementation.from_json(told)


def test_an_implementation_is_asked_what_it_can() -> None:
    address = address_question()
    assert OURSELVES.knows(address)
    assert not Implementation(name="x", ops=("target/parse",)).knows(address)
    assert not Implementation(name="x", ops=OURSELVES.ops, dialects=("3.0",)).knows(address)
    exchange = select(load(["wire"]), ["socks5.initiator.ipv4"])[0]
    whole = Implementation(name="x", ops=("socks/initiator",), ways=())
    assert [each.way for each in questions(exchange, PT1) if whole.knows(each)] == [""]
    pieces = Implementation(name="x", ops=("socks/initiator",), ways=("split",))
    assert [each.way for each in questions(exchange, PT1) if pieces.knows(each)] == ["", "split"]


# --- broken ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["/no/such/program"], "cannot be started"),
        (python("pass"), "exit status 0"),
        (python("import os; os.kill(os.getpid(), 9)"), "signal 9"),
        (python("raise SystemExit('no luck')"), "no luck"),
        (python("print('hello')"), "no JSON"),
        (python("print('[1]')"), "no JSON object"),
        (python("print('{}')"), "version"),
        (python("print('{\"version\": 1}', end='')"), "does not end"),
        (python("import os, time; os.close(1); time.sleep(60)"), "closes its standard output"),
    ],
)
def test_an_adapter_that_does_not_introduce_itself(command: list[str], told: str) -> None:
    with pytest.raises(AdapterError, match=re.escape(told)):
        Adapter(command)


def test_an_adapter_that_never_introduces_itself() -> None:
    with pytest.raises(AdapterError, match=r"no answer within 0\.5 s"):
        Adapter(python("import time; time.sleep(60)"), starting=0.5)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("told['seq'] += 1", "answers 2 where 1 was asked"),
        ("told['seq'] = True; told['ok'] = 1", "answers True"),
        ("pass", "no answer: not one of"),
        ("print('debugging', flush=True)", "no JSON"),
        ("raise SystemExit(3)", "exit status 3"),
        ("print('x' * (1 << 25), flush=True)", "does not end"),
    ],
)
def test_an_adapter_that_breaks_down(then: str, told: str) -> None:
    with Adapter(adapter(then)) as broken, pytest.raises(AdapterError, match=told):
        broken.ask(address_question())


def test_an_adapter_that_does_not_answer() -> None:
    silent = Adapter(adapter("import time; time.sleep(60)"), patience=0.5)
    with silent, pytest.raises(AdapterError, match=r"no answer within 0\.5 s"):
        silent.ask(address_question())


def test_an_adapter_that_does_not_read_is_ended() -> None:
    """It cannot keep us waiting by leaving the pipe full."""
    program = """
import time
print('{"version": 1, "name": "deaf", "ops": ["address/parse"]}', flush=True)
time.sleep(60)
"""
    deaf = Adapter(python(program), patience=1)
    question = Question(
        op="address/parse", dialect="1", input={"text": "x" * (1 << 22)}, result="valid"
    )
    with deaf, pytest.raises(AdapterError, match=r"signal|ended"):
        deaf.ask(question)


def cases(*wanted: str) -> list[Case]:
    return list(select(load(), wanted))


def test_a_breakdown_fails_the_case_and_the_next_one_is_asked() -> None:
    """The adapter is started again."""
    then = 'exec(\'if "127" in asked["input"]["text"]: raise SystemExit(7)\'); told[\'ok\'] = 0'
    started = Adapter(adapter(then))
    tasks = [(case, PT1) for case in cases("address.ipv4", "address.ipv6", "address.ipv6-loopback")]
    verdicts = list(interview(started.another, started, tasks))
    assert [verdict.outcome for verdict in verdicts] == [Outcome.FAILED] * 3
    assert "exit status 7" in verdicts[0].got
    assert verdicts[1].got == "it means 0" or verdicts[1].got == "0"
    assert verdicts[0].transcript.entries[-1].text == verdicts[0].got


def test_an_adapter_that_always_breaks_down_is_given_up() -> None:
    started = Adapter(adapter("raise SystemExit(7)"))
    tasks = [(case, PT1) for case in cases("address")]
    with pytest.raises(AdapterError, match="3 times in a row"):
        list(interview(started.another, started, tasks))


def test_what_is_skipped_is_told() -> None:
    started = Adapter(adapter("told['skip'] = 'not today'"))
    (verdict,) = interview(started.another, started, [(cases("address.ipv4")[0], PT1)])
    assert verdict.outcome is Outcome.SKIPPED
    assert verdict.reason == "not today"


def test_only_what_an_implementation_has_is_applicable() -> None:
    only = Implementation(name="x", ops=("address/parse",), dialects=("1", "2"))
    assert {(case.op, edition.version) for case, edition in applicable(load(["codec"]), only)} == {
        ("address/parse", "1"),
        ("address/parse", "2"),
        ("address/emit", "1"),
        ("address/emit", "2"),
    }


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--", "/no/such/program"], 3, "cannot be started"),
        (["--", *adapter("raise SystemExit(7)")], 3, "3 times in a row"),
        (["--select", "no.such.case", "--", *adapter("pass")], 4, "no case is selected"),
        (["--dialect", "3.0", "--select", "cstring", "--", *adapter("pass")], 4, "no case"),
    ],
)
def test_exit_statuses(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "adapter", *arguments]) == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dialect", "7", "--", "x"],
        ["--expect", "/no/such/file", "--", "x"],
        ["--update-expect", "--", "x"],
        ["--report", "x.doc", "--", "x"],
    ],
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["check", "adapter", *arguments])
    assert exited.value.code == 2


def test_a_failure_is_told_with_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = adapter("told['ok'] = 'wrong'")
    report = tmp_path / "report.jsonl"
    arguments = [
        "--dialect",
        "1",
        "--select",
        "address",
        "-x",
        "-v",
        "-j",
        "1",
        "--json",
        str(report),
        "--",
        *command,
    ]
    assert main(["check", "adapter", *arguments]) == 1
    told = capsys.readouterr().out
    assert "ptipc check adapter -v --dialect 1 --select address." in told
    assert '"wrong"' in told
    failed = [json.loads(line) for line in report.read_text().splitlines()[1:]]
    assert [each["outcome"] for each in failed].count("failed") == 1


def test_a_known_failure_is_excused_until_it_passes(tmp_path: Path) -> None:
    known = tmp_path / "known.toml"
    wrong = ["--select", "address.ipv4", "--expect", str(known), "--", *adapter("told['ok'] = 0")]
    assert main(["check", "adapter", "--update-expect", *wrong]) == 0
    assert main(["check", "adapter", *wrong]) == 0
    assert main(["check", "adapter", *wrong[:-3], *OURS]) == 1


# --- implementations that are not ours ------------------------------------------------------------


def judged(program: str, *arguments: str) -> int:
    expectations = ADAPTERS / f"{program.partition('_')[0]}.expect.toml"
    command = [sys.executable, str(ADAPTERS / f"{program}.py")]
    return main(["check", "adapter", *arguments, "--expect", str(expectations), "--", *command])


def test_socksio_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """It deviates exactly where the list says."""
    assert judged("socksio_initiator") == 0
    assert "35 expected failures" in capsys.readouterr().out


def test_socksio_needs_its_messages_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, str(ADAPTERS / "socksio_initiator.py"), "--pieces"]
    arguments = ["--select", "socks5.initiator.ipv4", "--", *command]
    assert main(["check", "adapter", *arguments]) == 1
    assert "octet by octet" in " ".join(capsys.readouterr().out.split())


@pytest.mark.program("go")
def test_goptlib_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An implementation in Go, with exchanges that block."""
    require_goptlib()
    words = ("-overlay", "overlay.json", "adapter.go")
    built = build(ADAPTERS / "goptlib", tmp_path / "adapter", *words)
    expected = str(ADAPTERS / "goptlib.expect.toml")
    assert main(["check", "adapter", "--expect", expected, "--", built]) == 0
    assert "70 expected failures" in capsys.readouterr().out


@pytest.mark.program("tor")
def test_tor_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """The bridge lines and the names that its configuration takes."""
    assert judged("tor_bridge_lines") == 0
    assert "2 expected failures" in capsys.readouterr().out


def test_skipped_answers_are_no_answers() -> None:
    assert Answer(skip="x").as_json() == {"skip": "x"}
