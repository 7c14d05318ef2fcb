"""What a transport process makes of the settings it was started with, one rule at a time.

``Config.from_process`` puts together what stands here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import evolve

from ptipc.core.codecs import NAME, Address
from ptipc.core.dialects import PT1, Dialect, Role, Stream, dialect_for, negotiate
from ptipc.core.errors import ConfigError
from ptipc.core.escapes import JSON_OPTIONS
from ptipc.core.messages import VersionError
from ptipc.core.parameters import is_ours, spellings
from ptipc.core.settings import Found, Settings, environment_error, find_versions

__all__ = ["ReadFile", "Reading", "is_absolute", "is_nested", "negotiated", "role_of"]

ReadFile: TypeAlias = Callable[[str], str]
"""Gives the text of a file; raises ``OSError``, or ``ValueError`` if it is not text."""

_ABSOLUTE = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")


def is_absolute(path: str | None) -> bool:
    """Whether a path, if there is one, is absolute, be it here or on Windows."""
    return path is None or _ABSOLUTE.match(path) is not None


def negotiated(
    environ: Mapping[str, str], argv: Sequence[str], supported: tuple[Dialect, ...]
) -> Dialect:
    """The edition to speak, with the stream on which this host will hear of errors (C9)."""
    found = find_versions(environ, argv)
    if found is None:
        # C5: where there are variables, only an edition with variables can be meant.
        variables = any(text and is_ours(name) for name, text in environ.items())
        usable = [
            dialect
            for dialect in supported
            if not dialect.versions_required
            and (dialect.environment if variables else dialect.flags)
        ]
        dialect = negotiate(None, usable)
        if dialect is None:
            where = " or ".join(spellings(("versions",), PT1))
            raise environment_error(f"no list of versions in {where}", PT1)
        return evolve(dialect, error_stream=Stream.STDOUT)
    offered = found.value(PT1)
    understood = [dialect for token in offered if (dialect := dialect_for(token))]
    newest = max(understood, key=lambda dialect: dialect.edition, default=PT1)
    dialect = negotiate(offered, supported)
    said_in = dialect or newest
    if not understood or any(each.error_stream is Stream.STDOUT for each in understood):
        said_in = evolve(said_in, error_stream=Stream.STDOUT)
    if dialect is None:
        text = f"{found.spelling}: no version that is spoken here: {found.text!r}"
        raise ConfigError(VersionError(), text, said_in)
    return said_in


def role_of(found: Sequence[Found], dialect: Dialect) -> Role:
    """Client or server: what is said, or else what it looks like, or else the default (C7, C8)."""
    said: dict[Role, str] = {}
    hints = set()
    for each in found:
        row = each.parameter
        if row.name in ("client", "server") and each.value(dialect):
            said[Role(row.name)] = each.spelling
        elif row.name == "transports" and row.role is not None:
            said[row.role] = each.spelling
        elif row.role is not None and (not each.by_flag or dialect.default_role is None):
            # PT 2.0 has one flag for the transports of either role, and none for the role; but a
            # server cannot do without a flag that only servers have.
            hints.add(row.role)
    if len(said) > 1:
        both = " and ".join(said.values())
        raise environment_error(f"{both}: a process is a client or a server, not both", dialect)
    if said:
        return next(iter(said))
    if len(hints) == 1:
        return hints.pop()
    return dialect.default_role or Role.CLIENT


def is_nested(options: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether options that came in JSON have an object for each of some transports (C35)."""
    return all(name in names and isinstance(value, dict) for name, value in options.items())


