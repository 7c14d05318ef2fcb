"""The settings that a host gives to a transport process: one row of ``PARAMETERS`` per spelling.

Two spellings of one setting are two rows with one name.  A row says how a setting is spelled, in
which editions, for which role, and which message answers a value that cannot be read;
``EXCLUSIONS`` and ``NEEDS`` say what may and what has to stand together.  ``settings`` walks the
rows in both directions; what the settings amount to is the business of ``config``.
Source: PT 1 section 3.2, PT 2.0 section 3.3.1, PT 2.1 to 3.0 section 1.1; dialects.md 1.2 and 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from ptipc.core.codecs import (
    ADDRESS,
    BIND_ADDRESSES,
    ENABLED,
    HOST,
    IP,
    IPV4,
    IPV6,
    MODE,
    NAME,
    OFFERED,
    PATH,
    PORT,
    PROXY,
    SWITCH,
    TARGET,
    THRESHOLD,
    WANTED,
    Codec,
)
from ptipc.core.dialects import DIALECTS, PT1, PT2_0, PT2_2, PT3_0, Dialect, Role, Row
from ptipc.core.escapes import JSON_OPTIONS, OPTIONS, OPTIONS_EQUALS
from ptipc.core.messages import EnvError, ProxyError

__all__ = [
    "ENVIRONMENT_PREFIX",
    "EXCLUSIONS",
    "NEEDS",
    "PARAMETERS",
    "Exclusion",
    "Needs",
    "Parameter",
    "Reference",
    "is_flag",
    "is_ours",
    "reference",
    "spellings",
]

ENVIRONMENT_PREFIX = "TOR_PT_"
"""What the name of every variable of the protocol begins with; the host need not be tor."""


@frozen
class Parameter(Row):
    """One spelling of one setting."""

    name: str
    """What the setting is called in this library; its spellings share it."""

    codec: Codec[Any] = field(repr=False)

    env: str | None = field(default=None, kw_only=True)
    """The variable."""

    flag: str | None = field(default=None, kw_only=True)
    """The flag, with one hyphen; two are read as well (C53)."""

    bare: bool = field(default=False, kw_only=True)
    """Whether the flag needs no value: it stands for yes (C52)."""

    error: type[EnvError] | type[ProxyError] = field(default=EnvError, kw_only=True)
    """What a transport process answers to a value that cannot be read."""

    meaning: str = field(default="", kw_only=True)
    """What the setting is for; the first spelling of a name says it for all."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """The variable and the flag, as far as there are."""
        return tuple(each for each in (self.env, self.flag) if each)

    def spelling(self, by_flag: bool) -> str:
        """How to spell the setting in a channel; in the other one if there is no way in this."""
        return min(self.spellings, key=lambda each: is_flag(each) != by_flag)


@frozen
class Exclusion:
    """Two settings of which a host gives one at most."""

    names: tuple[str, str]
    rule: str


@frozen
class Needs:
    """A setting that means nothing without others."""

    name: str
    others: tuple[str, ...]
    rule: str


PARAMETERS = (
    # PT 3.0 Base section 4.2: the flag is looked at first, and in its absence the variable, even by
    # an edition that knows no other variables.
    Parameter(
        "versions",
        OFFERED,
        flag="-ptversion",
        since=PT2_0,
        meaning="the editions of the protocol that the host speaks",
    ),
    Parameter("versions", OFFERED, env="TOR_PT_MANAGED_TRANSPORT_VER"),
    # The first draft of 2.0, and dispatchers that were written by it.
    Parameter("versions", OFFERED, flag="-version", since=PT2_0, until=PT2_0),
    Parameter(
        "client",
        SWITCH,
        flag="-client",
        bare=True,
        since=PT2_2,
        meaning="the process is a client: the near end of the tunnel",
    ),
    Parameter(
        "server",
        SWITCH,
        flag="-server",
        bare=True,
        since=PT2_2,
        meaning="the process is a server: the far end of the tunnel",
    ),
    Parameter(
        "state",
        PATH,
        env="TOR_PT_STATE_LOCATION",
        until=PT2_2,
        meaning="the only directory in which the process may keep files; it makes it if need be",
    ),
    Parameter("state", PATH, flag="-state", since=PT2_0),
    Parameter(
        "exit_on_stdin_close",
        ENABLED,
        env="TOR_PT_EXIT_ON_STDIN_CLOSE",
        until=PT2_2,
        meaning="the host will close the standard input when it wants the process to end",
    ),
    Parameter("exit_on_stdin_close", SWITCH, flag="-exit-on-stdin-close", bare=True, since=PT2_0),
    # So spelled in PT 3.0 section 1.3 (C52).
    Parameter("exit_on_stdin_close", SWITCH, flag="-exit-on-close", bare=True, since=PT3_0),
    Parameter(
        "outbound_v4",
        IPV4,
        env="TOR_PT_OUTBOUND_BIND_ADDRESS_V4",
        until=PT1,
        meaning="the source address of IPv4 connections that do not stay on the machine",
    ),
    Parameter(
        "outbound_v6",
        IPV6,
        env="TOR_PT_OUTBOUND_BIND_ADDRESS_V6",
        until=PT1,
        meaning="the source address of IPv6 connections that do not stay on the machine",
    ),
    Parameter(
        "log_threshold",
        THRESHOLD,
        flag="-ipcLogLevel",
        since=PT2_2,
        meaning="the level from which on the host wants to hear LOG lines",
    ),
    Parameter(
        "mode",
        MODE,
        flag="-mode",
        since=PT2_2,
        meaning="what a client listens for, and what a server forwards",
    ),
    Parameter(
        "transport", NAME, flag="-transport", since=PT2_2, meaning="the only transport to start"
    ),
    Parameter(
        "transports",
        WANTED,
        env="TOR_PT_CLIENT_TRANSPORTS",
        role=Role.CLIENT,
        until=PT2_2,
        meaning="the transports to start",
    ),
    Parameter("transports", WANTED, env="TOR_PT_SERVER_TRANSPORTS", role=Role.SERVER, until=PT2_2),
    Parameter("transports", WANTED, flag="-transports", since=PT2_0),
    Parameter(
        "options",
        OPTIONS,
        env="TOR_PT_SERVER_TRANSPORT_OPTIONS",
        role=Role.SERVER,
        until=PT1,
        meaning="what each of the transports is told",
    ),
    Parameter(
        "options",
        OPTIONS_EQUALS,
        env="TOR_PT_SERVER_TRANSPORT_OPTIONS",
        role=Role.SERVER,
        since=PT2_0,
        until=PT2_0,
    ),
    Parameter(
        "options",
        JSON_OPTIONS,
        env="TOR_PT_SERVER_TRANSPORT_OPTIONS",
        role=Role.SERVER,
        since=PT2_2,
        until=PT2_2,
    ),
    # C36: clients need options, too; 3.0 has them ask for "serverAddress" in this way.
    Parameter("options", OPTIONS_EQUALS, flag="-options", since=PT2_0, until=PT2_0),
    Parameter("options", JSON_OPTIONS, flag="-options", since=PT2_2),
    Parameter(
        "options_file",
        PATH,
        flag="-optionsFile",
        since=PT2_2,
        meaning="a file that holds the options",
    ),
    Parameter(
        "listen",
        ADDRESS,
        flag="-proxylistenaddr",
        role=Role.CLIENT,
        since=PT2_2,
        meaning="where a client listens; else it chooses",
    ),
    Parameter(
        "listen_host",
        IP,
        flag="-proxylistenhost",
        role=Role.CLIENT,
        since=PT2_2,
        meaning="as -proxylistenaddr, the address only",
    ),
    Parameter(
        "listen_port",
        PORT,
        flag="-proxylistenport",
        role=Role.CLIENT,
        since=PT2_2,
        meaning="as -proxylistenaddr, the port only",
    ),
    Parameter(
        "proxy",
        PROXY,
        env="TOR_PT_PROXY",
        role=Role.CLIENT,
        until=PT2_2,
        error=ProxyError,
        meaning="the upstream proxy, through which every connection has to go",
    ),
    Parameter("proxy", PROXY, flag="-proxy", role=Role.CLIENT, since=PT2_0, error=ProxyError),
    Parameter(
        "bind_addresses",
        BIND_ADDRESSES,
        env="TOR_PT_SERVER_BINDADDR",
        role=Role.SERVER,
        until=PT2_2,
        meaning="where each of a server's transports listens",
    ),
    Parameter("bind_addresses", BIND_ADDRESSES, flag="-bindaddr", role=Role.SERVER, since=PT2_0),
    Parameter(
        "bind_host",
        IP,
        flag="-bindhost",
        role=Role.SERVER,
        since=PT2_2,
        meaning="where a server's only transport listens, the address only",
    ),
    Parameter(
        "bind_port",
        PORT,
        flag="-bindport",
        role=Role.SERVER,
        since=PT2_2,
        meaning="where a server's only transport listens, the port only",
    ),
    Parameter(
        "target",
        ADDRESS,
        env="TOR_PT_ORPORT",
        role=Role.SERVER,
        until=PT1,
        meaning="where to connect to with what has come through the tunnel",
    ),
    Parameter("target", TARGET, env="TOR_PT_ORPORT", role=Role.SERVER, since=PT2_0, until=PT2_2),
    Parameter("target", TARGET, flag="-target", role=Role.CLIENT, since=PT2_0, until=PT2_0),
    Parameter("target", TARGET, flag="-target", since=PT2_2, until=PT2_2),
    Parameter("target", TARGET, flag="-target", role=Role.SERVER, since=PT3_0),
    # Behind -target, for dispatchers have no -orport.
    Parameter("target", TARGET, flag="-orport", role=Role.SERVER, since=PT2_0, until=PT2_2),
    Parameter(
        "target_host",
        HOST,
        flag="-targethost",
        since=PT2_2,
        until=PT2_2,
        meaning="as -target, the address only",
    ),
    Parameter("target_host", HOST, flag="-targethost", role=Role.SERVER, since=PT3_0),
    Parameter(
        "target_port",
        PORT,
        flag="-targetport",
        since=PT2_2,
        until=PT2_2,
        meaning="as -target, the port only",
    ),
    Parameter("target_port", PORT, flag="-targetport", role=Role.SERVER, since=PT3_0),
    Parameter(
        "extended_port",
        ADDRESS,
        env="TOR_PT_EXTENDED_SERVER_PORT",
        role=Role.SERVER,
        until=PT2_2,
        meaning="the host's Extended ORPort, which is told who has come through the tunnel",
    ),
    Parameter("extended_port", ADDRESS, flag="-extorport", role=Role.SERVER, since=PT2_0),
    Parameter(
        "auth_cookie",
        PATH,
        env="TOR_PT_AUTH_COOKIE_FILE",
        role=Role.SERVER,
        until=PT2_2,
        meaning="the file with the key to the Extended ORPort",
    ),
    Parameter("auth_cookie", PATH, flag="-authcookie", role=Role.SERVER, since=PT2_0),
)

EXCLUSIONS = (
    Exclusion(("transport", "transports"), "either one transport or a list"),
    Exclusion(("options", "options_file"), "either the options or a file with them"),
    # C55: "cannot be specified and vice versa" is about the two forms.
    Exclusion(("listen", "listen_host"), "either one address:port or its two halves"),
    Exclusion(("listen", "listen_port"), "either one address:port or its two halves"),
    Exclusion(("target", "target_host"), "either one address:port or its two halves"),
    Exclusion(("target", "target_port"), "either one address:port or its two halves"),
    # C56: the documents forget the variable in one half of the rule.
    Exclusion(("bind_addresses", "transport"), "one transport has -bindhost and -bindport"),
    Exclusion(("bind_addresses", "bind_host"), "either a list of addresses or one"),
    Exclusion(("bind_addresses", "bind_port"), "either a list of addresses or one"),
)

NEEDS = (
    Needs("listen_host", ("listen_port",), "a half of an address:port"),
    Needs("listen_port", ("listen_host",), "a half of an address:port"),
    Needs("target_host", ("target_port",), "a half of an address:port"),
    Needs("target_port", ("target_host",), "a half of an address:port"),
    Needs("bind_host", ("transport", "bind_port"), "the address of one transport"),
    Needs("bind_port", ("transport", "bind_host"), "the address of one transport"),
    Needs("extended_port", ("auth_cookie",), "the port lets nobody in without a key"),
)


# --- for people -----------------------------------------------------------------------------------


def is_flag(spelling: str) -> bool:
    """Whether a spelling is that of a flag and not of a variable."""
    return spelling.startswith("-")


def is_ours(variable: str) -> bool:
    """Whether a variable belongs to the protocol, known or not; Windows does not mind the case."""
    return variable.upper().startswith(ENVIRONMENT_PREFIX)


def spellings(names: Sequence[str], dialect: Dialect, role: Role | None = None) -> tuple[str, ...]:
    """Every way in which an edition spells some settings, to tell a host what it may use."""
    found = [
        spelling
        for name in names
        for row in PARAMETERS
        if row.name == name and row.applies(dialect, role)
        for spelling in row.spellings
    ]
    return tuple(dict.fromkeys(found))


@frozen(kw_only=True)
class Reference:
    """What a table of the settings for people to read says about one spelling."""

    name: str
    env: str | None
    flag: str | None
    editions: tuple[Dialect, ...]
    role: Role | None
    meaning: str


def reference() -> tuple[Reference, ...]:
    """The table of all settings, in the order of ``PARAMETERS``."""
    meanings = {row.name: row.meaning for row in reversed(PARAMETERS) if row.meaning}
    return tuple(
        Reference(
            name=row.name,
            env=row.env,
            flag=row.flag,
            editions=tuple(dialect for dialect in DIALECTS if row.applies(dialect)),
            role=row.role,
            meaning=meanings[row.name],
        )
        for row in PARAMETERS
    )
