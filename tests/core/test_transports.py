"""What is known of a transport: its capabilities, what it says, and how two share their args."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.transports import (
    STREAMS,
    Capability,
    capabilities_of,
    carried_inside,
    described,
    grants_early,
    nested_args,
    published_args,
    version_of,
)

STREAM, DATAGRAM, HALF_CLOSE = Capability


class Silent:
    """A transport that says nothing of itself."""


@frozen
class Talkative:
    """A transport that says everything of itself."""

    capabilities: Capability = DATAGRAM
    version: str | None = "1.2"
    grant_early: bool = True


# --- one transport --------------------------------------------------------------------------------


def test_a_transport_that_does_not_say_carries_streams() -> None:
    assert capabilities_of(Silent()) == STREAMS == STREAM | HALF_CLOSE
    assert version_of(Silent()) is None
    assert grants_early(Silent()) is False


def test_a_transport_is_taken_at_its_word() -> None:
    assert capabilities_of(Talkative()) == DATAGRAM
    assert version_of(Talkative()) == "1.2"
    assert grants_early(Talkative()) is True
    assert grants_early(Talkative(grant_early=False)) is False


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "it took too long"),
        (TimeoutError("no answer in 5 s"), "no answer in 5 s"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ValueError("not a port: 'x'"), "not a port: 'x'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_is_never_described_by_nothing(error: BaseException, text: str) -> None:
    assert described(error) == text


# --- one inside another ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "inner", "carried"),
    [
        (STREAMS, STREAMS, STREAMS),
        (STREAMS, STREAM, STREAM),
        (STREAM, STREAMS, STREAM),
        (STREAM, STREAM, STREAM),
        (STREAM, STREAMS | DATAGRAM, STREAM | DATAGRAM),
        (STREAMS | DATAGRAM, STREAM, STREAM),
    ],
)
def test_the_inner_one_says_what_is_carried_and_the_outer_one_tells_the_end(
    outer: Capability, inner: Capability, carried: Capability
) -> None:
    assert carried_inside(Talkative(outer), Talkative(inner)) == carried


def test_two_that_do_not_say_carry_streams() -> None:
    assert carried_inside(Silent(), Silent()) == STREAMS


def test_args_without_a_name_in_front_are_for_both() -> None:
    args = Args([("a.k", "1"), ("b.k", "2"), ("k", "3"), ("a.k", "4"), ("ab.k", "5")])
    assert nested_args(args, "a", "b").pairs == (("k", "1"), ("k", "3"), ("k", "4"), ("ab.k", "5"))
    assert nested_args(args, "b", "a").pairs == (("k", "2"), ("k", "3"), ("ab.k", "5"))
    assert nested_args(NO_ARGS, "a", "b") == NO_ARGS


def test_only_the_name_in_front_is_taken_away_and_only_once() -> None:
    args = Args([("a.a.k", "1"), ("k.b.x", "2"), ("b", "3")])
    assert nested_args(args, "a", "b").pairs == (("a.k", "1"), ("k.b.x", "2"), ("b", "3"))


def test_what_is_published_has_the_names_in_front() -> None:
    parts = {"a": Args([("k", "1"), ("k", "2")]), "b": NO_ARGS, "c": Args({"k": "3"})}
    assert published_args(parts).pairs == (("a.k", "1"), ("a.k", "2"), ("c.k", "3"))
    assert published_args({}) == NO_ARGS


PARTS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4).map(Args)


@given(PARTS, PARTS)
def test_what_two_publish_each_gets_back(one: Args, other: Args) -> None:
    published = published_args({"obfs4": one, "meek": other})
    assert nested_args(published, "obfs4", "meek").pairs == one.pairs
    assert nested_args(published, "meek", "obfs4").pairs == other.pairs
