"""Single values and how they are spelled as text.

A ``Codec`` is a pair of functions.  ``parse`` is tolerant: it takes what real programs send.
``emit`` is canonical: it writes what every real program reads.  Both raise ``ValueError`` about the
text or the value; the caller adds where it came from.  ``codec.emit(codec.parse(text)) == text``
tells whether a text was canonical, which is how the conformance tester finds deviations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, unquote_to_bytes

from attrs import field, frozen

from ptipc.core.choices import (
    ENABLED,
    LEVEL,
    MODE,
    PROTOCOL,
    SEVERITY,
    SWITCH,
    THRESHOLD,
    Codec,
    LogLevel,
    Mode,
    Protocol,
)

__all__ = [
    "ADDRESS",
    "BIND_ADDRESSES",
    "ENABLED",
    "HOST",
    "IP",
    "IPV4",
    "IPV6",
    "LEVEL",
    "LISTENER",
    "LOCAL_ADDRESS",
    "MODE",
    "NAME",
    "OFFERED",
    "PATH",
    "PORT",
    "PRINTABLE",
    "PROTOCOL",
    "PROXY",
    "SEVERITY",
    "SWITCH",
    "TARGET",
    "TEXT",
    "THRESHOLD",
    "TOKEN",
    "UTF8_TEXT",
    "WANTED",
    "Address",
    "Codec",
    "LogLevel",
    "Mode",
    "Protocol",
    "UpstreamProxy",
    "shortened",
    "visible",
]


@frozen
class Address:
    """Where to connect to or to listen: a host without brackets, and a port from 0 to 65535.

    The host is an IP literal, or a name where the edition allows names.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host as an IP address; None if it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be behind the address; never true of a name."""
        ip = self.ip
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return ip is not None and ip.is_loopback


@frozen
class UpstreamProxy:
    """The proxy that all connections of a process have to go through (PT 1 section 3.2.2).

    ``user`` and ``password`` are text whose octets are those of the URI after percent-decoding
    (``surrogateescape`` stands for what is not UTF-8); None: not given, which is not the same as
    empty.
    """

    scheme: str
    address: Address
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def visible(text: str, encoding: str = "ascii") -> str:
    """Text as one line: control characters, and what the encoding lacks, as backslash escapes."""
    shown = text
    if not text.isprintable():
        shown = "".join(char if char.isprintable() else _escaped(char) for char in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def shortened(text: str, limit: int = 500) -> str:
    """Text of others for people to read: the beginning of it, and how much more there is."""
    more = len(text) - limit
    return text if more <= 0 else f"{text[:limit]}... ({more:,} more characters)"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _words(text: str) -> list[str]:
    # C3: empty entries are skipped; nothing is trimmed, for goptlib does not trim either.
    return [word for word in text.split(",") if word]


def _join(words: Iterable[str]) -> str:
    words = list(words)
    if not words:
        raise ValueError("a list without entries cannot be written")
    if len(set(words)) < len(words):
        raise ValueError(f"an entry is repeated: {words!r}")
    return ",".join(words)


# --- names, tokens, texts -------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[!-+\--~]+")  # PT 1, 3.2.1: "non-whitespace, non-comma printable ASCII"


def _parse_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"not a transport name ([a-zA-Z_][a-zA-Z0-9_]*): {text!r}")
    return text


def _emit_name(name: str) -> str:
    # C68: arti refuses to hear of a transport called like the keyword of its bridge lines.
    if _parse_name(name).lower() == "bridge":
        raise ValueError(f"a transport cannot be called {name!r}: arti refuses that name")
    return name


def _parse_token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"not a version (printable ASCII without space and comma): {text!r}")
    return text


def _emit_names(names: Iterable[str]) -> str:
    return _join(_emit_name(name) for name in names)


def _parse_words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(_words(text)))
    if not words:
        raise ValueError(f"a list without entries: {text!r}")
    return words


def _emit_tokens(tokens: Iterable[str]) -> str:
    return _join(_parse_token(token) for token in tokens)


def _emit_printable(word: str) -> str:
    if not word or not word.isprintable() or not word.isascii() or " " in word:
        raise ValueError(f"not a word of printable ASCII: {word!r}")
    return word


def _parse_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(f"not a path: {text!r}")
    return text


NAME = Codec(_parse_name, _emit_name)
"""A transport's name (PT 1 section 3.1, C68)."""

TOKEN = Codec(lambda text: _parse_token(text.rstrip(" ")), _parse_token)
"""One version; arti overlooks a space behind it (PT 1 section 3.2.1, C17)."""

