"""The reports that are text: what they say, and how they escape it."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from attrs import evolve

from ptipc.cli.main import main
from ptipc.conformance import report, wirelog
from ptipc.conformance.report import badge, junit, markdown, render, text, write
from ptipc.conformance.runs import Run, findings, in_order, read, visible
from ptipc.conformance.verdicts import Outcome, Transcript, Verdict
from tests.conformance.samples import NASTY, TRANSCRIPT, quiet, samples, verdict

# --- JUnit ----------------------------------------------------------------------------------------


def suites(*runs: Run) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(junit(runs)))


def cases(*runs: Run) -> dict[str, ElementTree.Element]:
    found = {}
    for suite in suites(*runs):
        for case in suite.iter("testcase"):
            found[f"{case.get('classname')} {case.get('name')}"] = case
    return found


def test_a_suite_is_an_area_in_one_edition() -> None:
    found = suites(samples()[0])
    assert [suite.get("name") for suite in found] == [
        "client.proxy",
        "client.socks5",
        "client.start",
        "client.stop",
        "client.proxy",
        "client.start",
    ]
    socks = found[1].attrib
    assert (socks["tests"], socks["failures"], socks["errors"], socks["skipped"]) == (
        *("4", "1"),
        *("0", "3"),
    )
    assert socks["timestamp"] == "2026-01-02T03:04:05"
    properties = {each.get("name"): each.get("value") for each in found[1][0]}
    assert properties == {
        "program": "./pt.bin",
        "version": "1.0",
        "what": "client a",
        "dialect": "1",
        "ptipc": "0.1.0",
        "fixtures": "0.2.0",
    }


def test_the_counts_of_a_suite_are_those_of_its_cases() -> None:
    for suite in suites(*samples()):
        for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(name) == str(len(suite.findall(f"testcase/{kind}")))
        assert suite.get("tests") == str(len(suite.findall("testcase")))


def test_names_tell_program_edition_and_case() -> None:
    """Dots separate packages, so that those of programs and editions are replaced."""
    assert "/pt_bin.PT2.client.proxy client.proxy.answer" in " ".join(cases(samples()[0]))


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        ("client.socks5.mended", "failure", "MUST: unexpectedly passed: goptlib 1.6"),
        ("client.stop.broken", "error", "MUST: not judged: TimeoutError: no port"),
        ("client.start.should", "skipped", "SHOULD: warning: too late"),
        ("client.socks5.interop", "skipped", "INTEROP: note: closed"),
        ("client.socks5.known", "skipped", "MUST: expected failure: goptlib 1.6"),
        ("client.stop.skipped", "skipped", "it has no server side"),
    ],
)
def test_only_what_fails_the_run_is_a_failure(case: str, kind: str, message: str) -> None:
    found = next(each for name, each in cases(samples()[0]).items() if name.endswith(case))
    (outcome,) = [each for each in found if each.tag in ("failure", "error", "skipped")]
    assert outcome.tag == kind
    assert outcome.get("message") == message


def test_a_strict_run_fails_a_should() -> None:
    run = evolve(samples()[0], strict=True)
    found = next(each for name, each in cases(run).items() if name.endswith("client.start.should"))
    assert found.find("failure") is not None


def test_a_finding_has_everything_that_is_known() -> None:
    found = next(iter(cases(samples()[0]).values()))
    properties = {each.get("name"): each.get("value") for each in found.iter("property")}
    assert properties == {
        "title": "The title of client.proxy.answer",
        "level": "MUST",
        "section": "PT 1 3.3.2",
        "requirements": "pt.one, pt.two",
    }
    failure, log = found.find("failure"), found.find("system-out")
    assert failure is not None
    assert failure.get("message") == f"MUST: failed: {visible(NASTY)}"
    assert failure.text == (
        "rule: The rule of client.proxy.answer.\nsent: TOR_PT_PROXY=socks5:///x\n"
        f"expected: PROXY-ERROR\ngot: {visible(NASTY)}"
    )
    assert log is not None
    assert log.text is not None
    assert log.text.splitlines() == [
        "reproduce: ptipc check client a --select client.proxy.answer -- ./pt",
        *wirelog.lines(TRANSCRIPT),
    ]


def test_what_passed_has_no_log() -> None:
    assert all(case.find("system-out") is None for case in cases(quiet()).values())


# --- Markdown -------------------------------------------------------------------------------------


def test_the_page_of_ci_begins_with_the_numbers() -> None:
    said = markdown(samples())
    first = said[said.index("### ./pt.bin") : said.index("### good")]
    assert first.splitlines()[2:] == [
        "client a · PT 1, 2 · ptipc 0.1.0 · fixtures 0.2.0 · 2026-01-02T03&#58;04&#58;05Z",
        "",
        "| Level | ✓ passed | \N{EN DASH} skipped | ≈ expected failure | i note | ! warning "
        "| ? not judged | ★ unexpectedly passed | ✗ failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| MUST | 2 | 1 | 1 |  |  | 1 | 1 | 2 |",
        "| SHOULD |  |  |  |  | 1 |  |  |  |",
        "| MAY |  |  |  | 1 |  |  |  |  |",
        "| INTEROP |  |  |  | 1 |  |  |  |  |",
        "| all | 2 | 1 | 1 | 2 | 1 | 1 | 1 | 2 |",
        "",
    ]


def test_each_finding_is_folded_up_with_its_facts() -> None:
    said = markdown(samples())
    assert said.count("<details>") == said.count("</details>") == len(findings(samples()))
    first = said[said.index("<details>") : said.index("</details>")]
    assert "<code>client.proxy.answer</code>" in first
    assert "PT 1, 2" in first
    for fact in ("The rule of client.proxy.answer.", "PT 1 3.3.2", "PROXY-ERROR", "ptipc check"):
        assert fact in first


def test_nothing_of_a_program_is_markup_there() -> None:
    """In a fence nothing has to be escaped; outside, all that could mean something is."""
    parts = re.split(r"^(`{3,})$\n(.*?)\n^\1$", markdown(samples()), flags=re.MULTILINE | re.DOTALL)
    outside = "".join(parts[::3])
    tags = set(re.findall(r"<[^>]*>?", outside))
    assert tags == {"<details>", "</details>", "<summary>", "</summary>", "<code>", "</code>"}
    said = render([Run(program=NASTY, verdicts=[verdict("a.b")])], "markdown")
    heading = next(line for line in said.splitlines() if line.startswith("### "))
    assert not set(heading[4:]) & set("<>*_`|[]@\\")
    assert unescape(heading[4:]) == " ".join(visible(NASTY).split())


def test_a_fence_is_longer_than_any_in_it() -> None:
    run = Run(program="pt", verdicts=[verdict("a.b", Outcome.FAILED, got="a\n````\nb")])
    assert "`````\na\n````\nb\n`````" in markdown([run])


def test_a_page_that_ci_would_refuse_is_cut() -> None:
    """GitHub takes 1 MiB."""
    long = [verdict(f"a.b.c{n}", Outcome.FAILED, got="x" * 10_000 + str(n)) for n in range(150)]
    said = markdown([Run(program="pt", verdicts=long)])
    assert 800_000 < len(said.encode()) < 1 << 20
    told = said.count("<details>")
    assert f"and {150 - told} more, which have no room here" in said


# --- a terminal -----------------------------------------------------------------------------------


def test_the_summary_fits_a_terminal() -> None:
    runs = [
        *samples(),
        evolve(quiet("x" * 100), verdicts=[verdict("a.b", Outcome.FAILED, got="y" * 300)]),
    ]
    lines = text(runs).splitlines()
    assert max(len(line) for line in lines if "ptipc check" not in line) <= 80


def test_the_summary_of_one_run() -> None:
    run = evolve(
        samples()[0],
        verdicts=[
            verdict("client.start.order"),
            verdict("client.proxy.answer", Outcome.FAILED, got="exit 1\nand more"),
        ],
    )
    assert (
        text([run])
        == """\
