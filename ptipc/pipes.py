"""Pipes through which the kernel moves octets from one connection to another (splice(2))."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import Final, TypeAlias

__all__ = ["CAPACITY", "Pipe", "Pipes"]

CAPACITY: Final = 1 << 20
"""How many octets are moved at a time; as many as a pipe of an ordinary user may have."""

SMALLEST: Final = 65536
"""A pipe that holds less is of no use: copying is faster then."""

LENT: Final = 64
"""How many pipes may be lent at a time.

One that is waiting for a slow reader holds two descriptors and a share of the kernel's memory, of
which a user has as much as these fill (pipe(7), ``pipe-user-pages-soft``).
"""

SPARE: Final = 16
"""How many empty pipes are kept for the next ones who need one."""

Pipe: TypeAlias = tuple[int, int]
"""The end to read from and the end to write to."""


class Pipes:
    """Empty pipes, lent to whoever moves many octets, for as long as they are on their way.

    May be used from any thread.
    """

    __slots__ = ("_lent", "_lock", "_spare")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[Pipe] = []
        self._lent = 0

    def take(self) -> Pipe:
        """An empty pipe.  Raises OSError if there is none to be had."""
        with self._lock:
            if self._lent == LENT:
                raise OSError(errno.EMFILE, "too many pipes are lent")
            pipe = self._spare.pop() if self._spare else _new_pipe()
            self._lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Return a pipe; one that still holds octets is of no use to anybody else."""
        with self._lock:
            self._lent -= 1
            if empty and len(self._spare) < SPARE:
                self._spare.append(pipe)
            else:
                _close(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        with self._lock:
            while self._spare:
                _close(self._spare.pop())


def _new_pipe() -> Pipe:
    import fcntl  # not on Windows

    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # Beyond a user's share of the kernel's memory pipes cannot be enlarged, and soon are small.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, CAPACITY)
    if fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ) < SMALLEST:
        _close(pipe)
        raise OSError(errno.EMFILE, "no more room for pipes")
    return pipe


def _close(pipe: Pipe) -> None:
    for end in pipe:
        os.close(end)
