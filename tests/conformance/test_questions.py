"""What a case asks, and that the judge sees what is wrong with an answer."""

from __future__ import annotations

from typing import Any

import pytest

from ptipc.conformance.cases import Case
from ptipc.conformance.questions import (
    TRAILING,
    Answer,
    Complaint,
    Question,
    canonical,
    complaint,
    questions,
)
from ptipc.core.dialects import PT1


def case(fixture: str, op: str, result: str, **content: Any) -> Case:
    editions: Any = ["1"]
    return Case(
        id="a.case",
        title="",
        level="MUST",
        requirements=(),
        contradictions=(),
        dialects=editions,
        section="",
        rule="",
        result=result,
        op=op,
        fixture=fixture,
        content=content,
    )


def asked(case: Case) -> list[Question]:
    return list(questions(case, PT1))


def found(case: Case, *answers: Answer) -> list[Complaint | None]:
    return [complaint(*pair) for pair in zip(asked(case), answers, strict=True)]


# --- texts ----------------------------------------------------------------------------------------

VALID = case("codec/x", "x/parse", "valid", input={"text": "a"}, output=[1])
ACCEPTABLE = case("codec/x", "x/parse", "acceptable", input={"text": "A"}, output=[1], emitted="a")
INVALID = case("codec/x", "x/parse", "invalid", input={"text": "?"})
EMIT = case("codec/x", "x/emit", "valid", input={"value": [1]}, output={"text": "a"})
EMIT_INVALID = case("codec/x", "x/emit", "invalid", input={"value": None})


def test_a_text_is_read_and_written_again() -> None:
    assert [(each.op, each.input, each.output, each.way) for each in asked(VALID)] == [
        ("x/parse", {"text": "a"}, [1], ""),
        ("x/emit", {"value": [1]}, "a", "back"),
    ]
    assert asked(ACCEPTABLE)[1].output == "a"
    assert len(asked(INVALID)) == 1


def test_a_value_is_written_and_read_again() -> None:
    assert [(each.op, each.input, each.output) for each in asked(EMIT)] == [
        ("x/emit", {"value": [1]}, "a"),
        ("x/parse", {"text": "a"}, [1]),
    ]
    assert len(asked(EMIT_INVALID)) == 1


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        (VALID, [Answer(value=[1]), Answer(value="a")]),
        (VALID, [Answer(accepted=True), Answer(skip="cannot")]),
        (ACCEPTABLE, [Answer(value=[1]), Answer(value="a")]),
        (INVALID, [Answer(error="no")]),
        (EMIT, [Answer(value="a"), Answer(value=[1])]),
        (EMIT_INVALID, [Answer(error="no")]),
    ],
)
def test_a_right_answer_passes(case: Case, answers: list[Answer]) -> None:
    assert found(case, *answers) == [None] * len(answers)


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        (VALID, [Answer(value=[2]), Answer(value="b")]),
        (VALID, [Answer(value=[True]), Answer(error="no")]),
        (VALID, [Answer(error="no"), Answer(value=None)]),
        (ACCEPTABLE, [Answer(error="no"), Answer(value="A")]),
        (INVALID, [Answer(value=[1])]),
        (INVALID, [Answer(accepted=True)]),
        (EMIT_INVALID, [Answer(value="")]),
    ],
)
def test_a_wrong_answer_is_seen(case: Case, answers: list[Answer]) -> None:
    assert None not in found(case, *answers)


# --- exchanges ------------------------------------------------------------------------------------

SCRIPT = [
    {"send": "68 69"},
    {"receive": ["61", {"repeat": "62", "times": 2}]},
    {"send": "6f 6b"},
]
DONE = case("wire/x", "socks/x", "valid", input={}, script=SCRIPT, output={"done": True})
FRAMED = case("wire/x", "datagrams/x", "valid", input={}, script=SCRIPT, output={"done": True})
ENDS = case(
    "wire/x",
    "socks/x",
    "invalid",
    input={},
    script=[{"receive": "61"}, {"eof": True}],
    output={"done": False, "error": "remote"},
)
REFUSED = case(
    "wire/x",
    "socks/x",
    "invalid",
    input={},
    script=[{"receive": "6e"}],
    output={"done": False, "error": "refused", "code": 5},
)
RIGHT = Answer(value={"done": True}, said=("6869", "6f6b"), trailing="")


def test_an_exchange_is_played_in_pieces_and_with_more_behind_it() -> None:
    ways = {each.way: each.script for each in asked(DONE)}
    assert ways[""] == ({"receive": "61 62 62"},)
    assert ways["split"] == ({"receive": "61"}, {"receive": "62"}, {"receive": "62"})
    assert ways["followed"] == ({"receive": f"61 62 62 {TRAILING.hex(' ')}"},)
    assert ways["followed, split"] is not None
    assert len(ways["followed, split"]) == 3 + len(TRAILING)


def test_only_what_comes_to_an_end_is_followed() -> None:
    assert [each.way for each in asked(FRAMED)] == ["", "split"]
    assert [each.way for each in asked(ENDS)] == ["", "split"]


def test_nothing_may_come_but_what_follows() -> None:
    silent = case("wire/x", "socks/x", "valid", input={}, script=[{"send": ""}], output={})
    assert asked(silent)[2].script == ({"receive": TRAILING.hex(" ")},)


