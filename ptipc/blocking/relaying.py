"""Octets from one connection to another, moved by the kernel while there are many (splice(2))."""

from __future__ import annotations

import enum
import errno
import os
import socket
import threading
from typing import Final, Protocol

from ptipc.pipes import CAPACITY, Pipe, Pipes

__all__ = ["Outcome", "Side", "pool", "splice"]

MANY: Final = 16384
"""How many octets have to come at once for the next ones to be spliced."""

_NO_SPLICE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""How a kernel, or whoever fences us in, says that these descriptors cannot be spliced."""


class _Pool:
    """The pipes of all relays, which are closed with the last of them."""

    def __init__(self) -> None:
        self.pipes = Pipes()
        self._lock = threading.Lock()
        self._relays = 0

    def __enter__(self) -> None:
        with self._lock:
            self._relays += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._relays -= 1
            if not self._relays:
                self.pipes.close()


pool = _Pool()
"""A context for a relay to be in."""


class Side(enum.Enum):
    """What somebody waits for a connection to allow."""

    READ = "read"
    WRITE = "write"


class Outcome(enum.Enum):
    """Why octets are spliced no more."""

    ENDED = "the source has sent its last"
    FEW = "there are few: copying is cheaper"
    NEVER = "the kernel cannot do it"


class Connection(Protocol):
    """A connection whose descriptor stays open meanwhile."""

    network: socket.socket

    def wait(self, side: Side) -> object:
        """Wait until there are octets, or there is room; or until it was closed."""
        ...

    def send(self, data: bytes) -> None:
        """Send octets."""
        ...


def splice(source: Connection, sink: Connection) -> Outcome:
    """Splice while there are many octets.  Raises OSError if one of the connections broke."""
    if not hasattr(os, "splice"):
        return Outcome.NEVER
    while True:
        try:
            pipe = pool.pipes.take()
        except OSError:  # there is none to be had
            return Outcome.FEW
        transfer = _Transfer(source, sink, pipe)
        try:
            outcome = transfer.run()
        finally:
            pool.pipes.give_back(pipe, empty=not transfer.held)
        if outcome is not None:
            return outcome
        source.wait(Side.READ)


class _Transfer:
    """The octets that there are, on their way through a pipe."""

    def __init__(self, source: Connection, sink: Connection, pipe: Pipe) -> None:
        self._source = source
        self._sink = sink
        self._pipe = pipe
        self.held = 0
        """How many octets are in the pipe."""

    def run(self) -> Outcome | None:
        """Move what there is; None: there were many, and so more may be expected."""
        moved = 0
        try:
            while self._fill():
                moved += self.held
                self._empty()
        except BlockingIOError:
            return Outcome.FEW if moved < MANY else None
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            self._rescue()
            return Outcome.NEVER
        return Outcome.ENDED

    def _fill(self) -> bool:
        fd = self._source.network.fileno()
        self.held = os.splice(fd, self._pipe[1], CAPACITY, flags=os.SPLICE_F_NONBLOCK)
        return self.held > 0

    def _empty(self) -> None:
        fd = self._sink.network.fileno()
        while self.held:
            try:
                flags = os.SPLICE_F_NONBLOCK
                self.held -= os.splice(self._pipe[0], fd, self.held, flags=flags)
            except BlockingIOError:
                self._sink.wait(Side.WRITE)

    def _rescue(self) -> None:
        """Send what is in the pipe in another way."""
        data = os.read(self._pipe[0], self.held) if self.held else b""
        self.held = 0
        self._sink.send(data)