WANTED = Codec(_parse_words, _emit_names)
"""The transports that a host asks for, separated by commas; repeated ones count once.  What is no
name is kept, for it is not an error but the name of nothing that we know (PT 1 section 3.2.2, C69).
"""

OFFERED = Codec(_parse_words, _emit_tokens)
"""The versions that a host offers, separated by commas.  What is no version is kept, for goptlib,
too, takes ``2, 1`` for an offer of two versions of which the second is one that it does not know
(PT 1 section 3.2.1, C3)."""

PRINTABLE: Codec[str] = Codec(str, _emit_printable)
"""Any word; what is written is printable ASCII."""

TEXT: Codec[str] = Codec(str, lambda text: visible(text).rstrip())
"""Free text to the end of the line; what is written is printable ASCII (C15)."""

UTF8_TEXT: Codec[str] = Codec(str, lambda text: visible(text, "utf-8").rstrip())
"""Free text to the end of the line; what is written is printable UTF-8 (PT 2.2 section 1.2.1)."""

PATH = Codec(_parse_path, _parse_path)
"""A path of the file system, not empty and without NUL."""


# --- addresses ------------------------------------------------------------------------------------

_LABELS = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")


def _parse_ip(text: str) -> str:
    if "%" in text:  # ipaddress lets anything be a scope, a newline too; neither tor nor arti does
        raise ValueError(f"an IP address with a scope: {text!r}")
    try:
        ip = ip_address(text)
    except ValueError:
        raise ValueError(f"not an IP address: {text!r}") from None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return f"::ffff:{ip.ipv4_mapped}"  # CPython 3.13 writes it so, 3.11 in hexadecimal
    return str(ip)


def _parse_name_or_ip(text: str) -> str:
    if ":" in text or _NUMBER.fullmatch(text):
        return _parse_ip(text)  # "127.1" and "0x7f.1" are bad addresses, not names
    if not _LABELS.fullmatch(text):
        raise ValueError(f"not a host name or IP address: {text!r}")
    return text


def _unbracketed(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        if ":" not in text:
            raise ValueError(f"not an IPv6 address in brackets: {text!r}")
        return text[1:-1]
    return text


def _parse_port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"not a port (0 to 65535): {text!r}")
    return int(text)


def _emit_port(port: int) -> str:
    return str(_parse_port(str(port)))


def _split(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"not an address:port: {text!r}")
    try:
        return _unbracketed(host), _parse_port(port)
    except ValueError as error:
        raise ValueError(f"{error} in {text!r}") from None


def _parse_address(text: str) -> Address:
    host, port = _split(text)
    return Address(_parse_ip(host), port)


def _parse_listener(text: str) -> Address:
    address = _parse_address(text)
    if address.port == 0:
        raise ValueError(f"port 0 cannot be connected to: {text!r}")
    return address


def _parse_target(text: str) -> Address:
    host, port = _split(text)
    return Address(_parse_name_or_ip(host), port)


def _emit(parse: Callable[[str], Address]) -> Callable[[Address], str]:
    return lambda address: str(parse(str(address)))


def _emit_local(address: Address) -> str:
    listener = _parse_listener(str(address))
    # To arti the IPv4 addresses within IPv6 are not on loopback.
    if not listener.is_loopback or listener.host.startswith("::ffff:"):
        raise ValueError(f"not on loopback, which arti refuses: {str(address)!r}")
    return str(listener)


def _ip_of(version: int, brackets: bool) -> Codec[str]:
    def parse(text: str) -> str:
        host = _parse_ip(_unbracketed(text))
        if (":" in host) != (version == 6):
            raise ValueError(f"not an IPv{version} address: {text!r}")
        return host

    return Codec(parse, lambda host: f"[{parse(host)}]" if brackets else parse(host))


ADDRESS = Codec(_parse_address, _emit(_parse_address))
"""``1.2.3.4:80`` or ``[2001:db8::1]:80``; IPv6 without brackets is read, too (C28)."""

LISTENER = Codec(_parse_listener, _emit(_parse_listener))
"""An address that can be connected to: port 0 is refused (C28)."""

LOCAL_ADDRESS = Codec(_parse_listener, _emit_local)
"""As ``LISTENER``; what is written is a loopback address, for arti takes no other (C28)."""

TARGET = Codec(_parse_target, _emit(_parse_target))
"""As ``ADDRESS``, or with a host name (PT 2.0 section 3.3.1.3)."""

PORT: Codec[int] = Codec(_parse_port, _emit_port)
"""A port from 0 to 65535."""

