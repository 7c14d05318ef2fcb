"""What Hypothesis may draw from: every kind of value that the protocol carries.

::

    from hypothesis import given
    from ptipc.testing import strategies as some

    @given(some.args())
    def test_my_transport_takes_any_args(args): ...

Hypothesis is not among the requirements of ptipc: whoever imports this has it.

The values are canonical, that is, spelled the way that reading gives them back, so that
``codec.parse(codec.emit(value)) == value`` holds for all of them.  ``damaged`` and ``anything`` are
for the other half of a test: what is not in order raises documented errors only.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Any

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ptipc.core import messages as said
from ptipc.core.codecs import Address, LogLevel, Mode, Protocol, UpstreamProxy
from ptipc.core.config import Config
from ptipc.core.dialects import DIALECTS, Dialect, Role, Row
from ptipc.core.escapes import Args
from ptipc.core.parameters import PARAMETERS
from ptipc.core.settings import Channel

__all__ = [
    "addresses",
    "anything",
    "args",
    "bind_addresses",
    "configs",
    "damaged",
    "dialects",
    "host_names",
    "ipv4",
    "ipv6",
    "json_args",
    "json_options",
    "json_values",
    "levels",
    "line_args",
    "listeners",
    "local_addresses",
    "messages",
    "modes",
    "names",
    "options",
    "pairs",
    "paths",
    "ports",
    "protocols",
    "proxies",
    "roles",
    "rows",
    "targets",
    "texts",
    "tokens",
    "transport_lists",
    "utf8_texts",
    "version_lists",
    "words",
]

_GRAPHIC = "".join(map(chr, range(0x21, 0x7F)))
_SPECIAL = "\\=;:,\" '"


# --- who speaks what ------------------------------------------------------------------------------


def dialects() -> SearchStrategy[Dialect]:
    """One of the editions."""
    return st.sampled_from(DIALECTS)


def roles() -> SearchStrategy[Role]:
    """Client or server."""
    return st.sampled_from(Role)


def rows() -> SearchStrategy[Row]:
    """The columns that all tables have, with no edition ending before it began."""
    spans = st.tuples(dialects(), dialects()).map(
        lambda both: sorted(both, key=lambda dialect: dialect.edition)
    )
    return st.builds(
        lambda role, span: Row(role=role, since=span[0], until=span[1]),
        st.none() | roles(),
        spans,
    )


# --- names, words, texts --------------------------------------------------------------------------


def names() -> SearchStrategy[str]:
    """The name of a transport; not ``bridge``, which nobody may write."""
    first = string.ascii_letters + "_"
    found = st.builds(
        str.__add__, st.sampled_from(first), st.text(first + string.digits, max_size=12)
    )
    return found.filter(lambda name: name.lower() != "bridge")


def transport_lists() -> SearchStrategy[tuple[str, ...]]:
    """The names of several transports, none of them twice."""
    return st.lists(names(), min_size=1, max_size=4, unique=True).map(tuple)


def tokens() -> SearchStrategy[str]:
    """A version, of one of the editions or of none."""
    known = [token for dialect in DIALECTS for token in (dialect.version, *dialect.aliases)]
    return st.sampled_from(known) | st.text(_GRAPHIC.replace(",", ""), min_size=1, max_size=6)


def version_lists() -> SearchStrategy[tuple[str, ...]]:
    """What a host may offer: several versions, none of them twice."""
    return st.lists(tokens(), min_size=1, max_size=6, unique=True).map(tuple)


def words() -> SearchStrategy[str]:
    """Printable ASCII without space."""
    return st.text(_GRAPHIC, min_size=1, max_size=12)


def texts() -> SearchStrategy[str]:
    """Printable ASCII to the end of a line."""
    return st.text(_GRAPHIC + " ", max_size=40).map(str.rstrip)


def utf8_texts() -> SearchStrategy[str]:
    """Printable text to the end of a line."""
    printable = st.characters(exclude_categories=["C", "Z"]) | st.just(" ")
    return st.text(printable.filter(str.isprintable), max_size=40).map(str.rstrip)


def paths() -> SearchStrategy[str]:
    """A path, absolute or relative."""
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


# --- addresses ------------------------------------------------------------------------------------


def ports(first: int = 0) -> SearchStrategy[int]:
    """A port, from ``first`` on."""
    return st.sampled_from([80, 443, 9050, 65535]) | st.integers(first, 65535)


def ipv4() -> SearchStrategy[str]:
    """An IPv4 address, among them those that mean something special."""
    return st.ip_addresses(v=4).map(str)


def _canonical(text: str) -> str:
    # As CPython 3.13 writes it; before, the last two groups were hexadecimal.
    mapped = IPv6Address(text).ipv4_mapped
    return f"::ffff:{mapped}" if mapped else text


def ipv6() -> SearchStrategy[str]:
    """An IPv6 address without brackets, among them IPv4 addresses within IPv6."""
    mapped = st.ip_addresses(v=4).map(lambda ip: f"::ffff:{ip}")
    return st.ip_addresses(v=6).map(str).map(_canonical) | mapped


def host_names() -> SearchStrategy[str]:
    """A name as DNS has it, which cannot be taken for a number."""
    label = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=10)
    last = st.text(string.ascii_letters, min_size=2, max_size=6)
    return st.builds(
        lambda labels, end: ".".join([*labels, end]), st.lists(label, max_size=3), last
    )


def addresses() -> SearchStrategy[Address]:
    """An IP address and a port, which may be 0."""
    return st.builds(Address, ipv4() | ipv6(), ports())


def listeners() -> SearchStrategy[Address]:
    """An IP address and a port that can be connected to."""
    return st.builds(Address, ipv4() | ipv6(), ports(1))


def local_addresses() -> SearchStrategy[Address]:
    """Where a client's transport may listen: on loopback, as arti has it."""
    ipv4_loopback = st.ip_addresses(network="127.0.0.0/8").map(str)
    return st.builds(Address, ipv4_loopback | st.just("::1"), ports(1))


