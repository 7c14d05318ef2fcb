"""``config/read`` and ``config/write``: the settings of a launch, from and to what it is given.

A key of the settings that is absent has the value it has when a host says nothing: ``state`` null,
``exit_on_stdin_close`` false, ``ipc_log_level`` NONE, ``mode`` socks5, and otherwise none or null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptipc.core.codecs import MODE, TARGET, THRESHOLD, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.dialects import DIALECTS, Dialect, Role
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.escapes import Args
from ptipc.core.messages import Version, emit_line, exit_code, stream_of
from tests.operations import Operation


def _same(value: Any) -> Any:
    return value


def _proxy_from(value: dict[str, str]) -> UpstreamProxy:
    address = TARGET.parse(value["address"])
    return UpstreamProxy(value["type"], address, value.get("user"), value.get("password"))


def _proxy_to(proxy: UpstreamProxy) -> dict[str, str]:
    known = {"user": proxy.user, "password": proxy.password}
    given = {key: text for key, text in known.items() if text is not None}
    return {"type": proxy.scheme, "address": str(proxy.address), **given}


def _addresses(value: dict[str, str]) -> Any:
    return {name: TARGET.parse(address) for name, address in value.items()}


def _options(value: dict[str, list[list[Any]]]) -> Any:
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


def _config(said: dict[str, Any], dialect: Dialect) -> Config:
    given = {name: parse(said[key]) for key, (name, parse, _) in SETTINGS.items() if key in said}
    return Config(
        dialect=dialect,
        role=Role(said["role"]),
        transports=said["transports"],
        **{"exit_on_stdin_close": False, **given},
    )


def _fill(value: Any, dialect: Dialect) -> Any:
    """``{version}`` in a case for several editions: the token of the edition."""
    if isinstance(value, str):
        return value.replace("{version}", dialect.version)
    if isinstance(value, list):
        return [_fill(each, dialect) for each in value]
    if isinstance(value, dict):
        return {_fill(key, dialect): _fill(each, dialect) for key, each in value.items()}
    return value


def _like(found: Any, expected: Any, dialect: Dialect) -> Any:
    """What was found, in the words of the case where they mean the same.

    ``{version}`` is the token of the edition, ``{stream}`` where the edition says errors; of the
    words that an error may mention, those count that the case asks for.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        return {key: _like(each, expected.get(key), dialect) for key, each in found.items()}
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [_like(each, other, dialect) for each, other in zip(found, expected, strict=True)]
    if isinstance(expected, str) and found == expected.replace(
        "{version}", dialect.version
    ).replace("{stream}", dialect.error_stream.value):
        return expected
    return found


def _error(error: ConfigError, expected: Any) -> dict[str, Any]:
    line = emit_line(error.message, error.dialect)
    said: dict[str, Any] = {
        "keyword": line.split(" ", 1)[0],
        "exit": exit_code(error.message),
        "stream": stream_of(error.message, error.dialect).value,
        "mentions": [word for word in expected["error"]["mentions"] if word in str(error)],
    }
    if said["keyword"] == "PROXY-ERROR":
        said["after"] = [emit_line(Version(error.dialect.version), error.dialect)]
    return {"error": said}


def _read(case: dict[str, Any], dialect: Dialect) -> Any:
    given = _fill(case["input"], dialect)
    files = given.get("files")

    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "no such file", path)
        text = files[path]
        assert isinstance(text, str)
        return text

    try:
        config = Config.from_process(
            given.get("environ", {}),
            given.get("argv", []),
            [each for each in DIALECTS if each.version in given.get("supported", [each.version])],
            None if files is None else read_file,
        )
    except ConfigError as error:
        found = _error(error, case["output"])
    else:
        found = _settings(config)
    return _like(found, case["output"], dialect)


def _write(case: dict[str, Any], dialect: Dialect) -> Any:
    given = case["input"]
    try:
        invocation = _config(given["settings"], dialect).to_process(
            given.get("channel"), flat_options=given.get("flat_options", False)
        )
    except LocalProtocolError:
        return {"error": "local"}
    said: dict[str, Any] = {"set": dict(invocation.set), "argv": list(invocation.argv)}
    if "inherited" in given:
        said["environment"] = invocation.environment(given["inherited"])
    return _like(said, case["output"], dialect)


OPERATIONS = {"config/read": Operation(_read), "config/write": Operation(_write)}
