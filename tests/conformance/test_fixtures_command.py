"""``ptipc fixtures``: the collection is in order, and what is wrong with one is seen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptipc.cli.main import main
from ptipc.conformance.cases import KINDS, LEVELS, fixtures_directory, load
from ptipc.conformance.fixtures import copy, index, index_text, read
from ptipc.conformance.linting import lint
from ptipc.conformance.quirks import quirks
from ptipc.core.dialects import DIALECTS

FIXTURES = fixtures_directory()


def run(*arguments: str) -> int:
    return main(["fixtures", *arguments])


# --- the collection is in order -------------------------------------------------------------------


def test_nothing_is_wrong_with_the_fixtures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint") == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_the_index_is_up_to_date() -> None:
    """If it is not, ``ptipc fixtures index`` mends it."""
    assert run("index", "--check") == 0


def test_the_index_counts() -> None:
    said = read(FIXTURES / "index.json")
    cases = load()
    assert said["count"] == len(cases) == len(said["cases"])
    assert sum(each["cases"] for each in said["files"].values()) == len(cases)
    for kind in KINDS:
        levels = [case.level for case in cases if case.kind == kind]
        assert said["levels"][kind] == {level: levels.count(level) for level in LEVELS}
    for dialect in DIALECTS:
        about = [case for case in cases if dialect.version in case.dialects]
        assert said["dialects"][dialect.version] == len(about)


def test_the_version_is_in_the_changelog() -> None:
    version = (FIXTURES / "VERSION").read_text().strip()
    assert f"\n## {version}\n" in (FIXTURES / "CHANGELOG.md").read_text()


def test_the_documents_that_are_cited_are_listed() -> None:
    specs = read(FIXTURES / "specs.json")["specs"]
    cited = {
        spec
        for each in read(FIXTURES / "requirements.json")["requirements"]
        for spec in each["spec"]
    }
    assert cited - set(specs) == set()
    assert {spec["dialect"] for spec in specs.values() if "dialect" in spec} == {
        dialect.version for dialect in DIALECTS
    }


# --- lists and copies -----------------------------------------------------------------------------


def test_cases_are_listed_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "address.ipv4", "target.*", "--dialect", "2") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert "address.ipv4" in listed
    assert all(id.startswith(("address.ipv4", "target.")) for id in listed)
    assert len(listed) > 10


def test_whole_cases_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "address.ipv4", "--json", "--level", "MUST", "--kind", "codec") == 0
    (case,) = json.loads(capsys.readouterr().out)
    assert case["fixture"] == "codec/address"
    assert case["output"] == case["input"]["text"]


def test_a_list_without_cases_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "no.such.case") == 4
    assert "no case" in capsys.readouterr().err


def test_a_whole_copy_is_the_same_octet_by_octet(tmp_path: Path) -> None:
    assert run("copy", str(tmp_path / "copy")) == 0
    copied = {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_bytes()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }
    assert b"* -text" in copied.pop(".gitattributes")
    assert copied == {
        path.relative_to(FIXTURES).as_posix(): path.read_bytes()
        for path in FIXTURES.rglob("*")
        if path.is_file() and path.suffix in (".json", ".md", "") and path.name != "__init__"
    }
    assert lint(tmp_path / "copy") == []


def test_a_copy_of_some_cases_is_in_order(tmp_path: Path) -> None:
    assert run("copy", str(tmp_path), "--dialect", "3.0", "--kind", "codec", "--kind", "wire") == 0
    assert lint(tmp_path) == []
    cases = load(directory=tmp_path)
    assert {case.kind for case in cases} == {"codec", "wire"}
    assert all("3.0" in case.dialects for case in cases)
    wanted = [case.id for case in load(["codec", "wire"]) if "3.0" in case.dialects]
    assert [case.id for case in cases] == wanted
    assert read(tmp_path / "index.json")["count"] == len(wanted)


def test_nothing_is_overwritten_by_a_copy(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(FileExistsError):
        copy(FIXTURES, tmp_path)
    with pytest.raises(SystemExit) as exited:
        run("copy", str(tmp_path))
    assert exited.value.code == 2


def test_an_index_is_written_and_then_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(FIXTURES, tmp_path, kinds=["wire"], dialects=["1"])
    (tmp_path / "index.json").unlink()
    assert run("index", "--check", str(tmp_path)) == 1
    assert run("index", str(tmp_path)) == 0
    assert run("index", str(tmp_path)) == 0
    said = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["is old: run ptipc fixtures index", "was written", "was up to date"]
    assert json.loads(index_text(tmp_path)) == index(tmp_path)


# --- what is wrong is seen ------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small collection that is in order."""
    directory = tmp_path_factory.mktemp("small")
    copy(FIXTURES, directory, dialects=["1"], kinds=["codec", "config", "wire"])
    for path in directory.glob("co*/*.json"):
        if path.stem not in ("address", "proxy-uri", "state"):
            path.unlink()
    (directory / "index.json").write_text(index_text(directory))
    assert lint(directory) == []
    return directory