IP: Codec[str] = Codec(lambda text: _parse_ip(_unbracketed(text)), _parse_ip)
"""An IP address without a port; brackets are read and not written."""

HOST: Codec[str] = Codec(lambda text: _parse_name_or_ip(_unbracketed(text)), _parse_name_or_ip)
"""An IP address or a host name without a port; brackets are read and not written."""

IPV4 = _ip_of(4, brackets=False)
"""An IPv4 address (``TOR_PT_OUTBOUND_BIND_ADDRESS_V4``, PT 1 section 3.2.1)."""

IPV6 = _ip_of(6, brackets=True)
"""An IPv6 address in brackets (``TOR_PT_OUTBOUND_BIND_ADDRESS_V6``, PT 1 section 3.2.1)."""


def _parse_bind_addresses(text: str) -> dict[str, Address]:
    found: dict[str, Address] = {}
    for word in _words(text):
        name, hyphen, address = word.partition("-")  # a name has no hyphen in it
        if not hyphen:
            raise ValueError(f"not a name-address:port: {word!r}")
        if _parse_name(name) in found:
            raise ValueError(f"more than one address for {name!r}: {text!r}")
        found[name] = _parse_address(address)
    if not found:
        raise ValueError(f"a list without entries: {text!r}")
    return found


def _emit_bind_addresses(addresses: Mapping[str, Address]) -> str:
    return _join(f"{_emit_name(name)}-{ADDRESS.emit(at)}" for name, at in addresses.items())


BIND_ADDRESSES: Codec[Mapping[str, Address]] = Codec(_parse_bind_addresses, _emit_bind_addresses)
"""Where each transport listens: ``name-address:port``, separated by commas (PT 1 section 3.2.3)."""


# --- the upstream proxy ---------------------------------------------------------------------------

_SCHEMES = ("http", "socks4", "socks4a", "socks5")

# C41: tor writes user name and password as they are, so the last @ ends them.
_PROXY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:(.*)@)?([^@]*)", re.DOTALL)


def _octets(userinfo: str) -> bytes:
    try:
        return userinfo.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Without the text, which is a secret.
        raise ValueError("the proxy's user name or password has a lone surrogate") from None


def _parse_userinfo(text: str) -> str:
    return unquote_to_bytes(_octets(text)).decode("utf-8", "surrogateescape")


def _emit_userinfo(text: str) -> str:
    return quote(_octets(text), safe="")


def _parse_place(text: str) -> Address:
    if text.count(":") > 1 and not text.startswith("["):  # C41: only in brackets
        raise ValueError("an IPv6 address without brackets")
    return _parse_listener(text)


def _parse_proxy(text: str) -> UpstreamProxy:
    match = _PROXY.fullmatch(text)
    if match is None:
        raise ValueError("not a URI of the form type://[user[:password]@]ip:port")
    scheme = match[1].lower()
    if scheme not in _SCHEMES:
        raise ValueError(f"not a type of proxy ({', '.join(_SCHEMES)}): {scheme!r}")
    try:
        address = _parse_place(match[3])
    except ValueError:
        # Without the text: a part of the password stands there if something is missing.
        raise ValueError("a proxy is not at ip:port, with a port from 1 to 65535") from None
    user: str | None = None
    password: str | None = None
    if match[2] is not None:
        name, colon, secret = match[2].partition(":")
        user = _parse_userinfo(name)
        password = _parse_userinfo(secret) if colon else None
    return UpstreamProxy(scheme, address, user, password)


def _emit_proxy(proxy: UpstreamProxy) -> str:
    if proxy.scheme not in _SCHEMES:
        raise ValueError(f"not a type of proxy ({', '.join(_SCHEMES)}): {proxy.scheme!r}")
    # C41: proposal 232 knows no "socks4"; only arti writes it.
    scheme = "socks4a" if proxy.scheme == "socks4" else proxy.scheme
    userinfo = ""
    if proxy.user is not None:
        userinfo = f"{_emit_userinfo(proxy.user)}@"
    if proxy.password is not None:
        if proxy.user is None:
            raise ValueError("a proxy's password without a user name cannot be written")
        if scheme == "socks4a":
            raise ValueError("a SOCKS4 proxy takes a user name only, and no password")
        userinfo = f"{_emit_userinfo(proxy.user)}:{_emit_userinfo(proxy.password)}@"
    return f"{scheme}://{userinfo}{LISTENER.emit(proxy.address)}"


PROXY = Codec(_parse_proxy, _emit_proxy)
"""``type://[user[:password]@]ip:port``, user name and password percent-encoded (C41)."""
