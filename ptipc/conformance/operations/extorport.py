"""``extorport/initiator``, ``extorport/responder`` and ``cookie-file``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptipc.conformance.operations.kinds import CodecOperation, Operation, WireOperation
from ptipc.core.codecs import ADDRESS
from ptipc.core.dialects import Dialect
from ptipc.core.extorport import (
    ExtOrPortInitiator,
    ExtOrPortResponder,
    parse_cookie_file,
    serialize_cookie_file,
)
from ptipc.core.handshake import Handshake

__all__ = ["OPERATIONS"]


def _secrets(input: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return bytes.fromhex(input["cookie"]), bytes.fromhex(input["nonce"])


def _initiator(input: Mapping[str, Any], dialect: Dialect) -> Handshake:
    client = input["client_address"]
    return ExtOrPortInitiator(
        *_secrets(input),
        transport=input["transport"],
        client_address=None if client is None else ADDRESS.parse(client),
    )


def _responder(input: Mapping[str, Any], dialect: Dialect) -> Handshake:
    return ExtOrPortResponder(*_secrets(input))


def _nothing(machine: Handshake, decision: Any) -> None:
    raise AssertionError(f"an initiator has nothing to decide: {decision!r}")


def _decide(machine: Handshake, decision: Any) -> None:
    assert isinstance(machine, ExtOrPortResponder)
    {"accept": machine.accept, "deny": machine.deny}[decision]()


def _heard(machine: Handshake) -> Any:
    assert isinstance(machine, ExtOrPortResponder)
    client = machine.client_address
    return {
        "done": machine.done,
        "client_address": None if client is None else str(client),
        "transport": machine.transport,
        "accepted": machine.accepted,
    }


OPERATIONS: Mapping[str, Operation] = {
    "extorport/initiator": WireOperation(
        _initiator, _nothing, lambda machine: {"done": machine.done}
    ),
    "extorport/responder": WireOperation(_responder, _decide, _heard),
    "cookie-file": CodecOperation(
        lambda text, dialect: parse_cookie_file(bytes.fromhex(text)).hex(" "),
        lambda value, dialect: serialize_cookie_file(bytes.fromhex(value)).hex(" "),
    ),
}