def test_what_is_expected_is_not_told() -> None:
    for question in asked(DONE):
        assert "send" not in canonical(question.as_json())
        assert "done" not in canonical(question.as_json())


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        Answer(value={"done": True}, said=("68 69", "6F 6B")),
        Answer(accepted=True, said=("6869", "6f6b")),
    ],
)
def test_a_right_exchange_passes(answer: Answer) -> None:
    assert complaint(asked(DONE)[0], answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(value={"done": True}, said=("6869",)),
        Answer(value={"done": True}, said=("6869", "6f")),
        Answer(value={"done": True}, said=("68", "696f6b")),
        Answer(value={"done": True}, said=("6869", "6f6b00")),
        Answer(value={"done": True}, said=("hi", "ok")),
        Answer(value={"done": True}, said=(None, None)),
        Answer(value={"done": 1}, said=("6869", "6f6b")),
        Answer(error="no", said=("6869", "6f6b")),
    ],
)
def test_a_wrong_exchange_is_seen(answer: Answer) -> None:
    assert complaint(asked(DONE)[0], answer) is not None


def test_octets_may_be_said_in_any_pieces() -> None:
    pieces = Answer(value={"done": True}, said=("6869", "6f", "", "6b"))
    assert complaint(asked(DONE)[1], pieces) is None


def test_what_follows_has_to_come_out() -> None:
    followed = asked(DONE)[2]
    said = ("6869", "6f6b")
    kept = Answer(value={"done": True}, said=said, trailing=f"00 {TRAILING.hex(' ')}")
    lost = Answer(value={"done": True}, said=said, trailing=TRAILING[1:].hex())
    unknown = Answer(value={"done": True}, said=said)
    assert [complaint(followed, each) is None for each in (kept, lost, unknown)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("case", "answer", "right"),
    [
        (ENDS, Answer(error="no", said=("", "", "")), True),
        (ENDS, Answer(value={"done": False, "error": "remote"}, said=("", "", "")), True),
        (ENDS, Answer(error="no", code=5, said=("", "", "")), False),
        (ENDS, Answer(value={"done": True}, said=("", "", "")), False),
        (ENDS, Answer(accepted=True, said=("", "", "")), False),
        (REFUSED, Answer(error="no", code=5, said=("", "")), True),
        (REFUSED, Answer(error="no", said=("", "")), True),
        (REFUSED, Answer(error="no", code=4, said=("", "")), False),
    ],
)
def test_how_an_exchange_fails(case: Case, answer: Answer, right: bool) -> None:
    assert (complaint(asked(case)[0], answer) is None) is right


# --- everything else ------------------------------------------------------------------------------


def test_the_edition_is_filled_in_where_settings_name_it() -> None:
    settings = case(
        "config/x",
        "config/read",
        "valid",
        input={"argv": ["-ptversion", "{version}"]},
        output={"version": "{version}"},
    )
    (question,) = asked(settings)
    assert question.input == {"argv": ["-ptversion", "1"]}
    assert complaint(question, Answer(value={"version": "1"})) is None
    assert complaint(question, Answer(value={"version": "{version}"})) is not None


def test_an_error_has_to_mention_what_is_at_fault() -> None:
    settings = case(
        "config/x",
        "config/read",
        "invalid",
        input={},
        output={"error": {"keyword": "ENV-ERROR", "mentions": ["A", "B"]}},
    )
    (question,) = asked(settings)

    def told(text: Any) -> Answer:
        return Answer(value={"error": {"keyword": "ENV-ERROR", "text": text}})

    assert complaint(question, told("neither A nor B")) is None
    assert complaint(question, Answer(error="A or B")) is None
    assert complaint(question, told("A")) is not None
    assert complaint(question, told(1)) is not None
    assert complaint(question, Answer(value={})) is not None


def test_lines_are_given_without_what_comes_of_them() -> None:
    said = case(
        "session/x",
        "session/transport",
        "valid",
        input={},
        script=[{"say": {"keyword": "VERSION"}, "stdout": "VERSION 1\n"}],
        output={},
    )
    (question,) = asked(said)
    assert question.script == ({"say": {"keyword": "VERSION"}},)
    right = Answer(value={}, said=({}, {"stdout": "VERSION 1\n"}))
    wrong = Answer(value={}, said=({}, {"stdout": "VERSION 1"}))
    assert complaint(question, right) is None
    assert complaint(question, wrong) is not None


def test_a_host_hears_octet_by_octet_as_well() -> None:
    heard = case(
        "session/x",
        "session/host",
        "valid",
        input={},
        script=[{"stdout": "é"}, {"stderr": {"octets": "ff"}}, {"eof": "stdout"}],
        output={},
    )
    assert asked(heard)[1].script == (
        {"stdout": {"octets": "c3"}},
        {"stdout": {"octets": "a9"}},
        {"stderr": {"octets": "ff"}},
        {"eof": "stdout"},
    )


# --- answers as JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"ok": 1, "error": "no"},
        {"error": 1},
        {"skip": None},
        {"accepted": False},
        {"ok": 1, "code": "5"},
        {"error": "no", "code": True},
        {"ok": 1, "said": "6869"},
        {"ok": 1, "trailing": 0},
    ],
)
def test_what_is_no_answer(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is|not"):
        Answer.from_json(told)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(value=None),
        Answer(value=[["k", "v"]]),
        Answer(accepted=True),
        Answer(error="no", code=0, said=("", "00")),
        Answer(skip="not implemented"),
        Answer(value={"done": True}, said=("",), trailing="00"),
    ],
)
def test_answers_survive_as_json(answer: Answer) -> None:
    assert Answer.from_json(answer.as_json()) == answer