./pt.bin 1.0, as client a, PT 1, 2

                 pass   fail
  client.proxy      .      1
  client.start      1      .

FAIL  MUST client.proxy.answer
      PT 1: The title of client.proxy.answer
      rule      The rule of client.proxy.answer.
      sent      TOR_PT_PROXY=socks5:///x
      expected  PROXY-ERROR
      got       exit 1
                and more
      section   PT 1 3.3.2
      reproduce
        ptipc check client a --select client.proxy.answer -- ./pt

2 checked: 1 passed, 1 failed; 12.5 s
"""
    )


def test_the_summary_does_not_steer_the_terminal() -> None:
    assert "\x1b" not in text(samples())


def test_a_finding_may_say_little() -> None:
    bare = evolve(verdict("a.b", Outcome.FAILED), sent="", reproduce="", transcript=Transcript())
    run = Run(program="pt", verdicts=[bare])
    for said in (text([run]), markdown([run])):
        assert "a.b" in said
        assert "reproduce" not in said


def test_nothing_to_sum_up() -> None:
    assert text([Run(program="pt", dialects=("1",))]) == "pt, PT 1\n\n0 checked: nothing; 0.0 s\n"


# --- a badge --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "message", "color"),
    [
        ([], "nothing judged", "lightgrey"),
        ([verdict("a.b", Outcome.SKIPPED)], "nothing judged", "lightgrey"),
        ([verdict("a.b")], "1 passed", "brightgreen"),
        (
            [verdict("a.b"), verdict("a.c", Outcome.FAILED, level="SHOULD")],
            "1 passed, 1 warning",
            "yellow",
        ),
        (
            [verdict("a.b"), verdict("a.c", Outcome.FAILED, excuse="so")],
            "1 passed, 1 expected failure",
            "yellow",
        ),
        ([verdict("a.b"), verdict("a.c", Outcome.FAILED)], "1 of 2 failed", "red"),
        ([verdict("a.b"), verdict("a.c", Outcome.BROKEN)], "1 of 2 not judged", "lightgrey"),
    ],
)
def test_the_badge(verdicts: list[Verdict], message: str, color: str) -> None:
    assert json.loads(badge([Run(program="pt", verdicts=verdicts)])) == {
        "schemaVersion": 1,
        "label": "PT conformance",
        "message": message,
        "color": color,
    }


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def verdicts(tmp_path: Path) -> Path:
    path = tmp_path / "verdicts.jsonl"
    write(samples(), path, "jsonl")
    return path


@pytest.mark.parametrize("suffix", report.SUFFIXES)
def test_the_suffix_says_the_format(verdicts: Path, suffix: str) -> None:
    output = verdicts.parent / f"out{suffix}"
    assert main(["report", str(verdicts), "-o", str(output)]) == 0
    assert output.read_text(encoding="utf-8") == render(samples(), report.SUFFIXES[suffix])


def test_several_files_become_one_report(
    verdicts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = verdicts.parent / "other.jsonl"
    write([quiet("another")], other, "jsonl")
    assert main(["report", str(verdicts), str(other), "--format", "jsonl"]) == 0
    shown = verdicts.parent / "shown.jsonl"
    shown.write_text(capsys.readouterr().out)
    assert list(read(shown)) == in_order([*samples(), quiet("another")])


def test_strict_can_be_said_later(verdicts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(verdicts), "--strict"]) == 0
    assert "FAIL  SHOULD client.start.should" in capsys.readouterr().out


def test_what_cannot_be_read_or_written_is_told(
    verdicts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(verdicts.parent / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err
    verdicts.with_name("bad.jsonl").write_text("{")
    assert main(["report", str(verdicts.with_name("bad.jsonl"))]) == 1
    assert "bad.jsonl, line 1" in capsys.readouterr().err
    assert main(["report", str(verdicts), "-o", str(verdicts.parent / "none" / "a.md")]) == 1
    assert "a.md" in capsys.readouterr().err


def test_an_unknown_suffix_needs_a_format(
    verdicts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(verdicts.parent / "out")
    assert main(["report", str(verdicts), "-o", output]) == 2
    assert "--format" in capsys.readouterr().err
    assert main(["report", str(verdicts), "-o", output, "--format", "text"]) == 0


def test_nothing_to_report_is_not_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text('{"report": 1, "program": "pt"}\n')
    assert main(["report", str(path)]) == 4
    assert "no verdicts" in capsys.readouterr().err
