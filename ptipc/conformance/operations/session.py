"""``session/host`` and ``session/transport``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptipc.conformance.operations.kinds import Operation, ScriptOperation
from ptipc.conformance.operations.messages import message_from_json, message_to_json, role_in
from ptipc.core.codecs import THRESHOLD, LogLevel
from ptipc.core.dialects import DIALECTS, Dialect, Stream, dialect_for
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.session import Event, HostSession, TransportSession, Violation

__all__ = ["OPERATIONS"]


# --- the host's end -------------------------------------------------------------------------------


def _written(step: Mapping[str, Any]) -> Iterator[tuple[Stream, bytes]]:
    for stream in Stream:
        written = step.get(stream.value)
        if isinstance(written, str):
            yield stream, written.encode("utf-8")
        elif written is not None:
            yield stream, bytes.fromhex(written["octets"])


def _listen(
    input: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], dialect: Dialect
) -> tuple[list[Any], Any]:
    offered = input["versions"]
    role = role_in(input)
    if role is None:
        raise ValueError("a host knows the role of the process")
    session = HostSession(
        None if offered is None else [_dialect(token) for token in offered],
        role,
        input["transports"],
        proxy=input["proxy"],
        allow_remote=input.get("allow_remote", False),
        lax=input.get("lax", False),
        line_limit=input.get("line_limit", 65536),
    )
    events: list[Event] = []
    for step in steps:
        if "eof" in step:
            events += session.receive_eof(Stream(step["eof"]))
        for stream, data in _written(step):
            events += session.receive_data(stream, data)
    failure = session.failure
    outcome: dict[str, Any] = {
        "phase": session.phase.value,
        "version": session.version,
        "methods": {name: message_to_json(heard) for name, heard in session.methods.items()},
        "errors": dict(session.errors),
        "ignored": list(session.ignored),
        "failure": None if failure is None else {"code": failure.code},
        "violations": [event.rule for event in events if isinstance(event, Violation)],
    }
    if failure is not None and failure.code.endswith("-ERROR"):
        outcome["failure"]["text"] = failure.text
    return [], outcome


def _dialect(token: str) -> Dialect:
    dialect = dialect_for(token, DIALECTS)
    if dialect is None:
        raise ValueError(f"not an edition: {token!r}")
    return dialect


# --- the transport process's end ------------------------------------------------------------------


def _transport(
    input: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], dialect: Dialect
) -> tuple[list[Any], Any]:
    threshold = input.get("log_threshold")
    session = TransportSession(
        dialect,
        role_in(input),
        input["transports"],
        proxy=input["proxy"],
        log_threshold=LogLevel.NONE if threshold is None else THRESHOLD.parse(threshold),
        mirror_errors=input.get("mirror_errors", False),
    )
    said = [_said(session, step) for step in steps]
    return said, {"phase": session.phase.value, "exit_code": session.exit_code}


def _said(session: TransportSession, step: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if "fail" in step:
            message = message_from_json(step["fail"])
            writes = session.fail(ConfigError(message, "a fixture", session.dialect))
        else:
            writes = session.send(message_from_json(step["say"]))
    except LocalProtocolError:
        return {"refused": True}
    written: dict[str, str] = {}
    for stream, data in writes:
        written[stream.value] = written.get(stream.value, "") + data.decode("utf-8")
    return written


OPERATIONS: Mapping[str, Operation] = {
    "session/host": ScriptOperation(_listen),
    "session/transport": ScriptOperation(_transport),
}
