"""With what a process is started: the settings of a case, in the spelling of an edition.

A case says settings in the words of ``config/write``; what no host would say it gives ``raw``: by
the name of the setting, or as it is, variable by variable and flag by flag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from ptipc.conformance.operations.config import SETTINGS
from ptipc.core.config import Config
from ptipc.core.dialects import Dialect, Role
from ptipc.core.parameters import PARAMETERS, Parameter, is_flag
from ptipc.core.settings import Channel, parameter_for, usual_channel

__all__ = ["Launch", "config_of", "launch_of"]


def _words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(words)


@frozen(kw_only=True)
class Launch:
    """What a process is started with, besides the environment that every process has."""

    command: tuple[str, ...] = field(converter=_words)
    argv: tuple[str, ...] = field(converter=_words)
    """The flags behind the command."""
    set: Mapping[str, str]
    """The variables of the protocol."""
    extra: Mapping[str, str] = field(factory=dict)
    """Variables that the user of the tester wants."""

    def as_json(self) -> dict[str, Any]:
        """For a transcript."""
        return {
            "command": list(self.command),
            "argv": list(self.argv),
            "set": dict(self.set),
            "extra": dict(self.extra),
        }


# --- what a host would say ------------------------------------------------------------------------


def config_of(settings: Mapping[str, Any], dialect: Dialect, role: Role) -> Config:
    """The settings of a case; raises LookupError or ValueError for what is none."""
    given: dict[str, Any] = {"exit_on_stdin_close": False, "state": None}
    for key, value in settings.items():
        if key == "transports":
            given[key] = value
        elif value is not None:
            name, read, _ = SETTINGS[key]
            given[name] = read(value)
    return Config(dialect=dialect, role=role, **given)


# --- what no host would say -----------------------------------------------------------------------

_RAW = {"ipc_log_level": "log_threshold", "optionsFile": "options_file"}
_FAMILIES = (
    {"transport", "transports"},
    {"bind_addresses", "bind_host", "bind_port"},
    {"target", "target_host", "target_port"},
    {"listen", "listen_host", "listen_port"},
    {"role", "client", "server"},
)


@frozen
class _Said:
    """One setting as it is spelled; the text of a bare flag is None."""

    name: str
    spelling: str
    text: str | None


def _said(variables: Mapping[str, str], argv: Sequence[str], dialect: Dialect) -> Iterator[_Said]:
    rows = {
        spelling: row
        for row in reversed(PARAMETERS)
        if row.applies(dialect)
        for spelling in row.spellings
    }
    for name, text in variables.items():
        yield _Said(rows[name].name, name, text)
    words = iter(argv)
    for flag in words:
        yield _Said(rows[flag].name, flag, None if rows[flag].bare else next(words))


def _as_lists(said: list[_Said]) -> list[_Said]:
    """The flags for one transport, if there are any, as those for a list of them."""
    found = {each.name: each.text for each in said}
    if found.get("transport") is None:
        return said
    name = found["transport"]
    kept = [each for each in said if each.name not in ("transport", "bind_host", "bind_port")]
    kept.append(_Said("transports", "-transports", name))
    if "bind_host" in found:
        host = found["bind_host"] or ""
        host = f"[{host}]" if ":" in host else host
        kept.append(_Said("bind_addresses", "-bindaddr", f"{name}-{host}:{found['bind_port']}"))
    return kept


def _spell(row: Parameter, text: str, channel: Channel) -> _Said:
    spelling = row.spelling(channel == "flags")
    if is_flag(spelling) and row.bare:
        return _Said(row.name, f"{spelling}={text}", None)
    return _Said(row.name, spelling, text)


def _reaching(settings: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The settings with how a client is told where its server is, if nobody tells it by SOCKS."""
    told = dict(settings)
    address = told.pop("reach")
    if parameter_for("target", dialect, Role.CLIENT, "flags"):
        return {**told, "target": address}
    options = dict(told.get("options") or {})
    name = told["transports"][0]
    options[name] = [*options.get(name, ()), ["serverAddress", address]]  # PT 3.0, 1.1.3
    return {**told, "options": options}


def launch_of(
    input: Mapping[str, Any],
    ordinary: Mapping[str, Any],
    dialect: Dialect,
    role: Role,
    *,
    command: Sequence[str],
    extra: Mapping[str, str],
) -> Launch:
    """What a case (its ``input``, filled) starts a process with.

    ``ordinary`` are the settings of an ordinary launch; the case adds its own.  Raises LookupError,
    ValueError or LocalProtocolError if the case is not well formed.
    """
    channel: Channel = input.get("channel") or usual_channel(dialect)
    settings = {**ordinary, **input.get("settings", {})}
    if "reach" in settings:
        settings = _reaching(settings, dialect)
    invocation = config_of(settings, dialect, role).to_process(channel)
    said = list(_said(invocation.set, invocation.argv, dialect))
    raw = {_RAW.get(name, name): text for name, text in input.get("raw", {}).items()}
    if any(name in family for name in raw for family in _FAMILIES[:2]):
        said = _as_lists(said)
    for name, text in raw.items():
        family = next((each for each in _FAMILIES if name in each), {name})
        said = [each for each in said if each.name not in family]
        if text is None:
            continue
        row = parameter_for(name, dialect, role, channel)
        if row is None:
            raise LookupError(f"{dialect} has no setting {name!r}")
        text = text if isinstance(text, str) else json.dumps(text, separators=(",", ":"))
        said.append(_spell(row, text, channel))
    variables = {each.spelling: each.text or "" for each in said if not is_flag(each.spelling)}
    argv = [
        word
        for each in said
        if is_flag(each.spelling)
        for word in ([each.spelling] if each.text is None else [each.spelling, each.text])
    ]
    for name in input.get("unset", ()):
        variables.pop(name, None)
    return Launch(
        command=command,
        argv=[*argv, *input.get("argv", ())],
        set={**variables, **input.get("set", {})},
        extra=extra,
    )
