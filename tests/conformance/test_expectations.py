"""Lists of known failures: read, applied, and written as a program is now."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ptipc.conformance.cases import Case
from ptipc.conformance.expectations import (
    Expectations,
    Known,
    fixtures_version,
    read,
    updated,
)
from ptipc.conformance.verdicts import Outcome, Verdict

LIST = """\
fixtures = "0.1.0"

[fail."client.proxy.x"]
got = "VERSION 1; then exit 1*"
reason = "it is silent"

[fail."client.relay.y"]
got = "*"
reason = "a race"
dialects = ["1"]
sometimes = true

[skip]
"server" = "a client only"
"""


def verdict(id: str, got: str = "", dialect: str = "1") -> Verdict:
    """One that failed, if something was found."""
    return Verdict(
        id=id,
        title="",
        level="MUST",
        rule="",
        section="",
        dialect=dialect,
        outcome=Outcome.FAILED if got else Outcome.PASSED,
        got=got,
    )


@pytest.fixture
def listed(tmp_path: Path) -> Expectations:
    path = tmp_path / "expect.toml"
    path.write_text(LIST, encoding="utf-8")
    return read(path)


def test_a_known_failure_is_excused(listed: Expectations) -> None:
    found = listed.applied(verdict("client.proxy.x", "VERSION 1; then exit 1 after 0.01 s"))
    assert found.excuse == "it is silent"
    assert found.reason == ""


def test_another_failure_of_the_same_case_is_not(listed: Expectations) -> None:
    found = listed.applied(verdict("client.proxy.x", "CMETHODS DONE"))
    assert found.excuse == ""
    assert "VERSION 1; then exit 1*" in found.reason


def test_a_known_failure_that_passes_is_a_surprise(listed: Expectations) -> None:
    """Whoever counts the verdicts sees one that passed and has an excuse."""
    assert listed.applied(verdict("client.proxy.x")).excuse == "it is silent"


def test_a_race_may_pass(listed: Expectations) -> None:
    assert listed.applied(verdict("client.relay.y")).excuse == ""
    assert listed.applied(verdict("client.relay.y", "lost")).excuse == "a race"


def test_what_is_known_in_one_edition_is_not_in_another(listed: Expectations) -> None:
    assert listed.applied(verdict("client.relay.y", "lost", "3.0")).excuse == ""


def test_what_was_skipped_needs_no_excuse(listed: Expectations) -> None:
    skipped = evolve(verdict("client.proxy.x"), outcome=Outcome.SKIPPED)
    assert listed.applied(skipped) == skipped


def test_a_case_that_is_not_listed_is_left_alone(listed: Expectations) -> None:
    found = verdict("client.start.z", "wrong")
    assert listed.applied(found) == found


def test_cases_can_be_left_out(listed: Expectations) -> None:
    assert listed.skip == {"server": "a client only"}


@pytest.mark.parametrize(("since", "newer"), [("0.1.0", False), ("0.2.0", True), (None, False)])
def test_cases_that_came_after_the_list(
    listed: Expectations, since: str | None, newer: bool
) -> None:
    case = Case(
        id="client.start.z",
        title="",
        level="MUST",
        requirements=(),
        contradictions=(),
        dialects=("1",),
        section="",
        rule="",
        result="valid",
        op="process/client",
        fixture="process/x",
        content={} if since is None else {"since": since},
    )
    assert listed.is_newer(case) == newer


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "",
        'fixtures = "1"\nother = 1',
        'fixtures = "1"\n[fail."a.b"]\ngot = "x"',
        'fixtures = "1"\n[fail."a.b"]\nreason = " "',
        'fixtures = "1"\n[fail."a.b"]\nreason = "x"\ngto = "x"',
        'fixtures = "1"\n[fail]\n"a.b" = "x"',
        'fixtures = "1"\nskip = ["a"]',
    ],
)
def test_a_list_that_is_none_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "expect.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"expect\.toml"):
        read(path)


# --- writing --------------------------------------------------------------------------------------


def rewritten(tmp_path: Path, text: str) -> Expectations:
    path = tmp_path / "new.toml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def test_a_new_list_expects_what_was_found(tmp_path: Path) -> None:
    bad = verdict("a.b", "SMETHOD foo 127.0.0.1:1234; then exit 1 after 0.01 s")
    found = rewritten(tmp_path, updated(None, [bad, verdict("a.c")]))
    assert found.fixtures == fixtures_version()
    assert found.known == (
        Known(id="a.b", reason="to be looked at", got="SMETHOD foo * then exit 1 after * s"),
    )
    assert found.applied(bad).excuse


def test_octets_are_kept_as_they_are(tmp_path: Path) -> None:
    """Another reply would be another failure."""
    bad = verdict("a.b", "05 01 00 01 00 00 00 00 00 00 (general failure)")
    (known,) = rewritten(tmp_path, updated(None, [bad])).known
    assert known.got == bad.got


def test_reasons_are_kept(tmp_path: Path, listed: Expectations) -> None:
    same = verdict("client.proxy.x", "VERSION 1; then exit 1 after 0.05 s")
    found = rewritten(tmp_path, updated(listed, [same]))
    assert found.known == listed.known
    assert found.skip == listed.skip


def test_a_failure_that_is_gone_is_taken_off(tmp_path: Path, listed: Expectations) -> None:
    """But for one that is a matter of chance."""
    passed = [verdict("client.proxy.x"), verdict("client.relay.y")]
    found = rewritten(tmp_path, updated(listed, passed))
    assert [known.id for known in found.known] == ["client.relay.y"]


def test_a_failure_that_has_changed_keeps_its_reason(tmp_path: Path, listed: Expectations) -> None:
    found = rewritten(tmp_path, updated(listed, [verdict("client.proxy.x", "now something else")]))
    assert [known.got for known in found.known if known.id == "client.proxy.x"] == [
        "now something else"
    ]


def test_editions_are_told_apart(tmp_path: Path) -> None:
    found = rewritten(tmp_path, updated(None, [verdict("a.b", "x"), verdict("a.b", dialect="2")]))
    assert found.known[0].dialects == ("1",)


@given(st.text(max_size=30), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_can_be_written(got: str, id: str) -> None:
    content = tomllib.loads(updated(None, [verdict(f"a.{id}", f"{got} ")]))
    assert list(content["fail"]) == [f"a.{id}"]
