"""Sockets that several threads use at a time, and any of them may close.

The number of a socket that was closed is given to the next one at once, so a thread that was about
to use it would use that.  A socket that is shared is closed when the last has let go of it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from ptipc.osdep import glance, soonest

__all__ = ["Shared", "remaining", "wait_until_ready"]


class Shared:
    """The users of some sockets; as a context manager it tells whether these are still open.

    Whoever has entered may use them until it leaves, even if they are closed meanwhile.
    """

    __slots__ = ("_lock", "_sockets", "_users", "closed")

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._lock = threading.Lock()
        self._users = 0
        self.closed = False
        """Whether somebody has closed them."""

    def __enter__(self) -> bool:
        with self._lock:
            self._users += 1
        return not self.closed

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._users -= 1
        self._close_if_unused()

    def close(self, wake: Callable[[], object]) -> None:
        """Close them, once those who use them are gone; ``wake`` has them go."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        with contextlib.suppress(OSError):
            wake()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with self._lock:
            if self.closed and not self._users:
                for each in self._sockets:
                    each.close()


def remaining(deadline: float | None) -> float | None:
    """How many seconds are left; None: there is no end.  Raises TimeoutError if there are none."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left


def wait_until_ready(
    reading: Sequence[socket.socket],
    writing: Sequence[socket.socket] = (),
    timeout: float | None = None,
) -> bool:
    """Wait until there is something to read or room to write, or one of the sockets has broken.

    Returns whether that is so; if not, ``timeout`` seconds are over.
    """
    end = None if timeout is None else time.monotonic() + timeout
    look = _looker(reading, writing)
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if look(soonest(left, glance())):
            return True
        if end is not None and time.monotonic() >= end:
            return False


def _looker(
    reading: Sequence[socket.socket], writing: Sequence[socket.socket]
) -> Callable[[float | None], bool]:
    """What waits for so many seconds until one of the sockets is ready."""
    if not hasattr(select, "poll"):  # Windows, where a connection that fails is an exception
        broken = [*reading, *writing]
        return lambda timeout: any(select.select(reading, writing, broken, timeout))
    poll = select.poll()
    for each in reading:
        poll.register(each, select.POLLIN)
    for each in writing:
        poll.register(each, select.POLLOUT)
    return lambda timeout: bool(poll.poll(None if timeout is None else timeout * 1000))
