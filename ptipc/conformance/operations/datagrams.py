"""``datagrams/length``, ``datagrams/stun`` and ``datagrams/pool``.

A framing is no handshake, for it has no end.  Its scripts are wire scripts all the same: what is
received comes out as ``datagrams``, and ``{"decide": {"serialize": octets}}`` gives it a datagram
to send, which it may refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ptipc.conformance.operations.kinds import Operation, ScriptOperation, WireOperation
from ptipc.core.datagrams import Action, Framing, LengthFraming, Pool, StunFraming
from ptipc.core.dialects import Dialect, Role
from ptipc.core.errors import LocalProtocolError

__all__ = ["OPERATIONS"]

# --- framing --------------------------------------------------------------------------------------


class _Framed:
    """A framing that is driven as a handshake is."""

    trailing_data = b""
    done = True

    def __init__(self, framing: Framing) -> None:
        self.datagrams: list[bytes] = []
        self._framing = framing
        self._sent = b""

    def receive_data(self, data: bytes) -> None:
        self.datagrams += self._framing.feed(data)

    def receive_eof(self) -> None:
        self._framing.receive_eof()

    def receive_timeout(self) -> None:
        raise LocalProtocolError("a framing has no time limit")

    def data_to_send(self) -> bytes:
        sent, self._sent = self._sent, b""
        return sent

    def serialize(self, datagram: bytes) -> None:
        self._sent += self._framing.serialize(datagram)


def _send(machine: _Framed, decision: Mapping[str, str]) -> None:
    with suppress(LocalProtocolError):
        machine.serialize(bytes.fromhex(decision["serialize"]))


def _received(machine: _Framed) -> Any:
    return {"done": True, "datagrams": [datagram.hex(" ") for datagram in machine.datagrams]}


# --- the pool -------------------------------------------------------------------------------------


def _happen(pool: Pool[str], step: Mapping[str, Any]) -> dict[str, Any]:
    """Let one thing happen; returns what came of it."""
    event, key, at = step["event"], step.get("key", ""), step["at"]
    if event == "timeout":
        return {"closed": pool.expire(at), "next": pool.next_expiry()}
    if event == "touch":
        pool.touch(key, at)
        return {}
    happened: dict[str, Callable[[], Action]] = {
        "packet": lambda: pool.packet(key, at),
        "connected": lambda: pool.connected(key, at),
        "closed": lambda: pool.closed(key),
        "failed": lambda: pool.failed(key),
        "write-failed": lambda: pool.write_failed(key),
    }
    try:
        return {"action": happened[event]().value}
    except LocalProtocolError:
        return {"error": "local"}


def _pool(
    input: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], dialect: Dialect
) -> tuple[list[Any], Any]:
    pool: Pool[str] = Pool(
        Role(input["side"]), idle_timeout=input["idle_timeout"], limit=input["limit"]
    )
    said = [{**_happen(pool, step), "state": _states(pool)} for step in steps]
    return said, _states(pool)


def _states(pool: Pool[str]) -> dict[str, str]:
    return {key: state.value for key, state in pool.states.items()}


OPERATIONS: Mapping[str, Operation] = {
    "datagrams/length": WireOperation(
        lambda input, dialect: _Framed(LengthFraming(input["order"])), _send, _received
    ),
    "datagrams/stun": WireOperation(
        lambda input, dialect: _Framed(StunFraming(**input)), _send, _received
    ),
    "datagrams/pool": ScriptOperation(_pool),
}
