"""Addresses of this machine for the tester's purposes: closed, in use, and free."""

from __future__ import annotations

import contextlib
import random
import socket

from attrs import frozen

from ptipc.core.codecs import Address

__all__ = ["Taken", "free_address"]

FIRST, LAST = 20_000, 32_000
"""Among these ports no system looks for one when a program asks for any."""


@frozen
class Taken:
    """A port at which nobody listens, or which is in use; it stays ours until it is closed."""

    address: Address
    bound: socket.socket

    @classmethod
    def make(cls, listening: bool = False) -> Taken:
        """One that is closed, or in use."""
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        if listening:
            bound.listen(1)
        return cls(Address(*bound.getsockname()), bound)


def free_address() -> Address:
    """An address that was free a moment ago, for programs that are told where to listen.

    It is none that somebody else may be given before the program has it.  Raises OSError.
    """
    for port in random.sample(range(FIRST, LAST), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return Address(*probe.getsockname())
    raise OSError(f"no port is free between {FIRST} and {LAST}")
