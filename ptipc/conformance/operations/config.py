"""``config/read`` and ``config/write``: the settings of a launch, from and to what it is given.

A key of the settings that is absent has the value it has when a host says nothing: ``state`` null,
``exit_on_stdin_close`` false, ``ipc_log_level`` NONE, ``mode`` socks5, and otherwise none or null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptipc.conformance.operations.kinds import Operation, PlainOperation
from ptipc.core.codecs import MODE, TARGET, THRESHOLD, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.dialects import DIALECTS, Dialect, Role
from ptipc.core.errors import ConfigError
from ptipc.core.escapes import Args
from ptipc.core.messages import Version, emit_line, exit_code, stream_of

__all__ = ["OPERATIONS"]


def _same(value: Any) -> Any:
    return value


def _proxy_from(value: Mapping[str, str]) -> UpstreamProxy:
    address = TARGET.parse(value["address"])
    return UpstreamProxy(value["type"], address, value.get("user"), value.get("password"))


def _proxy_to(proxy: UpstreamProxy) -> dict[str, str]:
    known = {"user": proxy.user, "password": proxy.password}
    given = {key: text for key, text in known.items() if text is not None}
    return {"type": proxy.scheme, "address": str(proxy.address), **given}


def _addresses(value: Mapping[str, str]) -> Any:
    return {name: TARGET.parse(address) for name, address in value.items()}


def _options(value: Mapping[str, list[list[Any]]]) -> Any:
    return {name: Args([(key, said) for key, said in pairs]) for name, pairs in value.items()}


SETTINGS: Mapping[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "state": ("state", _same, _same),
    "exit_on_stdin_close": ("exit_on_stdin_close", _same, _same),
    "ipc_log_level": ("log_threshold", THRESHOLD.parse, THRESHOLD.emit),
    "mode": ("mode", MODE.parse, MODE.emit),
    "proxy": ("proxy", _proxy_from, _proxy_to),
    "listen": ("listen", TARGET.parse, str),
    "bind_addresses": (
        "bind_addresses",
        _addresses,
        lambda found: {name: str(address) for name, address in found.items()},
    ),
    "target": ("target", TARGET.parse, str),
    "extended_port": ("extended_port", TARGET.parse, str),
    "auth_cookie": ("auth_cookie", _same, _same),
    "options": (
        "options",
        _options,
        lambda found: {name: [list(pair) for pair in args.pairs] for name, args in found.items()},
    ),
    "options_file": ("options_file", _same, _same),
    "outbound_v4": ("outbound_v4", _same, _same),
    "outbound_v6": ("outbound_v6", _same, _same),
}
"""How each setting is called in the fixtures, and how it is told there."""

UNSAID = Config(
    dialect=DIALECTS[0],
    role=Role.CLIENT,
    transports=(),
    state=None,
    exit_on_stdin_close=False,
)
"""Every setting as it is when nothing is said of it."""


def _settings(config: Config) -> dict[str, Any]:
    said: dict[str, Any] = {
        "version": config.dialect.version,
        "role": config.role.value,
        "transports": list(config.transports),
    }
    for key, (name, _, told) in SETTINGS.items():
        value = getattr(config, name)
        if value != getattr(UNSAID, name):
            said[key] = told(value)
    if config.warnings:
        said["warnings"] = True
    return said


def _config(said: Mapping[str, Any], dialect: Dialect) -> Config:
    given = {name: parse(said[key]) for key, (name, parse, _) in SETTINGS.items() if key in said}
    return Config(
        dialect=dialect,
        role=Role(said["role"]),
        transports=said["transports"],
        **{"exit_on_stdin_close": False, **given},
    )


def _error(error: ConfigError) -> dict[str, Any]:
    line = emit_line(error.message, error.dialect)
    said: dict[str, Any] = {
        "keyword": line.split(" ", 1)[0],
        "exit": exit_code(error.message),
        "stream": stream_of(error.message, error.dialect).value,
        "text": str(error),
    }
    if said["keyword"] == "PROXY-ERROR":
        said["after"] = [emit_line(Version(error.dialect.version), error.dialect)]
    return {"error": said}


def _read(input: Mapping[str, Any], dialect: Dialect) -> Any:
    files: Mapping[str, str] = input.get("files", {})

    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "no such file", path)
        return files[path]

    supported = input.get("supported", [dialect.version])
    try:
        config = Config.from_process(
            input.get("environ", {}),
            input.get("argv", []),
            [each for each in DIALECTS if each.version in supported],
            read_file if "files" in input else None,
        )
    except ConfigError as error:
        return _error(error)
    return _settings(config)


def _write(input: Mapping[str, Any], dialect: Dialect) -> Any:
    invocation = _config(input["settings"], dialect).to_process(
        input.get("channel"), flat_options=input.get("flat_options", False)
    )
    said: dict[str, Any] = {"set": dict(invocation.set), "argv": list(invocation.argv)}
    if "inherited" in input:
        said["environment"] = dict(invocation.environment(input["inherited"]))
    return said


OPERATIONS: Mapping[str, Operation] = {
    "config/read": PlainOperation(_read),
    "config/write": PlainOperation(_write),
}
