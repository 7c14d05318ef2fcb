"""What the operations on SOCKS mean: its two ends, and single messages of a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from ptipc.conformance.operations.kinds import CodecOperation, Operation, WireOperation
from ptipc.core.codecs import TARGET, Address
from ptipc.core.dialects import Dialect
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.handshake import Handshake
from ptipc.core.socks import (
    AuthMethod,
    Credentials,
    JsonBlock,
    NoAuth,
    SocksInitiator,
    SocksResponder,
    UserPass,
)

__all__ = ["OPERATIONS"]


def _args(pairs: list[list[Any]]) -> Args:
    return Args([(key, value) for key, value in pairs])


def _pairs(args: Args) -> list[list[Any]]:
    return [[key, value] for key, value in args.pairs]


# --- the two ends ---------------------------------------------------------------------------------


def _start_responder(settings: Mapping[str, Any], dialect: Dialect) -> Handshake:
    methods: tuple[AuthMethod, ...] | None = None
    if "user" in settings:
        methods = (Credentials(settings["user"], settings["password"]),)
    elif "json-limit" in settings:
        methods = (JsonBlock(limit=settings["json-limit"]), NoAuth())
    elif "empty-fields" in settings:
        methods = (UserPass(lenient=settings["empty-fields"]), NoAuth())
    if methods is not None:
        return SocksResponder(*methods, versions=(5,))
    return SocksResponder.for_dialect(
        dialect,
        draft=settings.get("draft-method", False),
        user_id_limit=settings.get("user-id-limit", 65536),
    )


def _decide(machine: Handshake, decision: dict[str, Any]) -> None:
    assert isinstance(machine, SocksResponder)
    if "refuse" in decision:
        machine.refuse(decision["refuse"])
    else:
        machine.grant(decision["grant"] and TARGET.parse(decision["grant"]))


def _responder_outcome(machine: Handshake) -> Any:
    assert isinstance(machine, SocksResponder)
    return {
        "done": machine.done,
        "version": machine.version,
        "target": str(machine.target),
        "args": _pairs(machine.args),
        "granted": machine.granted,
    }


def _start_initiator(settings: Mapping[str, Any], dialect: Dialect) -> Handshake:
    target = TARGET.parse(settings["target"])
    version = settings.get("version", 5)
    if "user" in settings:
        credentials = Credentials(settings["user"], settings["password"])
        return SocksInitiator(target, credentials, version=version)
    if settings.get("draft-method"):
        dialect = evolve(dialect, json_auth=0x80)
    args = _args(settings.get("args", []))
    return SocksInitiator.for_dialect(dialect, target, args, version=version)


def _initiator_outcome(machine: Handshake) -> Any:
    assert isinstance(machine, SocksInitiator)
    return {"done": machine.done, "bound": str(machine.bound)}


def _nothing_to_decide(machine: Handshake, decision: Any) -> None:
    raise AssertionError("an initiator decides nothing")


# --- single messages, as spaced hex ---------------------------------------------------------------


def _hear(text: str, *, before: str = "") -> SocksResponder:
    """A responder that has heard a message to the end, and nothing more."""
    machine = SocksResponder(UserPass(), NoAuth())
    for data in (bytes.fromhex(before), bytes.fromhex(text)):
        machine.receive_data(data)
    return machine


def _say(machine: SocksInitiator, *answers: str) -> str:
    """What an initiator says after the answers."""
    said = machine.data_to_send()
    for answer in answers:
        machine.receive_data(bytes.fromhex(answer))
        said = machine.data_to_send()
    return said.hex(" ")


_SOMEWHERE = Address("192.0.2.7", 443)


def _parse_userpass(text: str, dialect: Dialect) -> Any:
    machine = _hear(text, before="05 01 02")
    assert machine.data_to_send().endswith(b"\1\0")
    return _pairs(machine.args)


def _emit_userpass(value: Any, dialect: Dialect) -> str:
    return _say(SocksInitiator(_SOMEWHERE, UserPass(), _args(value)), "05 02")


def _parse_request(before: str) -> Callable[[str, Dialect], Any]:
    def parse(text: str, dialect: Dialect) -> Any:
        machine = _hear(text, before=before)
        return {"target": str(machine.target), "args": _pairs(machine.args)}

    return parse


def _emit_socks4(value: Any, dialect: Dialect) -> str:
    target = TARGET.parse(value["target"])
    return _say(SocksInitiator(target, args=_args(value["args"]), version=4))


def _emit_socks5(value: Any, dialect: Dialect) -> str:
    assert _args(value["args"]) == NO_ARGS, "args are not in this message"
    return _say(SocksInitiator(TARGET.parse(value["target"])), "05 00")


OPERATIONS: Mapping[str, Operation] = {
    "socks/responder": WireOperation(_start_responder, _decide, _responder_outcome),
    "socks/initiator": WireOperation(_start_initiator, _nothing_to_decide, _initiator_outcome),
    "socks5-userpass": CodecOperation(_parse_userpass, _emit_userpass),
    "socks5-request": CodecOperation(_parse_request("05 01 00"), _emit_socks5),
    "socks4-request": CodecOperation(_parse_request(""), _emit_socks4),
}
