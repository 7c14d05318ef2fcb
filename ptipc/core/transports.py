"""What is known of a transport, whatever carries its octets: its capabilities, and what it says.

A transport is an object of its author's; the functions here ask it for what it may or may not have.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ptipc.core.escapes import Args

__all__ = [
    "STREAMS",
    "Capability",
    "capabilities_of",
    "carried_inside",
    "described",
    "grants_early",
    "nested_args",
    "published_args",
    "version_of",
]


class Capability(enum.Flag):
    """What a transport can carry; whoever uses one asks before, and says so if it does not fit."""

    STREAM = enum.auto()
    """Octets in order: its dialer has ``dial``, its listener ``listen``."""
    DATAGRAM = enum.auto()
    """Datagrams: its dialer has ``dial_datagrams``, its listener ``listen_datagrams``."""
    HALF_CLOSE = enum.auto()
    """The end of one direction of a stream, while the other goes on."""


STREAMS = Capability.STREAM | Capability.HALF_CLOSE
"""What a transport is taken to carry that does not say."""


def capabilities_of(transport: object) -> Capability:
    """What a transport can carry."""
    declared: Capability = getattr(transport, "capabilities", STREAMS)
    return declared


def version_of(transport: object) -> str | None:
    """What hosts are told as the version of a transport."""
    version: str | None = getattr(transport, "version", None)
    return version


def grants_early(transport: object) -> bool:
    """Whether applications are told that they are connected before they are."""
    return bool(getattr(transport, "grant_early", False))


def described(error: BaseException) -> str:
    """An error for a person to read: never nothing, as TimeoutError has it."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it took too long"
    return str(error) or type(error).__name__


# --- one inside another ---------------------------------------------------------------------------


def carried_inside(outer: object, inner: object) -> Capability:
    """What two transports carry, one inside the other.

    That is the inner one's affair, but for the end of a direction, which the outer has to tell.
    """
    carried = capabilities_of(inner)
    if Capability.HALF_CLOSE not in capabilities_of(outer):
        carried &= ~Capability.HALF_CLOSE
    return carried


def nested_args(args: Args, name: str, other: str) -> Args:
    """The args for one of two transports: those that are not the other's, without its own name."""
    return Args(
        (key.removeprefix(f"{name}."), value)
        for key, value in args.pairs
        if not key.startswith(f"{other}.")
    )


def published_args(parts: Mapping[str, Args]) -> Args:
    """The args of several transports in one, with their names in front."""
    return Args(
        (f"{name}.{key}", value) for name, args in parts.items() for key, value in args.pairs
    )
