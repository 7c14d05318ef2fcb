"""Addresses of this machine at which nobody is to be reached."""

from __future__ import annotations

import socket

from attrs import frozen

from ptipc.core.codecs import Address

__all__ = ["Taken"]


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
