"""How a case of spec-fixtures/ is played against the operations of tests/operations/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import Factory, define

from ptipc.core.dialects import Dialect
from ptipc.core.errors import LocalProtocolError, PtipcError, Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake
from tests.operations import CodecOperation, WireOperation

Case = dict[str, Any]

INVALID = (ValueError, PtipcError)
"""What a codec operation may raise: a codec complains about text, its caller about the peer."""

TRAILING = b"\x05\x01\x00\x00GET / HTTP/1.1\r\n\r\n"
"""What belongs to whatever follows an exchange; it looks like more of the exchange on purpose."""


def canonical(value: Any) -> str:
    """A JSON value as text that is equal for equal values only (to Python, ``True == 1``)."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)


def octets(written: Any) -> bytes:
    """Octets as the fixtures write them: spaced hex, or a list of that in which runs are folded."""
    if isinstance(written, str):
        return bytes.fromhex(written)
    if isinstance(written, dict):
        return bytes.fromhex(written["repeat"]) * int(written["times"])
    return b"".join(octets(element) for element in written)


# --- texts ----------------------------------------------------------------------------------------


def play_parse(operation: CodecOperation, case: Case, dialect: Dialect) -> None:
    """A text: what it means, and how that is written."""
    text = case["input"]["text"]
    if case["result"] == "invalid":
        with pytest.raises(INVALID):
            operation.parse(text, dialect)
        return
    assert canonical(operation.parse(text, dialect)) == canonical(case["output"])
    emitted = case["emitted"] if case["result"] == "acceptable" else text
    assert operation.emit(case["output"], dialect) == emitted
    assert (emitted == text) == (case["result"] == "valid")


def play_emit(operation: CodecOperation, case: Case, dialect: Dialect) -> None:
    """A value: how it is written, and that this is read as the same value."""
    value = case["input"]["value"]
    if case["result"] == "invalid":
        with pytest.raises(INVALID):
            operation.emit(value, dialect)
        return
    text = operation.emit(value, dialect)
    assert text == case["output"]["text"]
    assert canonical(operation.parse(text, dialect)) == canonical(value)


# --- exchanges of bytes ---------------------------------------------------------------------------


@define
class Exchange:
    """A machine and what became of it while the steps of a script were played."""

    operation: WireOperation
    machine: Handshake
    sent: bytes = b""
    error: PtipcError | None = None
    left: list[bytes] = Factory(list)
    """What came after the error; a machine that has failed hears no more of its peer."""

    def step(self, step: dict[str, Any], split: bool) -> None:
        """Play one step; ``split`` feeds octets one at a time."""
        ((what, how),) = step.items()
        if what == "send":
            assert self.sent.hex(" ") == octets(how).hex(" ")
            self.sent = b""
            return
        if what == "receive":
            data = octets(how)
            for piece in _singles(data) if split else [data]:
                self._receive(piece)
            return
        assert self.error is None, f"{what} after {self.error!r}"
        try:
            if what == "decide":
                self.operation.decide(self.machine, how)
            elif what == "eof":
                self.machine.receive_eof()
            else:
                self.machine.receive_timeout()
        except PtipcError as error:
            self.error = error
        self.sent += self.machine.data_to_send()

    def _receive(self, data: bytes) -> None:
        if self.error is not None:
            with pytest.raises(type(self.error)) as raised:
                self.machine.receive_data(data)
            assert raised.value is self.error, "an error latches"
            return
        try:
            self.machine.receive_data(data)
        except PtipcError as error:
            self.error = error
        self.sent += self.machine.data_to_send()

    def outcome(self) -> Any:
        """What the machine came to, as the fixtures write it."""
        if self.error is None:
            return self.operation.outcome(self.machine)
        outcome: dict[str, Any] = {"done": self.machine.done, "error": _fault(self.error)}
        if isinstance(self.error, Refused):
            outcome["code"] = self.error.code
        return outcome


def _fault(error: PtipcError) -> str:
    for kind, name in (
        (RemoteProtocolError, "remote"),
        (LocalProtocolError, "local"),
        (Refused, "refused"),
    ):
        if isinstance(error, kind):
            return name
    raise error


def _singles(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def play_exchange(
    operation: WireOperation,
    case: Case,
    dialect: Dialect,
    *,
    split: bool = False,
    trailing: bool = False,
) -> None:
    """A script: what one end sends in answer, and what it comes to.

    ``trailing`` sends more behind the last octets of the exchange; it has to come out untouched.
    """
    exchange = Exchange(operation, operation.start(case["input"], dialect))
    exchange.sent = exchange.machine.data_to_send()
    script = case["script"]
    last = max((at for at, step in enumerate(script) if "receive" in step), default=None)
    for at, step in enumerate(script):
        if trailing and at == last:
            step = {"receive": (octets(step["receive"]) + TRAILING).hex(" ")}
        exchange.step(step, split)
    assert exchange.sent == b"", "the machine said more than the script"
    outcome = exchange.outcome()
    if trailing:
        if last is None:
            exchange.machine.receive_data(TRAILING)
        assert exchange.machine.trailing_data.endswith(TRAILING)
    assert canonical(outcome) == canonical(case["output"])
