"""The order of lines: what the table allows, and why it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptipc.core.codecs import Address, LogLevel, Protocol
from ptipc.core.conversation import ANYTIME, ORDER, Conversation, OutOfOrder, Phase
from ptipc.core.dialects import Role
from ptipc.core.messages import (
    FORMS,
    CMethod,
    CMethodError,
    CMethodsDone,
    EnvError,
    Log,
    Message,
    ProxyDone,
    ProxyError,
    SMethod,
    SMethodError,
    SMethodsDone,
    Status,
    StatusVersion,
    Unknown,
    Version,
    VersionError,
)

HERE = Address("127.0.0.1", 1)
CMETHOD = CMethod("a", Protocol.SOCKS5, HERE)
SMETHOD = SMethod("a", HERE)
MESSAGES: list[Message] = [
    Version("1"),
    VersionError(),
    EnvError("x"),
    ProxyDone(),
    ProxyError("x"),
    CMETHOD,
    CMethodError("a", "x"),
    CMethodsDone(),
    SMETHOD,
    SMethodError("a", "x"),
    SMethodsDone(),
    Log(LogLevel.INFO, "x"),
    Status([("TRANSPORT", "a"), ("A", "b")]),
    StatusVersion("a", "1"),
    Unknown(""),
]


def said(*messages: Message, role: Role | None = None, proxy: bool | None = None) -> Conversation:
    conversation = Conversation(role=role, proxy=proxy)
    for message in messages:
        conversation.say(message)
    return conversation


def test_the_shortest_conversation() -> None:
    conversation = Conversation()
    conversation.say(Version("1"))
    conversation.say(CMethodsDone())
    assert conversation.phase is Phase.READY  # what is not in its table is not allowed


def test_a_whole_conversation() -> None:
    conversation = said(Version("1"), role=Role.CLIENT, proxy=True)
    phases = [conversation.phase]
    for message in (ProxyDone(), CMETHOD, CMethodError("b", "x"), CMethodsDone()):
        conversation.say(message)
        phases.append(conversation.phase)
    assert phases == [
        Phase.NEGOTIATED,
        Phase.PROXIED,
        Phase.METHODS,
        Phase.METHODS,
        Phase.READY,
    ]


def test_every_message_has_its_place() -> None:
    assert {kind for _, kind in ORDER} | ANYTIME == {type(message) for message in MESSAGES}
    assert {form.message for form in FORMS} == {type(message) for message in MESSAGES} - {Unknown}


@pytest.mark.parametrize("error", [VersionError(), EnvError("x")])
def test_an_error_may_come_first_and_ends_it(error: Message) -> None:
    assert said(error).phase is Phase.ENDED


@pytest.mark.parametrize(
    "before",
    [[], [Version("1")], [Version("1"), ProxyDone()], [Version("1"), CMETHOD]],
    ids=len,
)
def test_a_configuration_error_may_come_until_done(before: list[Message]) -> None:
    assert said(*before, EnvError("x")).phase is Phase.ENDED


@pytest.mark.parametrize(
    ("before", "message", "rule"),
    [
        ([], CMETHOD, "order"),
        ([], CMethodsDone(), "order"),
        ([], ProxyError("x"), "order"),
        ([Version("1")], Version("1"), "order"),
        ([Version("1")], VersionError(), "order"),
        ([Version("1"), ProxyDone()], ProxyDone(), "order"),
        ([Version("1"), ProxyDone()], ProxyError("x"), "order"),
        ([Version("1"), CMETHOD], ProxyError("x"), "order"),
        ([Version("1"), CMethodsDone()], CMethodsDone(), "C26"),
        ([Version("1"), CMethodsDone()], CMETHOD, "C26"),
        ([Version("1"), CMethodsDone()], EnvError("x"), "C26"),
        ([EnvError("x")], Version("1"), "order"),
    ],
)
def test_what_is_out_of_order_changes_nothing(
    before: list[Message], message: Message, rule: str
) -> None:
    conversation = said(*before)
    phase = conversation.phase
    with pytest.raises(OutOfOrder) as raised:
        conversation.say(message)
    assert raised.value.rule == rule
    assert conversation.phase is phase


@pytest.mark.parametrize("message", [CMETHOD, CMethodError("a", "x"), CMethodsDone()])
def test_the_upstream_proxy_is_answered_for_first(message: Message) -> None:
    conversation = said(Version("1"), proxy=True)
    with pytest.raises(OutOfOrder) as raised:
        conversation.say(message)
    assert raised.value.rule == "C44"
    conversation.say(ProxyDone())
    conversation.say(message)


@pytest.mark.parametrize("message", [ProxyDone(), ProxyError("x")])
def test_nobody_answers_for_a_proxy_that_is_not_there(message: Message) -> None:
    conversation = said(Version("1"), proxy=False)
    with pytest.raises(OutOfOrder) as raised:
        conversation.say(message)
    assert raised.value.rule == "C43"


@pytest.mark.parametrize(
    ("role", "message"),
    [(Role.CLIENT, SMETHOD), (Role.SERVER, CMETHOD), (Role.SERVER, ProxyDone())],
)
def test_each_role_has_its_own_lines(role: Role, message: Message) -> None:
    conversation = said(Version("1"), role=role)
    with pytest.raises(OutOfOrder) as raised:
        conversation.say(message)
    assert raised.value.rule == "role"


@pytest.mark.parametrize("message", [each for each in MESSAGES if type(each) in ANYTIME])
def test_some_lines_may_come_at_any_time(message: Message) -> None:
    assert said(message).phase is Phase.START
    assert said(Version("1"), SMethodsDone(), message).phase is Phase.READY
    assert said(EnvError("x"), message).phase is Phase.ENDED


def test_it_shows_how_far_it_has_come() -> None:
    assert repr(said(Version("1"))) == "<Conversation negotiated>"


@given(
    st.lists(st.sampled_from(MESSAGES), max_size=12),
    st.sampled_from([None, *Role]),
    st.sampled_from([None, True, False]),
)
def test_it_never_goes_back(messages: list[Message], role: Role | None, proxy: bool | None) -> None:
    conversation = Conversation(role=role, proxy=proxy)
    phases = list(Phase)
    for message in messages:
        before = conversation.phase
        try:
            conversation.say(message)
        except OutOfOrder:
            assert conversation.phase is before
        assert phases.index(conversation.phase) >= phases.index(before)