def _by_transport(options: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """The options of each transport in a JSON object that has either form (C35)."""
    if is_nested(options, names):
        return options
    if len(names) == 1:
        return {names[0]: options}
    if all(isinstance(value, dict) for value in options.values()):
        return options
    raise ValueError("neither an object for each of the transports nor the options of one")


class Reading:
    """The settings of one launch while a ``Config`` is made of them."""

    def __init__(self, settings: Settings, role: Role) -> None:
        self.settings = settings
        self._dialect = settings.dialect
        self._role = role
        self.warnings = list(settings.warnings)

    def _warn(self, setting: str, text: str) -> None:
        self.warnings.append(f"{self.settings.found[setting].spelling}: {text}")

    def _missing(self, what: str, role: Role | None, *names: str) -> ConfigError:
        use = " or ".join(spellings(names, self._dialect, role))
        return environment_error(f"{what}; use {use}", self._dialect)

    def unknown(self, environ: Mapping[str, str], found: Sequence[Found]) -> None:
        """Variables of the protocol, but not of the edition."""
        known = {each.spelling for each in found}
        for name, text in environ.items():
            if text and is_ours(name) and name not in known:
                self.warnings.append(f"{name}: not a variable of {self._dialect}, ignored")

    def transports(self) -> tuple[str, ...]:
        """The names of the transports to start, without what cannot be a name."""
        one = self.settings.get("transport")
        if one is not None:
            return (one,)
        wanted = self.settings.get("transports")
        if wanted is None:
            # The role may have been guessed.
            raise self._missing("no transport is asked for", None, "transport", "transports")
        names = []
        for name in wanted:
            try:
                names.append(NAME.parse(name))
            except ValueError as error:
                # PT 1, 3.2.2: "SHOULD ignore PT names that it does not recognize"; of these there
                # cannot be a transport.  "*" was "all" once (C69).
                self._warn("transports", f"{error}, ignored")
        return tuple(names)

    def state(self) -> str | None:
        """The state directory, or the edition's default."""
        given: str | None = self.settings.get("state", self._dialect.state_default)
        if "state" in self.settings.found and not (
            self._dialect.relative_state or is_absolute(given)
        ):
            self._warn("state", f"a relative path: {given!r}")  # C65
        return given

    def address(self, name: str) -> Address | None:
        """An address:port, or its two halves joined."""
        whole: Address | None = self.settings.get(name)
        halves = self.settings.joined(name)
        return Address(*halves) if halves else whole

    def bind_addresses(self, transports: Sequence[str]) -> dict[str, Address]:
        """Where the transports listen, by name."""
        given: Mapping[str, Address] = self.settings.get("bind_addresses", {})
        one = self.address("bind")
        if one is not None:
            given = {transports[0]: one}
        kept = self._wanted("bind_addresses", given, transports)
        if self._role is Role.SERVER and self._dialect.bind_required:
            for name in transports:
                if name not in kept:
                    what = f"no address for {name!r} to listen on"
                    raise self._missing(what, self._role, "bind_addresses", "bind_host")
        return kept

    def _wanted(
        self, setting: str, given: Mapping[str, Any], names: Sequence[str]
    ) -> dict[str, Any]:
        for name in given:
            if name not in names:
                self._warn(setting, f"{name!r} is not asked for, ignored")
        return {name: given[name] for name in names if name in given}

    def options(self, names: Sequence[str], read_file: ReadFile | None) -> dict[str, Any]:
        """The options, or the path of their file if it is not to be read."""
        name = "options"
        found = self.settings.found.get(name)
        path: str | None = self.settings.get("options_file")
        if path is not None and read_file is None:
            return {"options_file": path}
        if path is not None and read_file is not None:
            name = "options_file"
            found = self._file(self.settings.found[name], path, read_file)
        if found is None:
            return {}
        given = found.value(self._dialect)
        if found.parameter.codec is JSON_OPTIONS:
            try:
                given = _by_transport(given, names)
            except ValueError as error:
                raise environment_error(f"{found.spelling}: {error}", self._dialect) from None
        return {"options": self._wanted(name, given, names)}

    def _file(self, found: Found, path: str, read_file: ReadFile) -> Found:
        """The options of a file, as if they had been given by its flag."""
        try:
            text = read_file(path)
        except OSError as error:
            problem = str(error)
        except ValueError:
            problem = f"not a file of text: {path!r}"
        else:
            return evolve(found, parameter=evolve(found.parameter, codec=JSON_OPTIONS), text=text)
        raise environment_error(f"{found.spelling}: {problem}", self._dialect)

    def extended_port(self, target: Address | None) -> dict[str, Any]:
        """The Extended ORPort and the file with its key; a server needs this or a target (C57)."""
        port: Address | None = self.settings.get("extended_port")
        cookie: str | None = self.settings.get("auth_cookie")
        if port is None and cookie is not None:
            # "Forbidden without" the port; but only pyptlib minds.
            self._warn("auth_cookie", "there is no extended port, ignored")
            cookie = None
        if not is_absolute(cookie):
            self._warn("auth_cookie", f"a relative path: {cookie!r}")
        if port is not None and not port.is_loopback:
            # ext-orport-spec section 4: what it carries is neither encrypted nor authenticated.
            self._warn("extended_port", f"not on this machine: {str(port)!r}")
        needed = self._role is Role.SERVER and self._dialect.target_required
        if needed and target is None and port is None:
            what = "a server has to be told where to connect to"
            raise self._missing(what, self._role, "target", "extended_port")
        return {"extended_port": port, "auth_cookie": cookie}
