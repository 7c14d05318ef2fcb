"""What the operations on HTTP CONNECT mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptipc.conformance.operations.kinds import Operation, WireOperation
from ptipc.core.codecs import TARGET
from ptipc.core.dialects import Dialect
from ptipc.core.handshake import Handshake
from ptipc.core.httpconnect import HttpConnectInitiator, HttpConnectResponder

_LIMIT = 16384

__all__ = ["OPERATIONS"]


def _start_initiator(settings: Mapping[str, Any], dialect: Dialect) -> Handshake:
    return HttpConnectInitiator(
        TARGET.parse(settings["target"]),
        settings.get("user"),
        settings.get("password"),
        limit=settings.get("limit", _LIMIT),
    )


def _start_responder(settings: Mapping[str, Any], dialect: Dialect) -> Handshake:
    return HttpConnectResponder(limit=settings.get("limit", _LIMIT))


def _decide(machine: Handshake, decision: dict[str, Any]) -> None:
    assert isinstance(machine, HttpConnectResponder)
    if "refuse" in decision:
        machine.refuse(decision["refuse"])
    else:
        machine.grant()


def _nothing_to_decide(machine: Handshake, decision: Any) -> None:
    raise AssertionError("an initiator decides nothing")


def _initiator_outcome(machine: Handshake) -> Any:
    assert isinstance(machine, HttpConnectInitiator)
    return {"done": machine.done, "status": machine.status}


def _responder_outcome(machine: Handshake) -> Any:
    assert isinstance(machine, HttpConnectResponder)
    return {
        "done": machine.done,
        "target": str(machine.target),
        "user": machine.user,
        "password": machine.password,
        "granted": machine.granted,
    }


OPERATIONS: Mapping[str, Operation] = {
    "http-connect/initiator": WireOperation(
        _start_initiator, _nothing_to_decide, _initiator_outcome
    ),
    "http-connect/responder": WireOperation(_start_responder, _decide, _responder_outcome),
}
