"""Sockets, as far as asyncio and threads have the same of them: names, listening, and accidents.

What may take long says so; an event loop asks for it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any, Final, TypeAlias

from ptipc.core.codecs import Address

__all__ = [
    "FAREWELL",
    "IGNORED",
    "PAUSE",
    "Place",
    "address_of",
    "bound_address",
    "concerns_one",
    "free_address",
    "listening_socket",
    "literal",
    "look_up",
    "send_at_once",
]

BACKLOG: Final = 512
"""How many connections may wait to be accepted."""

PAUSE: Final = 0.25
"""How many seconds to wait when the operating system can give us no more connections."""

FAREWELL: Final = 1.0
"""How many seconds a peer has to read our last words."""

IGNORED: Final = 1 << 20
"""How many octets it may send meanwhile."""

_QUIET: Final = (20_000, 32_000)
"""Between these no system looks for a port when a program asks for any."""

_NOT_FREE: Final = (errno.EADDRINUSE, errno.EACCES)
"""What is wrong with a port that somebody has, and on Windows with one that is set aside."""

Place: TypeAlias = tuple[int, tuple[Any, ...]]
"""What the operating system calls an address: a family, and an IP address with more numbers."""

_OF_ONE: Final = {
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EPROTO,
}


def concerns_one(error: OSError) -> bool:
    """Whether an error is of the connection that was to be accepted, and not of accepting.

    Source: accept(2), "Error handling".
    """
    return error.errno in _OF_ONE


def send_at_once(connection: socket.socket) -> None:
    """Let short messages go out without delay: those of handshakes wait for each other."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        # If the peer has gone macOS says EINVAL; it will be met by whoever receives or sends.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def address_of(name: object) -> Address | None:
    """What the operating system calls an address, as ours; None for Unix sockets and the like."""
    if isinstance(name, tuple) and len(name) >= 2:
        return Address(str(name[0]), int(name[1]))
    return None


def bound_address(listener: socket.socket) -> Address:
    """Where a socket listens; port 0 has become a port."""
    name = listener.getsockname()
    return Address(name[0], name[1])


def listening_socket(address: Address) -> socket.socket:
    """A socket that listens at an IP address.  Raises OSError, ValueError for a name."""
    if address.ip is None:
        raise ValueError(f"not an IP address to listen at: {address.host!r}")
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        # Not on Windows: there the option lets somebody else take the port as well.
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def literal(target: Address) -> list[Place] | None:
    """What the operating system calls a target; None for a name, which has to be looked up."""
    if target.ip is None:
        return None
    return [(_family(target), (target.host, target.port))]


def look_up(target: Address, kind: socket.SocketKind) -> list[Place]:
    """Where a name leads to; this may take long.

    Raises OSError if the operating system does not know the name.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=kind)
    except socket.gaierror as error:
        # Its number is not an errno, and means nothing to those who look for one.
        raise OSError(errno.EHOSTUNREACH, f"{target.host!r}: {error.strerror}") from None
    return [(family, place) for family, _, _, _, place in found]


def _family(address: Address) -> int:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def free_address(host: str = "127.0.0.1") -> Address:
    """An address that was free a moment ago, for programs that are told where to listen.

    It is none that somebody else may be given before the program has it.  Raises OSError, also if
    the IP address is none of this machine.
    """
    import random  # slow to import, and no transport process needs it

    for port in random.sample(range(*_QUIET), 100):
        with socket.socket(_family(Address(host, port))) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in _NOT_FREE:
                    continue
                raise
            return Address(host, port)
    raise OSError(f"no port is free between {_QUIET[0]} and {_QUIET[1]}")
