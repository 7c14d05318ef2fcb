"""A child process among threads: what it writes, and when it ends, as calls.

Each output has a thread that reads it, and a third waits for the end.  Whoever is called is held
weakly, so that a process which its owner has lost is ended and warned about.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import IO, Any

from ptipc.blocking.accepting import join
from ptipc.children import Child, weakly
from ptipc.core.dialects import Stream
from ptipc.osdep import WINDOWS, start_thread, wait_for

__all__ = ["Process"]

CHUNK = 65536
"""How many octets are read at a time."""
LAST_WORDS = 1.0
"""How many seconds the outputs of a process that has ended are still read."""
UNKILLABLE = 10.0
"""How many seconds we wait for a process that was killed; one that hangs in the kernel is left."""


class Process:
    """A child, as long as it lives, and until everything that it wrote has been read.

    ``said`` is called with what it writes to one of its outputs, and with nothing at the end of
    that output; ``ended`` once, at the end of all.  Both are methods of whoever owns the process,
    and are called from threads.
    """

    def __init__(
        self, child: Child, said: Callable[[Stream, bytes], object], ended: Callable[[], object]
    ) -> None:
        self.child = child
        self.exited = threading.Event()
        """Set when the process has ended and was heard to the end."""
        self._said = weakref.WeakMethod(said)
        self._ended = weakref.WeakMethod(ended)
        self._signalling = threading.Lock()
        # Whoever reads an output closes it: nobody else knows when it is not being read.
        outputs, child.outputs = child.outputs, {}
        self._bell = _Bell(len(outputs))
        self._readers = [
            start_thread(
                functools.partial(_read, output, self._bell, weakly(self._take, stream)),
                "child's output",
            )
            for stream, output in outputs.items()
        ]
        self._waiter = start_thread(
            functools.partial(_wait, child.waiter(), weakly(self._reap)), "child's end"
        )

    def __del__(self) -> None:
        # The child sees to the rest.
        self._bell.ring()

    # --- what happens, in threads

    def _take(self, stream: Stream, data: bytes) -> None:
        if (said := self._said()) is not None:
            said(stream, data)

    def _reap(self) -> None:
        with self._signalling:
            self.child.reap()
        # What it had started was ended with it, but some of that may have gone its own way.
        join(*self._readers, timeout=LAST_WORDS)
        self._bell.ring()
        join(*self._readers, timeout=LAST_WORDS)
        self.child.close()
        self.exited.set()
        if (ended := self._ended()) is not None:
            ended()

    # --- its end

    def stop(self, timeouts: Sequence[float]) -> None:
        """End the process: close its stdin, wait, SIGTERM, wait, SIGKILL (PT 1 section 3.4).

        ``timeouts`` are the seconds of the two waits; its end cuts them short, and so does an
        interruption, which still does not return before the process has ended.
        """
        try:
            self.child.close_stdin()
            if not self.wait(timeouts[0]):
                self._signal(self.child.terminate)
                self.wait(timeouts[1])
        finally:
            if not self.exited.is_set():
                self._signal(self.child.kill)
                self.wait(UNKILLABLE)
            join(*self._readers, self._waiter)

    def wait(self, timeout: float) -> bool:
        """Wait for its end, so many seconds at most; whether it has come."""
        return wait_for(self.exited, timeout)

    def _signal(self, signal: Callable[[], None]) -> None:
        # Not while it is reaped: its number may be somebody else's a moment later.
        with self._signalling:
            signal()


class _Bell:
    """Has those leave who read from a pipe; not on Windows, where nobody can listen to both."""

    def __init__(self, listeners: int) -> None:
        self._lock = threading.Lock()
        self._listeners = listeners
        self._rope: int | None = None
        self.fd: int | None = None
        """A descriptor that is at its end once the bell was rung."""
        if not WINDOWS:
            self.fd, self._rope = os.pipe()

    def ring(self) -> None:
        """Ring; may be done again."""
        with self._lock:
            rope, self._rope = self._rope, None
        if rope is not None:
            os.close(rope)

    def leave(self) -> None:
        """Listen no more; the last one takes the bell away."""
        with self._lock:
            self._listeners -= 1
            last = not self._listeners
        if last:
            self.ring()
            if self.fd is not None:
                os.close(self.fd)


def _read(output: IO[bytes], bell: _Bell, take: Callable[[bytes], Any]) -> None:
    """Read an output to its end, or until the bell is rung, and close it."""
    try:
        with output, contextlib.suppress(OSError):
            while _has_come(output, bell) and (data := output.read(CHUNK)):
                take(data)
    finally:
        bell.leave()
    take(b"")


def _has_come(output: IO[bytes], bell: _Bell) -> bool:
    """Wait until there is something to read; False if the bell rings before."""
    if bell.fd is None:
        return True
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(bell.fd, select.POLLIN)
    return bell.fd not in dict(poll.poll())


def _wait(wait: Callable[[], None], ended: Callable[[], None]) -> None:
    wait()
    ended()
