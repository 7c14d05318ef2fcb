"""Every statement of the documents that can be observed is proved, or there is a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptipc.cli.main import main
from ptipc.conformance.cases import Case, fixtures_directory, load
from ptipc.conformance.traceability import BESIDE, LEVELS, Statement, statements, states, table
from ptipc.core.dialects import DIALECTS

FIXTURES = fixtures_directory()
STATEMENTS = statements(FIXTURES)
CASES = load()


def proofs(*kinds: str) -> dict[str, set[str]]:
    """The editions in which cases of some kinds cite each statement."""
    found: dict[str, set[str]] = {}
    for case in CASES:
        if case.kind in kinds:
            for id in case.requirements:
                found.setdefault(id, {BESIDE}).update(case.dialects)
    return found


def test_there_are_417_statements() -> None:
    assert len(STATEMENTS) == len({statement.id for statement in STATEMENTS}) == 417
    assert {statement.level for statement in STATEMENTS} == set(LEVELS)


def test_no_case_cites_what_there_is_not() -> None:
    known = {statement.id for statement in STATEMENTS}
    unknown = {case.id: set(case.requirements) - known for case in CASES}
    assert {id: ids for id, ids in unknown.items() if ids} == {}


def test_what_cases_prove_is_proved_in_every_edition_that_says_it() -> None:
    found = proofs("codec", "config", "wire", "session")
    missing = {
        statement.id: lacking
        for statement in STATEMENTS
        if statement.proof == "cases"
        and (lacking := set(statement.editions) - found.get(statement.id, set()))
    }
    assert missing == {}


def test_what_only_processes_show_is_checked() -> None:
    found = proofs("process")
    missing = {
        statement.id
        for statement in STATEMENTS
        if statement.proof == "checks" and not found.get(statement.id)
    }
    assert missing == set()


def test_what_is_excused_has_a_reason_and_no_proof() -> None:
    """An excuse that is not needed any more is taken away."""
    found = proofs("codec", "config", "wire", "session", "process")
    for statement in STATEMENTS:
        if statement.proof == "none":
            assert statement.excuse
            assert statement.id not in found


def test_the_command_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fixtures", "coverage", "--missing"])
    told = capsys.readouterr().out
    assert "missing   1 " not in told
    excused = [statement for statement in STATEMENTS if statement.excuse]
    assert told.count("\nexcused   ") == len(excused)


# --- the matrix -----------------------------------------------------------------------------------


def statement(id: str, *spec: str, level: str = "MUST", excuse: str = "") -> Statement:
    given: Any = spec
    return Statement(
        id=id,
        spec=given,
        section="1",
        level=level,
        who="pt",
        statement="so",
        proof="none" if excuse else "cases",
        excuse=excuse,
    )


def case(*requirements: str, dialects: tuple[str, ...]) -> Case:
    given: dict[str, Any] = {"requirements": requirements, "dialects": dialects}
    return Case(
        id="a.case",
        title="",
        level="MUST",
        contradictions=[],
        section="",
        rule="",
        result="valid",
        op="x/parse",
        fixture="codec/x",
        content={},
        **given,
    )


def test_a_statement_is_proved_edition_by_edition() -> None:
    said = [
        statement("a", "pt1", "pt2.0", "pt2.1", "pt3.0"),
        statement("b", "rfc1928"),
        statement("c", "pt2.2.1", excuse="advice: it depends"),
    ]
    found = list(states(said, [case("a", "b", dialects=("1", "2"))]))
    assert [(each.statement.id, each.edition, each.proved) for each in found] == [
        ("a", "1", True),
        ("a", "2", True),
        ("a", "3.0", False),
        ("b", BESIDE, True),
        ("c", "2.2", False),
    ]
    assert [each.missing for each in found] == [False, False, True, False, False]
    assert [each.excused for each in found] == [False, False, False, False, True]


def test_the_table_fits() -> None:
    lines = table(states(STATEMENTS, CASES)).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert [line.split("  ")[0].strip() for line in lines[2:]] == [*LEVELS, "all"]
    for dialect in DIALECTS:
        assert f" {dialect.version} " in lines[0]


def test_a_table_counts(tmp_path: Path) -> None:
    said = [statement("a", "pt1"), statement("b", "pt1", level="MAY")]
    lines = table(states(said, [case("a", dialects=("1",))])).splitlines()
    assert lines[2].split()[:4] == ["MUST", "1", "0", "0"]
    assert lines[-1].split()[:4] == ["all", "1", "1", "0"]
