"""The editions, and how two ends agree on one."""

from __future__ import annotations

import copy
import pickle

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given

from ptipc.core.dialects import (
    DIALECTS,
    PT1,
    PT2_0,
    PT2_2,
    PT3_0,
    Dialect,
    Role,
    Row,
    Stream,
    dialect_for,
    negotiate,
)
from ptipc.testing import strategies as some

TOKENS = [(token, dialect) for dialect in DIALECTS for token in (dialect.version, *dialect.aliases)]

# --- what they are --------------------------------------------------------------------------------


def test_the_editions_stand_in_the_order_of_their_appearance() -> None:
    assert [dialect.version for dialect in DIALECTS] == ["1", "2", "2.2", "3.0"]
    editions = [dialect.edition for dialect in DIALECTS]
    assert editions == sorted(set(editions))


def test_no_token_names_two_editions() -> None:
    assert len({token for token, _ in TOKENS}) == len(TOKENS)


def test_a_dialect_is_called_by_its_version() -> None:
    assert [str(dialect) for dialect in DIALECTS] == ["PT 1", "PT 2", "PT 2.2", "PT 3.0"]


def test_a_dialect_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        PT1.version = "2"  # type: ignore[misc]
    assert evolve(PT1) == PT1
    assert hash(evolve(PT1)) == hash(PT1)
    assert pickle.loads(pickle.dumps(PT1)) == copy.deepcopy(PT1) == PT1


def test_a_peer_with_a_habit_is_a_dialect() -> None:
    shapeshifter = evolve(PT2_2, json_auth=0x80, datagram_length_order="little")
    assert shapeshifter.edition == PT2_2.edition
    assert shapeshifter != PT2_2
    assert Row(since=PT2_2, until=PT2_2).applies(shapeshifter)


def test_errors_are_said_on_stdout_in_the_first_edition_only() -> None:
    assert [dialect.error_stream for dialect in DIALECTS] == [
        Stream.STDOUT,
        Stream.STDERR,
        Stream.STDERR,
        Stream.STDERR,
    ]


def test_every_edition_has_a_channel_for_its_settings() -> None:
    assert [(dialect.environment, dialect.flags) for dialect in DIALECTS] == [
        (True, False),
        (True, True),
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_json_args_need_a_method(dialect: Dialect) -> None:
    """The preferred method is the one with JSON wherever there is one."""
    assert (dialect.json_auth is None) == (dialect.args_methods[0] == 0x02)
    assert dialect.json_auth in (None, dialect.args_methods[0])


def test_a_version_list_may_be_left_out_where_there_is_a_default_role() -> None:
    for dialect in DIALECTS:
        assert dialect.versions_required == (dialect.default_role is None)


# --- rows of tables -------------------------------------------------------------------------------


def test_a_row_without_columns_is_for_everybody() -> None:
    assert all(Row().applies(dialect, role) for dialect in DIALECTS for role in Role)


def test_a_row_has_a_first_and_a_last_edition() -> None:
    assert [Row(since=PT2_0, until=PT2_2).applies(dialect) for dialect in DIALECTS] == [
        False,
        True,
        True,
        False,
    ]


def test_a_row_for_one_role_applies_where_the_role_is_not_asked_for() -> None:
    row = Row(role=Role.SERVER)
    assert row.applies(PT1)
    assert row.applies(PT1, Role.SERVER)
    assert not row.applies(PT1, Role.CLIENT)


@given(some.rows(), some.dialects(), some.roles())
def test_a_row_applies_within_its_span(row: Row, dialect: Dialect, role: Role) -> None:
    assert row.applies(dialect, role) == (
        row.role in (None, role)
        and row.since.edition <= dialect.edition
        and dialect.edition <= row.until.edition
    )


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("token", "dialect"), TOKENS)
def test_an_edition_answers_to_all_its_tokens(token: str, dialect: Dialect) -> None:
    """It keeps the token by which it was called, for hosts compare the answer with it (C2)."""
    assert dialect_for(token) == evolve(dialect, version=token)


def test_an_edition_called_by_its_own_name_is_the_edition_itself() -> None:
    assert all(dialect_for(dialect.version) is dialect for dialect in DIALECTS)


@pytest.mark.parametrize("token", ["", "0", "1 ", " 1", "01", "1.00", "2.3", "3.1", "v1", "1\n"])
def test_tokens_are_compared_as_text(token: str) -> None:
    assert dialect_for(token) is None


def test_an_edition_that_is_not_supported_answers_to_nothing() -> None:
    assert dialect_for("2", [PT1, PT3_0]) is None


def test_a_habit_survives_the_negotiation() -> None:
    habit = evolve(PT2_2, json_auth=0x80)
    chosen = negotiate(["2.2.1"], [PT1, habit])
    assert chosen == evolve(habit, version="2.2.1")


def test_without_anything_supported_there_is_nothing_to_choose() -> None:
    assert negotiate(None, []) is None
    assert negotiate(["1"], []) is None


def test_without_a_list_the_newest_is_chosen_in_whatever_order_they_are_given() -> None:
    assert negotiate(None, [PT2_0, PT2_2, PT1]) is PT2_2


def test_lists_may_be_read_once() -> None:
    assert negotiate(iter(["1", "3"]), iter([PT3_0, PT1])) == evolve(PT3_0, version="3")


@given(some.version_lists())
def test_the_answer_was_offered(offered: tuple[str, ...]) -> None:
    chosen = negotiate(offered)
    known = [dialect for token in offered if (dialect := dialect_for(token))]
    if chosen is None:
        assert known == []
    else:
        assert chosen.version in offered
        assert chosen.edition == max(dialect.edition for dialect in known)
