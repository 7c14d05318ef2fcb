"""``session/host`` and ``session/transport``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ptipc.core.codecs import THRESHOLD, LogLevel
from ptipc.core.dialects import DIALECTS, Dialect, Stream, dialect_for
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.session import HostSession, TransportSession, Violation
from tests.operations import Operation
from tests.operations.messages import message_from_json, message_to_json, role_of_case

# --- the host's end -------------------------------------------------------------------------------


def _written(step: dict[str, Any]) -> Iterator[tuple[Stream, bytes]]:
    for stream in Stream:
        written = step.get(stream.value)
        if isinstance(written, str):
            yield stream, written.encode("utf-8")
        elif written is not None:
            yield stream, bytes.fromhex(written["octets"])


def _listen(case: dict[str, Any], split: bool) -> dict[str, Any]:
    settings = case["input"]
    offered = settings["versions"]
    role = role_of_case(case)
    assert role is not None
    session = HostSession(
        None if offered is None else [_dialect(token) for token in offered],
        role,
        settings["transports"],
        proxy=settings["proxy"],
        allow_remote=settings.get("allow_remote", False),
        lax=settings.get("lax", False),
        line_limit=settings.get("line_limit", 65536),
    )
    events = []
    for step in case["script"]:
        if "eof" in step:
            events += session.receive_eof(Stream(step["eof"]))
            continue
        for stream, data in _written(step):
            size = 1 if split else max(1, len(data))
            for at in range(0, len(data), size):
                events += session.receive_data(stream, data[at : at + size])
    failure = session.failure
    outcome: dict[str, Any] = {
        "phase": session.phase.value,
        "version": session.version,
        "methods": {name: message_to_json(heard) for name, heard in session.methods.items()},
        "errors": session.errors,
        "ignored": list(session.ignored),
        "failure": None if failure is None else {"code": failure.code},
        "violations": [event.rule for event in events if isinstance(event, Violation)],
    }
    if failure is not None and failure.code.endswith("-ERROR"):
        outcome["failure"]["text"] = failure.text
    return outcome


def _dialect(token: str) -> Dialect:
    dialect = dialect_for(token, DIALECTS)
    assert dialect is not None
    return dialect


def _host(case: dict[str, Any], dialect: Dialect) -> Any:
    whole = _listen(case, split=False)
    assert _listen(case, split=True) == whole, "octet by octet it is heard differently"
    return whole


# --- the transport process's end ------------------------------------------------------------------


def _transport(case: dict[str, Any], dialect: Dialect) -> Any:
    settings = case["input"]
    threshold = settings.get("log_threshold")
    session = TransportSession(
        dialect,
        role_of_case(case),
        settings["transports"],
        proxy=settings["proxy"],
        log_threshold=LogLevel.NONE if threshold is None else THRESHOLD.parse(threshold),
        mirror_errors=settings.get("mirror_errors", False),
    )
    for step in case["script"]:
        assert _said(session, step) == {
            key: value for key, value in step.items() if key not in ("say", "fail")
        }
    return {"phase": session.phase.value, "exit_code": session.exit_code}


def _said(session: TransportSession, step: dict[str, Any]) -> dict[str, Any]:
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


OPERATIONS = {"session/host": Operation(_host), "session/transport": Operation(_transport)}
