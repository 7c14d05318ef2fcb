"""Bridge lines: ``obfs4 192.0.2.7:443 FINGERPRINT cert=... iat-mode=0``.

They are how people hand each other a bridge, and what tor's ``Bridge`` option takes.  No PT
document has them; what is read is what tor 0.4.9.11 and arti read, what is written both take.
"""

from __future__ import annotations

import re

from attrs import field, frozen

from ptipc.core.codecs import LISTENER, NAME, Address, Codec
from ptipc.core.escapes import NO_ARGS, Args

__all__ = ["BRIDGE_LINE", "BridgeLine"]

_PORT = 443
"""Where tor expects a bridge whose line has no port."""

_NO_TRANSPORT = "a bridge without a transport has no args"

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_KEY = re.compile(r"[!\"$-<>-~]+")
_VALUE = re.compile(r"[!\"$-~]*")


@frozen(kw_only=True)
class BridgeLine:
    """A bridge: where it is, who it is, and what its transport has to be told.

    ``str`` gives the line, with the args, which are often secrets; ``repr`` hides them.  What
    cannot be written (``BRIDGE_LINE.emit``) raises ValueError when it is turned into text.
    """

    transport: str | None = None
    """The transport to reach it through; None: a bridge without one."""

    address: Address
    """Where it is: an IP address and a port other than 0, which some transports do not look at."""

    fingerprint: str | None = None
    """The hash of its identity key as 40 upper-case hexadecimal digits, if given; arti needs it."""

    args: Args = field(default=NO_ARGS, converter=Args)
    """The per-connection args, in order."""

    @classmethod
    def parse(cls, text: str) -> BridgeLine:
        """Read a line, with or without the word ``Bridge``.  Raises ValueError."""
        return _parse(text)

    def __str__(self) -> str:
        return BRIDGE_LINE.emit(self)


def _words(text: str) -> list[str]:
    text = text.strip(" \t\r\n")
    if "\n" in text or "\r" in text:
        raise ValueError("more than one line")
    words = re.split(r"[ \t]+", text)
    for at, word in enumerate(words):
        if word.startswith("#"):  # the rest is a comment, as in a torrc
            return words[:at]
    return words if words != [""] else []


def _parse_place(text: str) -> Address:
    if text.endswith("]") or ":" not in text:
        text = f"{text}:{_PORT}"
    if text.count(":") > 1 and not text.startswith("["):
        # tor reads "2001:db8::1:80" as an address without a port; people mean something else.
        raise ValueError(f"an IPv6 address without brackets: {text!r}")
    if "%" in text:
        raise ValueError(f"an address with a scope: {text!r}")
    return LISTENER.parse(text)


def _parse_fingerprint(text: str) -> str:
    digits = text.removeprefix("$")  # arti takes the "$" of the control protocol, tor does not
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError(f"not a fingerprint (40 hexadecimal digits): {text!r}")
    return digits.upper()


def _parse_arg(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        # Without the word itself: it may be half a secret.
        raise ValueError("an item behind the address and the fingerprint is not key=value")
    return key, value


def _parse(text: str) -> BridgeLine:
    words = _words(text)
    if words and words[0].lower() == "bridge":
        del words[0]
    transport = None
    if words and "." not in words[0] and ":" not in words[0]:
        transport = NAME.parse(words.pop(0))
    if not words:
        raise ValueError("a bridge line without an address")
    address = _parse_place(words.pop(0))
    fingerprint = None
    if transport is None and words:
        # Without a transport there can be no args, so tor lets the fingerprint have spaces in it.
        if any("=" in word for word in words):
            raise ValueError(_NO_TRANSPORT)
        fingerprint = _parse_fingerprint("".join(words))
        words = []
    elif words and "=" not in words[0]:
        fingerprint = _parse_fingerprint(words.pop(0))
    return BridgeLine(
        transport=transport,
        address=address,
        fingerprint=fingerprint,
        args=Args([_parse_arg(word) for word in words]),
    )


def _emit_arg(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the value of {key!r} is not text")
    # There is no quoting: a blank ends an item, and in a torrc "#" the line.
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key (printable ASCII without space, '=' and '#'): {key!r}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {key!r} is not printable ASCII without space and '#'")
    return f"{key}={value}"


def _emit(line: BridgeLine) -> str:
    if line.transport is None and line.args.pairs:
        raise ValueError(_NO_TRANSPORT)
    words = [] if line.transport is None else [NAME.emit(line.transport)]
    words.append(str(_parse_place(str(line.address))))
    if line.fingerprint is not None:
        words.append(_parse_fingerprint(line.fingerprint))
    words += [_emit_arg(key, value) for key, value in line.args.pairs]
    return " ".join(words)


BRIDGE_LINE = Codec(_parse, _emit)
"""``[transport] address:port [fingerprint] [key=value ...]``, in one line.

Also read: the word ``Bridge`` in front and a comment behind; an address without a port (443, as in
tor); a fingerprint in lower case, with ``$`` or, if there is no transport, in groups of digits.
"""
