"""Names, versions, addresses, proxies and the choices among a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ptipc.conformance.operations.kinds import CodecOperation, Operation, PlainOperation
from ptipc.core.codecs import (
    ADDRESS,
    BIND_ADDRESSES,
    ENABLED,
    IPV4,
    IPV6,
    LEVEL,
    MODE,
    NAME,
    OFFERED,
    PROXY,
    SEVERITY,
    SWITCH,
    TARGET,
    THRESHOLD,
    WANTED,
    Address,
    Codec,
    LogLevel,
    Mode,
    UpstreamProxy,
)
from ptipc.core.dialects import DIALECTS, Dialect, dialect_for, negotiate

T = TypeVar("T")

__all__ = ["OPERATIONS"]


def _operation(
    codec: Codec[T], to_json: Callable[[T], Any], from_json: Callable[[Any], T]
) -> CodecOperation:
    return CodecOperation(
        lambda text, dialect: to_json(codec.parse(text)),
        lambda value, dialect: codec.emit(from_json(value)),
    )


def _same(value: T) -> T:
    return value


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def _proxy_to_json(proxy: UpstreamProxy) -> dict[str, Any]:
    return {
        "scheme": proxy.scheme,
        "address": str(proxy.address),
        "user": proxy.user,
        "password": proxy.password,
    }


def _proxy(value: dict[str, Any]) -> UpstreamProxy:
    return UpstreamProxy(**{**value, "address": _address(value["address"])})


def _level(codec: Codec[LogLevel], **spelled: str) -> CodecOperation:
    """``spelled`` has the words of the documents that are not those of ``LogLevel``."""

    def to_json(level: LogLevel) -> str:
        return spelled.get(level.name, level.name)

    return _operation(codec, to_json, {to_json(level): level for level in LogLevel}.__getitem__)


def _negotiate(input: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    supported = [known for token in input["supported"] if (known := dialect_for(token)) is not None]
    chosen = negotiate(input["offered"], supported)
    if chosen is None:
        return {"answer": None}
    edition = next(known for known in DIALECTS if known.edition == chosen.edition)
    return {"dialect": edition.version, "answer": chosen.version}


OPERATIONS: Mapping[str, Operation] = {
    "address": _operation(ADDRESS, str, _address),
    "bind-addresses": _operation(
        BIND_ADDRESSES,
        lambda found: [[name, str(address)] for name, address in found.items()],
        lambda value: {name: _address(text) for name, text in value},
    ),
    "boolean": _operation(ENABLED, _same, _same),
    "level": _level(LEVEL, WARNING="WARN"),
    "mode": _operation(MODE, lambda mode: mode.value, Mode),
    "outbound-v4": _operation(IPV4, _same, _same),
    "outbound-v6": _operation(IPV6, _same, _same),
    "proxy-uri": _operation(PROXY, _proxy_to_json, _proxy),
    "severity": _level(SEVERITY, **{level.name: level.name.lower() for level in LogLevel}),
    "switch": _operation(SWITCH, _same, _same),
    "target": _operation(TARGET, str, _address),
    "threshold": _level(THRESHOLD, WARNING="WARN"),
    "transport-list": _operation(WANTED, list, tuple),
    "transport-name": _operation(NAME, _same, _same),
    "version-list": _operation(OFFERED, list, tuple),
    "versions/negotiate": PlainOperation(_negotiate),
}
