"""The fixtures hold for ptipc, are well formed, and leave no rule without an example."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from ptipc.conformance import cases
from ptipc.conformance.answering import answer
from ptipc.conformance.operations import OPERATIONS, operation_names
from ptipc.conformance.questions import Complaint, complaint, questions
from ptipc.core.dialects import DIALECTS, Dialect, Row
from ptipc.core.messages import FORMS
from ptipc.core.parameters import PARAMETERS

FIXTURES = Path(__file__).parents[1] / "spec-fixtures"

# --- what there is --------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"repeated keys: {repeated}")
    return dict(pairs)


def load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique)
    except ValueError as error:
        error.add_note(f"in {path}")
        raise


SCHEMAS = {path: load(path) for path in sorted((FIXTURES / "schema").glob("*.json"))}
DOCUMENTS = {path: load(path) for path in sorted(FIXTURES.rglob("*.json")) if path not in SCHEMAS}
FILES = {path: file for path, file in DOCUMENTS.items() if path.parent.name in cases.KINDS}
CASES: list[dict[str, Any]] = [case for file in FILES.values() for case in file["cases"]]
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
QUIET = cases.load(("codec", "config", "wire", "session"), FIXTURES)
"""What can be judged without a process to start."""


def name_of(path: Path) -> str:
    return path.relative_to(FIXTURES).as_posix()


# --- the files are well formed --------------------------------------------------------------------


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_the_schemas_are_schemas(path: Path) -> None:
    Draft202012Validator.check_schema(SCHEMAS[path])
    assert SCHEMAS[path]["$id"] == f"tag:ptipc,2026:{path.name.removesuffix('.schema.json')}/v1"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_files_follow_their_schema(path: Path) -> None:
    schema = SCHEMAS[(path.parent / DOCUMENTS[path]["$schema"]).resolve()]
    errors = Draft202012Validator(schema, registry=REGISTRY).iter_errors(DOCUMENTS[path])
    found = [f"{error.json_path}: {error.message[:200]}" for error in errors]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_knows_its_name(path: Path) -> None:
    assert f"{FILES[path]['fixture']}.json" == name_of(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_files_are_the_same_everywhere(path: Path) -> None:
    """No carriage returns, tabs or blanks at the end of a line, and a line feed at the end."""
    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [line for line in lines if line != line.rstrip() or "\t" in line] == []


def test_every_case_has_a_name_of_its_own() -> None:
    assert [
        name for name, count in Counter(case["id"] for case in CASES).items() if count > 1
    ] == []


def test_every_operation_is_known() -> None:
    assert {case.op for case in QUIET} - set(operation_names()) == set()


def test_every_operation_has_a_case() -> None:
    used = {name for case in QUIET for name in (case.op, case.op.rpartition("/")[0])}
    assert set(OPERATIONS) - used == set()


def test_every_operation_is_explained() -> None:
    """Whoever writes the harness of another language finds every op in the README."""
    text = (FIXTURES / "README.md").read_text(encoding="utf-8")
    assert {name for name in OPERATIONS if f"`{name}`" not in text} == set()


def test_what_is_acceptable_is_written_in_another_way() -> None:
    """A text that is written as it was read is valid, and no other is."""
    wrong = [
        case.id
        for case in QUIET
        if case.op.endswith("/parse") and case.kind == "codec"
        if (case.content.get("emitted") == case.content["input"]["text"])
    ]
    assert wrong == []


# --- the cases hold -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "dialect"),
    [
        pytest.param(case, dialect, id=f"{case.id}-{dialect.version}")
        for case in QUIET
        for dialect in DIALECTS
        if dialect.version in case.dialects
    ],
)
def test_a_case(case: cases.Case, dialect: Dialect) -> None:
    """However it is asked, ptipc answers as the case says."""
    wrong: dict[str, Complaint] = {}
    for question in questions(case, dialect):
        answered = answer(question)
        assert answered.skip is None
        if (found := complaint(question, answered)) is not None:
            wrong[question.way] = found
    assert wrong == {}


# --- no rule is without a case --------------------------------------------------------------------


NEVER_INVALID = {
    "TOR_PT_EXIT_ON_STDIN_CLOSE",  # 1 says yes, and anything else says no
}
"""What no value is wrong for, so that only an edition with stricter rules has an invalid case."""


def uncovered(key: str, rows: Iterable[tuple[str, Row]]) -> list[str]:
    """Which rows have no valid or no invalid case in an edition in which they exist."""
    shown = {
        (case[key], token, case["result"])
        for case in CASES
        if key in case
        for token in case["dialects"]
    }
    return [
        f"{name}: no {result} case for {dialect}"
        for name, row in rows
        for dialect in DIALECTS
        if row.applies(dialect)
        for result in ("valid", "invalid")
        if (name, dialect.version, result) not in shown
        and not (result == "invalid" and name in NEVER_INVALID)
    ]


def test_every_line_has_cases() -> None:
    assert uncovered("form", [(row.keyword, row) for row in FORMS]) == []


def test_every_parameter_has_cases() -> None:
    rows = [(spelling, row) for row in PARAMETERS for spelling in row.spellings]
    assert uncovered("parameter", rows) == []


def test_a_line_or_parameter_that_cases_are_about_exists() -> None:
    forms = {row.keyword for row in FORMS}
    spellings = {spelling for row in PARAMETERS for spelling in row.spellings}
    assert {case["form"] for case in CASES if "form" in case} <= forms
    assert {case["parameter"] for case in CASES if "parameter" in case} <= spellings


def test_every_contradiction_has_a_case() -> None:
    """Even a slip of the pen, or what only programs make of a line, has one that shows it."""
    cited = {name for case in CASES for name in case["contradictions"]}
    assert {f"C{number}" for number in range(1, 72)} - cited == set()
