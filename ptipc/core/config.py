"""``Config``: what a transport process is told, joined, checked and negotiated.

``Config.from_process`` is the transport's way from variables and flags to a ``Config``;
``Config.to_process`` is the host's way back.  What is read with a meaning that the host may not
have had in mind leaves a warning.
Source: PT 1 section 3.2, PT 2.0 section 3.3.1, PT 2.1 to 3.0 section 1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, field, frozen

from ptipc.core.codecs import TARGET, Address, LogLevel, Mode, UpstreamProxy
from ptipc.core.configread import ReadFile, Reading, is_absolute, is_nested, negotiated, role_of
from ptipc.core.dialects import DIALECTS, Dialect, Role
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import JSON_OPTIONS, NO_ARGS, Args, Options
from ptipc.core.parameters import is_ours
from ptipc.core.settings import Channel, find, parameter_for, read, usual_channel, write

__all__ = ["Config", "Invocation"]

_ANYWHERE = Address("0.0.0.0", 0)
"""What tor says where nothing is said: any address, any port (C39)."""


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _given(options: Mapping[str, Mapping[str, Any] | Iterable[tuple[str, Any]]]) -> Options:
    """Options as a table of ``Args``, without transports that have none."""
    found = {name: Args(args) for name, args in options.items()}
    return {name: args for name, args in found.items() if args}


@frozen
class Invocation:
    """What a host starts a transport process with."""

    set: Mapping[str, str] = field(repr=False)
    """The variables of the protocol; there may be secrets in them, as in ``argv``."""

    argv: tuple[str, ...] = field(repr=False)
    """The flags, to stand behind the name of the program and its own arguments."""

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """A whole environment: what is inherited, without any setting that is not ours (C38)."""
        kept = {name: text for name, text in inherited.items() if not is_ours(name)}
        return {**kept, **self.set}


@frozen(kw_only=True)
class Config:
    """What a transport process is told by the host that starts it.

    A setting that an edition lacks has its default value there; ``to_process`` refuses any other.
    """

    dialect: Dialect = field(repr=str)
    """The edition that is spoken; its ``version`` is the token to answer with."""

    role: Role

    transports: tuple[str, ...] = field(converter=_names)
    """The names of the transports to start.  Which of them are known is not judged here (C24)."""

    state: str | None = field(default=Factory(lambda self: self.dialect.state_default, True))
    """The only directory for files; None: there is none (C1)."""

    exit_on_stdin_close: bool = True
    """Whether the end of standard input is a request to end; a host should always say so (C1)."""

    log_threshold: LogLevel = LogLevel.NONE
    """The level from which on LOG lines are wanted, in editions that have such a setting."""

    mode: Mode = Mode.SOCKS5
    """What a client listens for, and what a server forwards."""

    proxy: UpstreamProxy | None = None
    """The upstream proxy of a client; all connections have to go through it."""

    listen: Address | None = None
    """Where a client listens; None: it chooses."""

    bind_addresses: Mapping[str, Address] = field(factory=dict, converter=dict)
    """Where a server's transports listen, by name; port 0: the transport process chooses (C39)."""

    target: Address | None = None
    """Where a server connects to; in transparent modes of PT 2.0 to 2.2, a client, too."""

    extended_port: Address | None = None
    """The host's Extended ORPort.  If there is a ``target`` as well, this goes first (C58)."""

    auth_cookie: str | None = None
    """The file with the key to the Extended ORPort."""

    options: Options = field(factory=dict, converter=_given)
    """What the transports are told, by name; values that came in JSON may be of any JSON type."""

    options_file: str | None = None
    """The file with the options, if it has not been read."""

    outbound_v4: str | None = None
    """The source address of IPv4 connections; not of those to 127.0.0.0/8."""

    outbound_v6: str | None = None
    """The source address of IPv6 connections; not of those to ::1."""

    warnings: tuple[str, ...] = field(default=(), eq=False)
    """What a careful host would not have done, for the log."""

    def options_for(self, name: str) -> Args:
        """What a transport is told."""
        return self.options.get(name, NO_ARGS)

    def bind_address_for(self, name: str) -> Address | None:
        """Where a server's transport listens; None: it chooses."""
        return self.bind_addresses.get(name)

    def server_for(self, name: str) -> Address:
        """Where the server is, for applications of a client that cannot say it (C36).

        Raises LocalProtocolError if it is not said, or in a way that cannot be read.
        Source: PT 3.0 section 1.1.2.
        """
        given = self.options_for(name).get("serverAddress")
        if given is not None:
            try:
                return TARGET.parse(str(given))
            except ValueError as error:
                raise LocalProtocolError(f"the option serverAddress: {error}") from None
        if self.target is None:
            raise LocalProtocolError(
                f"the mode {self.mode.value} needs to know the server: option serverAddress"
            )
        return self.target

    # --- the transport's way

    @classmethod
    def from_process(
        cls,
        environ: Mapping[str, str],
        argv: Sequence[str] = (),
        supported: Iterable[Dialect] = DIALECTS,
        read_file: ReadFile | None = None,
    ) -> Config:
        """Read what a transport process was started with.

        ``environ`` and ``argv`` are those of the process, ``argv`` without the program's name;
        ``read_file`` gives the text of the options file, which is left unread without it.
        Raises ConfigError: first if no version fits, then for anything that is wrong, and only
        after that for the upstream proxy, for that answer needs a ``VERSION`` before it (C11, C12).
        """
        dialect = negotiated(environ, argv, tuple(supported))
        found = find(environ, argv, dialect)
        role = role_of(found, dialect)
        reading = Reading(read(found, dialect, role), role)
        reading.unknown(environ, found)
        transports = reading.transports()
        settings = reading.settings
        given: dict[str, Any] = {
            "state": reading.state(),
            "exit_on_stdin_close": settings.get("exit_on_stdin_close", False),
            "log_threshold": settings.get("log_threshold", LogLevel.NONE),
            "mode": settings.get("mode", Mode.SOCKS5),
            "listen": reading.address("listen"),
            "bind_addresses": reading.bind_addresses(transports),
            "target": reading.address("target"),
            "outbound_v4": settings.get("outbound_v4"),
            "outbound_v6": settings.get("outbound_v6"),
            **reading.options(transports, read_file),
        }
        given |= reading.extended_port(given["target"])
        given["proxy"] = settings.get("proxy")  # C42: PROXY-ERROR, and last of all
        return cls(
            dialect=dialect,
            role=role,
            transports=transports,
            warnings=tuple(reading.warnings),
            **given,
        )

    # --- the host's way

    def to_process(
        self,
        channel: Channel | None = None,
        *,
        flat_options: bool = False,
        offered: Iterable[Dialect] = (),
    ) -> Invocation:
        """Write what a transport process has to be started with.

        ``channel`` is "environment" or "flags"; without it, the edition's own.  A setting that has
        no spelling in one channel is said in the other, if the edition has it.  ``flat_options``
        writes the options of the only transport without its name, as shapeshifter-dispatcher
        expects them since version 3.1 (C35).  ``offered`` are other editions that the process may
        choose; it then finds the settings as this edition writes them.
        Raises LocalProtocolError if the edition cannot say a setting, or if something is missing.
        """
        channel = channel or usual_channel(self.dialect)
        if not (self.dialect.flags if channel == "flags" else self.dialect.environment):
            raise LocalProtocolError(f"{self.dialect} is not configured by {channel}")
        self._check()
        settings = {**self._common(channel), **self._by_role(channel)}
        settings["versions"] += tuple(dialect.version for dialect in offered)
        if self.options:
            settings["options"] = self._options(channel, flat_options)
        variables, argv = write(settings, self.dialect, self.role, channel)
        if (
            self.dialect.empty_extended_port
            and self.role is Role.SERVER
            and self.extended_port is None
        ):
            # PT 1, 3.2.3: "MUST" be empty then, for pyptlib once died without it (C37).
            variables["TOR_PT_EXTENDED_SERVER_PORT"] = ""
        return Invocation(variables, argv)

    def _check(self) -> None:
        """Refuse what no edition can say, or what no transport process could use."""
        if not self.transports or len(set(self.transports)) < len(self.transports):
            raise LocalProtocolError(f"transports: none, or one twice: {self.transports!r}")
        for setting, names in (
            ("bind_addresses", self.bind_addresses),
            ("options", self.options),
        ):
            for name in names:
                if name not in self.transports:
                    raise LocalProtocolError(f"{setting}: {name!r} is not among the transports")
        if self._says_state and not (self.dialect.relative_state or is_absolute(self.state)):
            raise LocalProtocolError(f"state: a relative path in {self.dialect}: {self.state!r}")
        if not is_absolute(self.auth_cookie):
            raise LocalProtocolError(f"auth_cookie: a relative path: {self.auth_cookie!r}")
        if self.auth_cookie is not None and self.extended_port is None:
            raise LocalProtocolError("auth_cookie: there is no extended_port")
        if self.role is Role.SERVER and self.target is None and self.extended_port is None:
            raise LocalProtocolError("target: a server needs this or extended_port")

    @property
    def _says_state(self) -> bool:
        return self.state is not None and self.state != self.dialect.state_default

    def _common(self, channel: Channel) -> dict[str, Any]:
        """What is said to both roles; nothing that is as it would be if it were not said."""
        settings: dict[str, Any] = {"versions": (self.dialect.version,)}
        if parameter_for(self.role.value, self.dialect, self.role, channel):
            settings[self.role.value] = True  # C8
        if self._says_state:
            settings["state"] = self.state
        if self.exit_on_stdin_close:
            settings["exit_on_stdin_close"] = True
        if self.log_threshold is not LogLevel.NONE:
            settings["log_threshold"] = self.log_threshold
        if self.mode is not Mode.SOCKS5:
            settings["mode"] = self.mode
        for name in ("outbound_v4", "outbound_v6", "options_file"):
            if getattr(self, name) is not None:
                settings[name] = getattr(self, name)
        return settings

    def _by_role(self, channel: Channel) -> dict[str, Any]:
        """The transports, where they listen, and where they connect to."""
        # C56: the flag for one transport goes with those for one address, the list with the list.
        one = (
            channel == "flags"
            and len(self.transports) == 1
            and parameter_for("transport", self.dialect, self.role, channel)
        )
        settings: dict[str, Any] = (
            {"transport": self.transports[0]} if one else {"transports": self.transports}
        )
        if self.role is Role.SERVER and one:
            address = self.bind_addresses.get(self.transports[0], _ANYWHERE)
            settings |= {"bind_host": address.host, "bind_port": address.port}
        elif self.role is Role.SERVER or self.bind_addresses:
            settings["bind_addresses"] = {  # C39, C40
                name: self.bind_addresses.get(name, _ANYWHERE) for name in self.transports
            }
        for name in ("listen", "proxy", "target", "extended_port", "auth_cookie"):
            if getattr(self, name) is not None:
                settings[name] = getattr(self, name)
        return settings

    def _options(self, channel: Channel, flat: bool) -> Mapping[str, Any]:
        parameter = parameter_for("options", self.dialect, self.role, channel)
        if parameter is None or parameter.codec is not JSON_OPTIONS:
            if flat:
                raise LocalProtocolError(f"options: {self.dialect} has no flat form")
            return self.options
        nested = {name: dict(args.pairs) for name, args in self.options.items()}
        if any(len(nested[name]) < len(args.pairs) for name, args in self.options.items()):
            raise LocalProtocolError("options: a name is repeated, which JSON cannot hold")
        if not flat:
            return nested
        if len(self.transports) > 1 or is_nested(nested[self.transports[0]], self.transports):
            raise LocalProtocolError("options: the flat form would be misread")
        return nested[self.transports[0]]