@pytest.fixture
def some(small: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    shutil.copytree(small, tmp_path / "some")
    return tmp_path / "some"


def changed(path: Path, change: Change) -> None:
    document = read(path)
    change(document)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def first(document: dict[str, Any], **changes: Any) -> None:
    document["cases"][0].update(changes)


@pytest.mark.parametrize("schemas", [True, False], ids=["with schemas", "without jsonschema"])
@pytest.mark.parametrize(
    "change",
    [
        lambda document: first(document, id="Address"),
        lambda document: first(document, id=document["cases"][1]["id"]),
        lambda document: first(document, id=7),
        lambda document: first(document, level="OUGHT"),
        lambda document: first(document, result="fine"),
        lambda document: first(document, title=""),
        lambda document: first(document, rule=None),
        lambda document: first(document, dialects=[]),
        lambda document: first(document, dialects=["1", "1"]),
        lambda document: first(document, dialects=["4"]),
        lambda document: first(document, requirements=["no.such.requirement"]),
        lambda document: first(document, requirements="pt.ver.value"),
        lambda document: first(document, contradictions=["C72"]),
        lambda document: first(document, input=[]),
        lambda document: first(document, input={}),
        lambda document: first(document, input={"text": "x", "more": 1}),
        lambda document: first(document, result="acceptable"),
        lambda document: first(document, result="acceptable", emitted="127.0.0.1:19999"),
        lambda document: first(document, result="invalid"),
        lambda document: first(document, emitted="x"),
        lambda document: first(document, op="address/emit", result="acceptable", emitted="x"),
        lambda document: document["cases"][-1].update({"op": "address/hear", "result": "invalid"}),
        lambda document: document["cases"][0].pop("op"),
        lambda document: document["cases"].append("x"),
        lambda document: document["cases"].clear(),
        lambda document: document.update({"cases": {}}),
        lambda document: document.update({"fixture": "codec/other"}),
        lambda document: document.update({"version": 2}),
        lambda document: document.update({"$schema": "../schema/wire.schema.json"}),
        lambda document: document.update({"$schema": "../schema/none.schema.json"}),
    ],
)
def test_a_wrong_case_is_seen(
    some: Path, change: Change, schemas: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not schemas:
        monkeypatch.setitem(sys.modules, "jsonschema", None)
    changed(some / "codec" / "address.json", change)
    found = lint(some)
    assert found != []
    assert all(each.file == "codec/address.json" for each in found)
    assert all("codec/address.json: " in str(each) for each in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: first(document, script=[]),
        lambda document: first(document, script=[{"hear": "00"}]),
        lambda document: first(document, script=[{"send": "00", "receive": "00"}]),
        lambda document: first(document, script=[{"receive": "0g"}]),
        lambda document: first(document, script=[{"receive": [{"repeat": "00"}]}]),
        lambda document: first(document, output={"done": False}),
        lambda document: first(document, result="invalid"),
        lambda document: first(
            document, result="invalid", output={"done": False, "error": "refused"}
        ),
        lambda document: first(document, result="invalid", output={"done": False, "error": "?"}),
        lambda document: document["cases"][0].pop("output"),
    ],
)
def test_a_wrong_exchange_is_seen(
    some: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    changed(some / "wire" / "socks4.json", change)
    assert {each.file for each in lint(some)} == {"wire/socks4.json"}


@pytest.mark.parametrize("name", ["config/state", "codec/address"])
def test_a_case_without_an_output_is_seen(some: Path, name: str) -> None:
    changed(some / f"{name}.json", lambda document: document["cases"][0].pop("output"))
    assert {each.file for each in lint(some)} == {f"{name}.json"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]\n",
        b'{"a": 1, "a": 2}\n',
        b'{"cases": "\xff"}\n',
        b"{}\r\n",
        b"{}",
        b"{\t}\n",
        b"{} \n",
    ],
)
def test_a_file_that_is_none_is_seen(some: Path, data: bytes) -> None:
    (some / "codec" / "address.json").write_bytes(data)
    assert "codec/address.json" in {each.file for each in lint(some)}


def test_what_has_changed_since_the_index_was_made_is_seen(some: Path) -> None:
    changed(some / "codec" / "proxy-uri.json", lambda document: first(document, title="Another"))
    (finding,) = lint(some)
    assert str(finding) == "index.json: codec/proxy-uri has changed since it was made"
    (some / "index.json").unlink()
    assert [str(each) for each in lint(some)] == ["index.json: there is none"]


def test_an_index_that_says_something_else_is_seen(some: Path) -> None:
    changed(some / "index.json", lambda document: document.update({"count": 1}))
    assert [each.what for each in lint(some)] == ["it is not what the files say"]


def test_quirks_are_about_cases_that_there_are(some: Path) -> None:
    (some / "quirks").mkdir()
    quirks = {
        "$schema": "../schema/quirks.schema.json",
        "program": "tor",
        "version": "1.2",
        "role": ["host"],
        "origin": "here",
        "cases": {"address.ipv4": {"observed": "rejects", "does": "so", "evidence": "run"}},
    }
    path = some / "quirks" / "tor-1.2.json"
    path.write_text(json.dumps(quirks) + "\n")
    assert lint(some) == []
    changed(path, lambda document: document["cases"].update({"no.case": {}}))
    assert "there is no such case" in {each.what for each in lint(some)}
    shutil.move(path, some / "quirks" / "tor-1.3.json")
    assert "quirks/tor-1.3.json" in {each.file for each in lint(some)}


def test_quirks_are_read_program_by_program() -> None:
    known = quirks()
    assert {quirk.program for quirk in known} >= {
        "tor",
        "obfs4proxy",
        "snowflake-client",
        "goptlib",
    }
    (prefix,) = [
        quirk for quirk in known if (quirk.program, quirk.case) == ("tor", "hear.prefix-cmethodx")
    ]
    assert (prefix.observed, prefix.evidence, prefix.dialects) == ("dies", "run", ("1",))


def test_findings_are_printed(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "index.json").unlink()
    assert run("lint", str(some)) == 1
    assert capsys.readouterr().out == "index.json: there is none\n1 finding\n"
