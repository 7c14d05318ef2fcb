"""How verdicts count, and the file that keeps them."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ptipc.conformance.report import FORMATS, render, write
from ptipc.conformance.runs import (
    BROKEN,
    EXCUSED,
    FAILURE,
    MARKS,
    NOTE,
    PASSED,
    SKIPPED,
    SURPRISE,
    WARNING,
    Mark,
    Run,
    area_of,
    counted,
    findings,
    in_order,
    level_rank,
    mark_of,
    read,
    visible,
)
from ptipc.conformance.verdicts import Outcome
from tests.conformance.samples import NASTY, quiet, samples, verdict

# --- how verdicts count ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "level", "excuse", "mark", "strictly"),
    [
        (Outcome.PASSED, "MUST", "", PASSED, PASSED),
        (Outcome.PASSED, "MAY", "known", SURPRISE, SURPRISE),
        (Outcome.FAILED, "MUST", "", FAILURE, FAILURE),
        (Outcome.FAILED, "SHOULD", "", WARNING, FAILURE),
        (Outcome.FAILED, "MAY", "", NOTE, NOTE),
        (Outcome.FAILED, "INTEROP", "", NOTE, NOTE),
        (Outcome.FAILED, "MUST", "known", EXCUSED, EXCUSED),
        (Outcome.SKIPPED, "MUST", "known", SKIPPED, SKIPPED),
        (Outcome.BROKEN, "MUST", "known", BROKEN, BROKEN),
    ],
)
def test_what_a_verdict_weighs(
    outcome: Outcome, level: str, excuse: str, mark: Mark, strictly: Mark
) -> None:
    given = verdict("a.b.c", outcome, level=level, excuse=excuse)
    assert mark_of(given) is mark
    assert mark_of(given, strict=True) is strictly


def test_no_two_marks_look_alike() -> None:
    for look in ("name", "word", "symbol", "meaning"):
        assert len({getattr(mark, look) for mark in MARKS}) == len(MARKS)


def test_what_fails_a_run_is_a_finding() -> None:
    assert all(mark.finding for mark in MARKS if mark.fails)


def test_marks_are_counted_in_english() -> None:
    assert counted(WARNING, 1) == "1 warning"
    assert counted(WARNING, 2) == "2 warnings"
    assert counted(FAILURE, 2) == "2 failed"


def test_the_area_is_the_beginning_of_an_id() -> None:
    assert area_of("client.socks5.auth.no-method") == "client.socks5"
    assert area_of("client.socks5") == "client"


def test_unknown_levels_come_last() -> None:
    assert sorted(["ODD", "INTEROP", "MUST"], key=level_rank) == ["MUST", "INTEROP", "ODD"]


def test_the_same_finding_in_two_editions_is_told_once() -> None:
    found = findings(samples())
    assert [(each.mark.word, each.verdict.id) for each in found] == [
        ("fail", "client.proxy.answer"),
        ("xpass", "client.socks5.mended"),
        ("error", "client.stop.broken"),
        ("warn", "client.start.should"),
        ("note", "client.socks5.may"),
        ("note", "client.socks5.interop"),
        ("known", "client.socks5.known"),
    ]
    assert found[0].dialects == ("1", "2")


def test_two_ways_to_fail_are_told_twice() -> None:
    run = Run(
        program="pt",
        verdicts=[
            verdict("a.b", Outcome.FAILED, got=dialect, dialect=dialect) for dialect in ("1", "2")
        ],
    )
    assert [each.dialects for each in findings([run])] == [("1",), ("2",)]


def test_the_order_of_runs_and_verdicts_does_not_matter() -> None:
    runs = samples()
    other = [evolve(run, verdicts=reversed(run.verdicts)) for run in reversed(runs)]
    for format in FORMATS:
        assert render(runs, format) == render(other, format)


@given(st.text())
def test_what_is_visible_can_be_written_and_read_by_anyone(said: str) -> None:
    shown = visible(said)
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    ElementTree.fromstring(f"<a>{shown.replace('&', '').replace('<', '')}</a>".encode())
    assert visible(shown) == shown


def test_control_characters_are_shown_as_escapes() -> None:
    assert visible("a\x00\x1b\r\n\ud800\u202eü") == "a\\x00\\x1b\\r\n\\ud800\\u202eü"


# --- the file -------------------------------------------------------------------------------------


def test_the_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    write(samples(), path, "jsonl")
    assert list(read(path)) == in_order(samples())


def test_every_line_of_the_file_is_an_object_in_ascii(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    write(samples(), path, "jsonl")
    head, first, *_ = path.read_text(encoding="ascii").splitlines()
    assert json.loads(head)["report"] == 1
    assert json.loads(head)["program"] == "./pt.bin"
    assert json.loads(first)["outcome"] == "failed"
    assert json.loads(first)["transcript"]["entries"][1]["text"] == NASTY


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    lines = [json.loads(line) for line in render([quiet()], "jsonl").splitlines()]
    path.write_text("".join(json.dumps({**line, "later": 1}) + "\n" for line in lines))
    assert list(read(path)) == in_order([quiet()])


HEAD = '{"report": 1, "program": "pt"}\n'
VERDICT = render([quiet()], "jsonl").splitlines()[1]


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("{", 1, "Expecting"),
        ("5", 1, "not iterable"),
        ("[]", 1, "no run before it"),
        ("{}", 1, "no run before it"),
        ('{"report": 2}', 1, "a report of version 2"),
        ('{"report": 1}', 1, "program"),
        ('{"report": 1, "program": 5}', 1, "program is of another kind: 5"),
        ('{"report": 1, "program": "pt", "seconds": "1"}', 1, "seconds is of another kind: '1'"),
        ('{"report": 1, "program": "pt", "command": [5]}', 1, "command is of another kind"),
        (HEAD + "{}", 2, "transcript"),
        (HEAD + VERDICT.replace('"passed"', '"perhaps"'), 2, "perhaps"),
        (HEAD + VERDICT.replace('"id":"client.proxy.answer",', ""), 2, "id"),
        (HEAD + VERDICT + "\n" + VERDICT[:100], 3, "Unterminated"),
    ],
)
def test_damage_is_said_with_its_line(tmp_path: Path, content: str, line: int, what: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"verdicts\.jsonl, line {line}: .*{re.escape(what)}"):
        read(path)


@given(st.data())
def test_a_damaged_file_raises_nothing_but_value_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = render([quiet()], "jsonl").encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(damaged)
    with contextlib.suppress(ValueError):
        for format in FORMATS:
            render(read(path), format)
