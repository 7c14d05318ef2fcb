"""The harness of the fixtures sees what is wrong with a case or with the code."""

from __future__ import annotations

from typing import Any

import pytest

from ptipc.core.codecs import ADDRESS
from ptipc.core.dialects import PT1
from ptipc.core.errors import Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake, Script
from tests.operations import CodecOperation, WireOperation
from tests.replay import canonical, octets, play_emit, play_exchange, play_parse

ADDRESSES = CodecOperation(
    lambda text, dialect: str(ADDRESS.parse(text)),
    lambda value, dialect: ADDRESS.emit(ADDRESS.parse(value)),
)


class Guest(Handshake):
    """Says hello, hears two octets, says them back."""

    def _run(self) -> Script:
        self._send(b"hi")
        answer = yield from self._reader.exactly(2)
        self._send(answer)
        if answer == b"no":
            raise Refused("no", 3)
        if answer == b"??":
            raise RemoteProtocolError("what")


GUEST = WireOperation(
    lambda settings, dialect: Guest(),
    lambda machine, decision: None,
    lambda machine: {"done": machine.done},
)


def text_case(result: str, text: str, **more: Any) -> dict[str, Any]:
    return {"result": result, "input": {"text": text, "value": text}, **more}


@pytest.mark.parametrize(
    "case",
    [
        text_case("valid", "192.0.2.7:1", output="192.0.2.7:1"),
        text_case("acceptable", "::1:5", output="[::1]:5", emitted="[::1]:5"),
        text_case("invalid", "192.0.2.7"),
    ],
)
def test_a_right_text_passes(case: dict[str, Any]) -> None:
    play_parse(ADDRESSES, case, PT1)


@pytest.mark.parametrize(
    "case",
    [
        text_case("valid", "192.0.2.7:1", output="192.0.2.7:2"),
        text_case("valid", "::1:5", output="[::1]:5"),
        text_case("acceptable", "[::1]:5", output="[::1]:5", emitted="[::1]:5"),
        text_case("acceptable", "::1:5", output="[::1]:5", emitted="::1:5"),
        text_case("invalid", "192.0.2.7:1"),
    ],
)
def test_a_wrong_text_is_seen(case: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        play_parse(ADDRESSES, case, PT1)


@pytest.mark.parametrize(
    "case",
    [
        text_case("valid", "[::1]:5", output={"text": "::1:5"}),
        text_case("valid", "::1:5", output={"text": "[::1]:5"}),
        text_case("invalid", "[::1]:5"),
    ],
)
def test_a_wrong_value_is_seen(case: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        play_emit(ADDRESSES, case, PT1)


SEND, ECHO = {"send": "68 69"}, {"send": "61 62"}
RECEIVE = {"receive": ["61", {"repeat": "62", "times": 1}]}
DONE = {"done": True}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("script", "output"),
    [
        ([SEND, RECEIVE, ECHO], DONE),
        ([SEND, {"receive": "3f 3f 00"}, {"send": "3f 3f"}], {"done": False, "error": "remote"}),
        (
            [SEND, {"receive": "6e 6f"}, {"send": "6e 6f"}],
            {"done": False, "error": "refused", "code": 3},
        ),
        ([SEND, {"receive": "61"}, {"eof": True}], {"done": False, "error": "remote"}),
        ([SEND, {"timeout": True}], {"done": False, "error": "remote"}),
    ],
)
def test_a_right_exchange_passes(script: list[Any], output: Any, split: bool) -> None:
    case = {"input": {}, "script": script, "output": output}
    play_exchange(GUEST, case, PT1, split=split)
    if output == DONE:
        play_exchange(GUEST, case, PT1, split=split, trailing=True)


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ([RECEIVE, ECHO], DONE),
        ([SEND, RECEIVE, SEND], DONE),
        ([SEND, RECEIVE], DONE),
        ([SEND, {"receive": "61"}], DONE),
        ([SEND, RECEIVE, ECHO], {"done": 1}),
        ([SEND, {"receive": "3f 3f"}, {"send": "3f 3f"}], DONE),
        ([SEND, {"receive": "3f 3f"}, {"send": "3f 3f"}], {"done": False, "error": "refused"}),
        ([SEND, {"receive": "3f 3f"}, {"eof": True}], {"done": False, "error": "remote"}),
    ],
)
def test_a_wrong_exchange_is_seen(script: list[Any], output: Any) -> None:
    with pytest.raises(AssertionError):
        play_exchange(GUEST, {"input": {}, "script": script, "output": output}, PT1)


def test_octets_are_spaced_hex_with_runs() -> None:
    assert octets(["05 01", {"repeat": "61 62", "times": 2}, ""]) == b"\x05\x01abab"


def test_equal_to_python_is_not_always_equal() -> None:
    assert canonical({"a": 1, "b": []}) == canonical({"b": (), "a": 1})
    assert canonical(1) != canonical(True)
