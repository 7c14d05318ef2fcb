"""``datagrams/length``, ``datagrams/stun`` and ``datagrams/pool``.

A framing is no handshake, for it has no end.  Its scripts are wire scripts all the same: what is
received comes out as ``datagrams``, and ``{"decide": {"serialize": octets}}`` gives it a datagram
to send, which it may refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptipc.core.datagrams import Action, Framing, LengthFraming, Pool, StunFraming
from ptipc.core.dialects import Dialect, Role
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from tests.operations import Operation
from tests.replay import Case, octets

# --- framing --------------------------------------------------------------------------------------


def _play(framing: Framing, case: Case, step_by_step: bool) -> Any:
    sent = b""
    datagrams: list[bytes] = []
    try:
        for step in case["script"]:
            ((what, how),) = step.items()
            if what == "receive":
                data = octets(how)
                for piece in (bytes([octet]) for octet in data) if step_by_step else [data]:
                    datagrams += framing.feed(piece)
            elif what == "decide":
                try:
                    sent += framing.serialize(octets(how["serialize"]))
                except LocalProtocolError:
                    continue
            elif what == "send":
                assert sent.hex(" ") == octets(how).hex(" ")
                sent = b""
            else:
                framing.receive_eof()
    except RemoteProtocolError:
        return {"done": False, "error": "remote"}
    assert sent == b"", "the framing wrote more than the script"
    return {"done": True, "datagrams": [datagram.hex(" ") for datagram in datagrams]}


def _framed(
    start: Callable[[dict[str, Any]], Framing],
) -> Callable[[Case, Dialect], Any]:
    def run(case: Case, dialect: Dialect) -> Any:
        whole = _play(start(case["input"]), case, step_by_step=False)
        assert whole == _play(start(case["input"]), case, step_by_step=True)
        written = case["output"].get("datagrams", [])
        if [octets(datagram).hex(" ") for datagram in written] == whole.get("datagrams"):
            whole["datagrams"] = written  # runs are folded in the fixture
        return whole

    return run


# --- the pool -------------------------------------------------------------------------------------


def _happen(pool: Pool[str], step: dict[str, Any]) -> dict[str, Any]:
    """Let one thing happen; returns what the step says came of it."""
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


def _states(pool: Pool[str]) -> dict[str, str]:
    return {key: state.value for key, state in pool.states.items()}


def _pool(case: Case, dialect: Dialect) -> Any:
    settings = case["input"]
    pool: Pool[str] = Pool(
        Role(settings["side"]), idle_timeout=settings["idle_timeout"], limit=settings["limit"]
    )
    for step in case["script"]:
        came = _happen(pool, step)
        said = {name: step[name] for name in ("action", "error", "closed", "next") if name in step}
        assert came == said, step
        assert _states(pool) == step["state"], step
    return _states(pool)


OPERATIONS = {
    "datagrams/length": Operation(_framed(lambda input: LengthFraming(input["order"]))),
    "datagrams/stun": Operation(_framed(lambda input: StunFraming(**input))),
    "datagrams/pool": Operation(_pool),
}