def targets() -> SearchStrategy[Address]:
    """An IP address or a host name, and a port."""
    return st.builds(Address, ipv4() | ipv6() | host_names(), ports())


def bind_addresses() -> SearchStrategy[dict[str, Address]]:
    """Where each of several transports listens."""
    return st.dictionaries(names(), addresses(), min_size=1, max_size=4)


def proxies() -> SearchStrategy[UpstreamProxy]:
    """An upstream proxy; only those with a user name have a password, and never SOCKS4."""
    secrets = st.text(st.characters(codec="utf-8"), max_size=12) | st.text("@:/%?#[] ", max_size=6)
    users = st.none() | secrets
    with_password = st.builds(
        UpstreamProxy, st.sampled_from(["http", "socks5"]), listeners(), secrets, secrets
    )
    schemes = st.sampled_from(["http", "socks4a", "socks5"])
    return with_password | st.builds(UpstreamProxy, schemes, listeners(), users)


# --- what may be chosen ---------------------------------------------------------------------------


def levels() -> SearchStrategy[LogLevel]:
    """How serious a LOG line is, in any edition."""
    return st.sampled_from([level for level in LogLevel if level is not LogLevel.NONE])


def modes() -> SearchStrategy[Mode]:
    """One of the modes of a dispatcher."""
    return st.sampled_from(Mode)


def protocols(dialect: Dialect) -> SearchStrategy[Protocol]:
    """What an edition lets be spoken to the port of a client's transport."""
    return st.sampled_from([Protocol(word) for word in dialect.protocols])


# --- args and options -----------------------------------------------------------------------------


def _named(alphabet: SearchStrategy[str], max_size: int) -> SearchStrategy[list[tuple[str, str]]]:
    # A few names come again and again, for names may be repeated.
    name = st.sampled_from(["cert", "iat-mode", "url"]) | st.text(alphabet, min_size=1, max_size=8)
    return st.lists(st.tuples(name, st.text(alphabet, max_size=16)), max_size=max_size)


def _alphabet(letters: SearchStrategy[str], without: str = "") -> SearchStrategy[str]:
    special = "".join(char for char in _SPECIAL if char not in without)
    return letters | st.sampled_from(special)


def args() -> SearchStrategy[Args]:
    """Per-connection args in the text of PT 1: any text but NUL and line ends, and octets."""
    octets = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
    letters = st.characters(codec="utf-8", exclude_characters="\0\r\n") | octets
    return _named(_alphabet(letters), 4).map(Args)


def line_args() -> SearchStrategy[Args]:
    """The args of an SMETHOD line: printable ASCII without space."""
    return _named(_alphabet(st.sampled_from(_GRAPHIC), without=" "), 4).map(Args)


def options() -> SearchStrategy[dict[str, Args]]:
    """Server options as text; every transport in it has at least one."""
    letters = st.characters(codec="utf-8", exclude_characters="\0\r\n")
    some = _named(_alphabet(letters), 3).filter(bool).map(Args)
    return st.dictionaries(names(), some, max_size=3)


def json_values() -> SearchStrategy[Any]:
    """Whatever JSON can hold."""
    text = st.text(st.characters(codec="utf-8"), max_size=8)
    single = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | text
    )
    return st.recursive(
        single,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=8,
    )


def json_args() -> SearchStrategy[Args]:
    """Per-connection args of a JSON parameter block: any values, no name twice."""
    text = st.text(st.characters(codec="utf-8"), max_size=8)
    return st.dictionaries(text, json_values(), max_size=4).map(Args)


def json_options() -> SearchStrategy[dict[str, Any]]:
    """Options as a JSON object, with an object for each transport."""
    return st.dictionaries(names(), json_args().map(dict), max_size=3)


def pairs() -> SearchStrategy[tuple[tuple[str, str], ...]]:
    """What stands behind STATUS: keys, none of them twice, and values of one line or more."""
    key = st.text(_GRAPHIC.replace('"', "").replace("=", ""), min_size=1, max_size=8)
    value = st.text(_GRAPHIC + " \n\r\t", max_size=16)
    return st.dictionaries(key, value, min_size=1, max_size=4).map(
        lambda found: tuple(found.items())
    )


