"""Values that are one of a few words: switches, levels, modes, protocols.

Here is also ``Codec``, what all spellings of values are made of; ``codecs`` has the others and
shows these.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from attrs import frozen

from ptipc.core.dialects import DIALECTS

__all__ = [
    "ENABLED",
    "LEVEL",
    "MODE",
    "PROTOCOL",
    "SEVERITY",
    "SWITCH",
    "THRESHOLD",
    "Codec",
    "LogLevel",
    "Mode",
    "Protocol",
]

T = TypeVar("T")


@frozen
class Codec(Generic[T]):
    """How one kind of value is read from text and written as text."""

    parse: Callable[[str], T]
    emit: Callable[[T], str]


class LogLevel(enum.IntEnum):
    """How serious a LOG line is; the numbers are those of Python's ``logging``.

    PT 1 section 3.3.4 has five severities, PT 2.2 section 1.2.1 has four levels, without NOTICE.
    """

    DEBUG = 10
    INFO = 20
    NOTICE = 25
    WARNING = 30
    ERROR = 40
    NONE = 100
    """Not a level of a line: as a threshold, it lets no line pass."""


class Mode(enum.Enum):
    """What a client listens for, and what a server forwards (PT 2.2 section 1.1.1)."""

    SOCKS5 = "socks5"
    TRANSPARENT_TCP = "transparent-TCP"
    TRANSPARENT_UDP = "transparent-UDP"
    STUN = "STUN"

    @property
    def datagrams(self) -> bool:
        """Whether the application's side of the transport is UDP."""
        return self in (Mode.TRANSPARENT_UDP, Mode.STUN)


class Protocol(enum.Enum):
    """What a host has to speak to the port of a ``CMETHOD`` line (C29)."""

    SOCKS4 = "socks4"
    SOCKS5 = "socks5"
    TRANSPARENT_TCP = "transparent-TCP"
    TRANSPARENT_UDP = "transparent-UDP"
    STUN = "STUN"


ENABLED: Codec[bool] = Codec(lambda text: text == "1", lambda value: "1" if value else "0")
"""``1`` for yes; whatever else it says is no, not an error (PT 1 section 3.2.1)."""


def _choice(
    kind: str,
    spelled: Mapping[str, T],
    tolerated: Mapping[str, T] | None = None,
    any_case: bool = False,
) -> Codec[T]:
    """A codec for one of a few words.

    ``tolerated`` are further spellings that are only read; ``any_case`` reads all of them in upper
    and lower case.
    """
    known = {**(tolerated or {}), **spelled}
    written = {value: word for word, value in spelled.items()}
    if any_case:
        known = {word.lower(): value for word, value in known.items()}

    def parse(text: str) -> T:
        # Only of ASCII, for Unicode has a K whose lower case is an ordinary "k".
        word = text.lower() if any_case and text.isascii() else text
        try:
            return known[word]
        except KeyError:
            raise ValueError(f"not a {kind} ({', '.join(spelled)}): {text!r}") from None

    def emit(value: T) -> str:
        try:
            return written[value]
        except KeyError:
            raise ValueError(f"not a {kind} ({', '.join(spelled)}): {value!r}") from None

    return Codec(parse, emit)


SWITCH: Codec[bool] = _choice(
    "switch", {"1": True, "0": False}, {"true": True, "false": False}, any_case=True
)
"""The value of a flag that needs none (C52)."""

_SEVERITIES = {
    "error": LogLevel.ERROR,
    "warning": LogLevel.WARNING,
    "notice": LogLevel.NOTICE,
    "info": LogLevel.INFO,
    "debug": LogLevel.DEBUG,
}
_LEVELS = {
    "ERROR": LogLevel.ERROR,
    "WARN": LogLevel.WARNING,
    "INFO": LogLevel.INFO,
    "DEBUG": LogLevel.DEBUG,
}
_LEVEL = _choice("log level", _LEVELS)

SEVERITY = _choice("severity", _SEVERITIES, {"warn": LogLevel.WARNING}, any_case=True)
"""The severity of a LOG line (PT 1 section 3.3.4); case does not matter to the reader (C21)."""

LEVEL: Codec[LogLevel] = Codec(
    _LEVEL.parse,
    # PT 2.2 has no notice; dialects.md 1.6 maps it to INFO.
    lambda level: _LEVEL.emit(LogLevel.INFO if level is LogLevel.NOTICE else level),
)
"""The level of a LOG line (PT 2.2 section 1.2.1)."""

THRESHOLD = _choice("log level", {"NONE": LogLevel.NONE, **_LEVELS})
"""The level from which on LOG lines are wanted (PT 2.2 section 1.1.1)."""

MODE = _choice("mode", {mode.value: mode for mode in Mode}, any_case=True)
"""The mode of a dispatcher (PT 2.2 section 1.1.1); case does not matter to the reader (C54)."""


def _protocols(spelled: Iterable[str]) -> Codec[Protocol]:
    everywhere = {protocol.value: protocol for protocol in Protocol}
    return _choice("protocol", {word: Protocol(word) for word in spelled}, everywhere)


PROTOCOL: Mapping[int, Codec[Protocol]] = {
    dialect.edition: _protocols(dialect.protocols) for dialect in DIALECTS
}
"""The protocol of a ``CMETHOD`` line, by edition; all are read, its own are written (C29)."""
