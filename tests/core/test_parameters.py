"""The table of the settings; the examples are in spec-fixtures/config."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from ptipc.core.codecs import ADDRESS, TARGET
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect, Role
from ptipc.core.parameters import (
    ENVIRONMENT_PREFIX,
    EXCLUSIONS,
    NEEDS,
    PARAMETERS,
    Parameter,
    is_flag,
    is_ours,
    reference,
    spellings,
)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=str)


def test_a_row_has_one_spelling() -> None:
    assert [row for row in PARAMETERS if len(row.spellings) != 1] == []


def test_variables_and_flags_look_like_what_they_are() -> None:
    for row in PARAMETERS:
        if row.env is not None:
            assert is_ours(row.env)
            assert not is_flag(row.env)
            assert not row.bare
        if row.flag is not None:
            assert re.fullmatch("-[A-Za-z-]+[A-Za-z]", row.flag)
            assert is_flag(row.flag)


@every_dialect
def test_a_spelling_means_one_thing_in_an_edition(dialect: Dialect) -> None:
    rows = [row for row in PARAMETERS if row.applies(dialect)]
    found = Counter(spelling for row in rows for spelling in row.spellings)
    assert [spelling for spelling, count in found.items() if count > 1] == []


@every_dialect
def test_an_edition_has_the_channels_that_it_says(dialect: Dialect) -> None:
    """But for the list of versions, which 3.0 looks for in the environment, too."""
    rows = [row for row in PARAMETERS if row.applies(dialect) and row.name != "versions"]
    assert any(row.env for row in rows) == dialect.environment
    assert any(row.flag for row in rows) == dialect.flags


@every_dialect
def test_an_edition_has_the_settings_that_it_says(dialect: Dialect) -> None:
    assert bool(spellings(("log_threshold",), dialect)) == dialect.log_threshold
    server = [
        row for row in PARAMETERS if row.name == "target" and row.applies(dialect, Role.SERVER)
    ]
    assert {row.codec for row in server} == {TARGET if dialect.named_targets else ADDRESS}


def test_the_rules_are_about_settings_that_there_are() -> None:
    names = {row.name for row in PARAMETERS}
    assert {name for rule in EXCLUSIONS for name in rule.names} - names == set()
    assert {name for rule in NEEDS for name in (rule.name, *rule.others)} - names == set()


@every_dialect
def test_what_a_setting_needs_is_there(dialect: Dialect) -> None:
    for rule in NEEDS:
        if spellings((rule.name,), dialect):
            assert all(spellings((name,), dialect) for name in rule.others)


def test_two_spellings_of_one_setting_may_be_one_row() -> None:
    row = Parameter(
        "target", ADDRESS, env="TOR_PT_ORPORT", flag="-orport", role=Role.SERVER, until=PT2_2
    )
    assert row.spelling(by_flag=True) == "-orport"
    assert row.spelling(by_flag=False) == "TOR_PT_ORPORT"
    assert row.applies(PT1)
    assert not row.applies(PT3_0)


def test_a_row_with_one_spelling_has_no_choice() -> None:
    assert Parameter("target", ADDRESS, flag="-target").spelling(by_flag=False) == "-target"


@pytest.mark.parametrize("name", ["TOR_PT_PROXY", "TOR_PT_NEW_SETTING", "tor_pt_proxy"])
def test_every_variable_with_the_prefix_is_ours(name: str) -> None:
    assert is_ours(name)


@pytest.mark.parametrize("name", ["PATH", "TOR_PTX", "MY_TOR_PT_PROXY"])
def test_no_other_variable_is_ours(name: str) -> None:
    assert not is_ours(name)


def test_the_prefix_is_that_of_the_documents() -> None:
    assert ENVIRONMENT_PREFIX == "TOR_PT_"


def test_a_host_is_told_what_it_may_use() -> None:
    names = ("transport", "transports")
    assert spellings(names, PT1) == ("TOR_PT_CLIENT_TRANSPORTS", "TOR_PT_SERVER_TRANSPORTS")
    assert spellings(names, PT2_2, Role.SERVER) == (
        "-transport",
        "TOR_PT_SERVER_TRANSPORTS",
        "-transports",
    )


def test_the_reference_has_a_line_for_each_row() -> None:
    table = reference()
    assert [(line.name, line.env, line.flag) for line in table] == [
        (row.name, row.env, row.flag) for row in PARAMETERS
    ]
    for line in table:
        assert line.editions
        assert line.meaning


def test_the_reference_says_who_may_say_what_and_when() -> None:
    table = {(line.env or line.flag, line.editions[0]): line for line in reference()}
    assert table["-target", PT2_0].role is Role.CLIENT
    assert table["-target", PT2_2].role is None
    assert table["-target", PT3_0].role is Role.SERVER
    assert table["TOR_PT_PROXY", PT1].editions == (PT1, PT2_0, PT2_2)
    assert table["-proxy", PT2_0].meaning == table["TOR_PT_PROXY", PT1].meaning