# --- messages -------------------------------------------------------------------------------------


def messages(dialect: Dialect, role: Role | None = None) -> SearchStrategy[said.Message]:
    """Whatever a transport process, of a role if that is given, may say in an edition.

    ``parse_line(emit_line(message, dialect), dialect)`` gives it back.
    """
    token = st.text(_GRAPHIC.replace(",", ""), min_size=1, max_size=6)
    made: dict[type[said.Message], SearchStrategy[said.Message]] = {
        said.VersionError: st.builds(said.VersionError),
        said.Version: st.builds(said.Version, token),
        said.EnvError: st.builds(said.EnvError, texts()),
        said.ProxyDone: st.builds(said.ProxyDone),
        said.ProxyError: st.builds(said.ProxyError, texts()),
        said.CMethod: st.builds(said.CMethod, names(), protocols(dialect), local_addresses()),
        said.CMethodError: st.builds(said.CMethodError, names(), texts()),
        said.CMethodsDone: st.builds(said.CMethodsDone),
        said.SMethod: st.builds(said.SMethod, names(), listeners(), line_args()),
        said.SMethodError: st.builds(said.SMethodError, names(), texts()),
        said.SMethodsDone: st.builds(said.SMethodsDone),
        said.Log: st.builds(said.Log, levels(), texts()),
        said.StatusVersion: st.builds(said.StatusVersion, words(), words()),
        said.Status: st.builds(
            lambda name, found: said.Status([("TRANSPORT", name), *found]),
            names(),
            pairs().filter(lambda found: not {"TRANSPORT", "TYPE"} & {key for key, _ in found}),
        ),
    }
    possible = [
        strategy
        for kind, strategy in made.items()
        if said.form_for(kind, dialect, role) is not None
    ]
    return st.one_of(possible)


# --- configurations -------------------------------------------------------------------------------


def _absolute_paths() -> SearchStrategy[str]:
    return paths().map(lambda path: f"/{path}")


@st.composite
def configs(draw: st.DrawFn) -> tuple[Config, Channel | None]:
    """A configuration that its edition can say, and a channel to say it in (None: the usual one).

    ``config.to_process(channel)`` is what a transport process would be told.
    """
    dialect = draw(dialects())
    alias = draw(st.sampled_from((dialect.version, *dialect.aliases)))
    channels: list[Channel | None] = [None]
    channels += ["environment"] if dialect.environment else []
    channels += ["flags"] if dialect.flags else []
    role = draw(roles())
    listed = draw(transport_lists())
    there = {row.name for row in PARAMETERS if row.applies(dialect, role)}
    flagged = {row.name for row in PARAMETERS if row.applies(dialect, role) and row.flag}
    given: dict[str, Any] = {
        "state": draw(_absolute_paths() if not dialect.relative_state else paths()),
        "exit_on_stdin_close": draw(st.booleans()),
    }
    threshold = st.sampled_from(LogLevel).filter(lambda level: level is not LogLevel.NOTICE)
    for name, values in {
        "log_threshold": threshold,
        "mode": modes(),
        "proxy": proxies(),
        "listen": addresses(),
        "outbound_v4": ipv4(),
        "outbound_v6": ipv6(),
    }.items():
        if name in there and draw(st.booleans()):
            given[name] = draw(values)
    destination = targets() if dialect.named_targets else addresses()
    if role is Role.SERVER:
        given["bind_addresses"] = {name: draw(addresses()) for name in listed}
        if draw(st.booleans()):
            given["extended_port"] = draw(addresses())
            given["auth_cookie"] = draw(_absolute_paths())
        if "extended_port" not in given or draw(st.booleans()):
            given["target"] = draw(destination)
    elif "target" in there and draw(st.booleans()):
        given["target"] = draw(destination)
    if "options_file" in there and draw(st.booleans()):
        given["options_file"] = draw(paths())
    elif role is Role.SERVER or "options" in flagged:
        json = "options_file" in there
        found = draw(json_options() if json else options())
        given["options"] = dict(zip(listed, found.values(), strict=False))
    config = Config(dialect=evolve(dialect, version=alias), role=role, transports=listed, **given)
    return config, draw(st.sampled_from(channels))


# --- what is not in order -------------------------------------------------------------------------


def anything() -> SearchStrategy[str]:
    """Any text, with what means something to a codec more often than chance has it."""
    telling = st.sampled_from('\\"=;:,-[]%@/ \t\r\n\0{}x0179.\udcff\ud800\u0661\u212a')
    return st.text(telling | st.characters(), max_size=30)


def damaged(spelled: Iterable[str] | SearchStrategy[str]) -> SearchStrategy[str]:
    """A text of which a part is missing, doubled or something else."""
    texts = spelled if isinstance(spelled, SearchStrategy) else st.sampled_from(list(spelled))

    @st.composite
    def damage(draw: st.DrawFn) -> str:
        text = draw(texts)
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        return (
            text[:start]
            + draw(st.just("") | st.just(text[start:end] * 2) | anything())
            + text[end:]
        )

    return damage()
