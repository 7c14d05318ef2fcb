"""A child process inside an event loop: what it writes, and when it ends, as calls.

Where the event loop can watch a descriptor it does; elsewhere (on Windows) threads wait.  Whoever
is called is held weakly, so that a process which its owner has lost is ended and warned about.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import IO, Any

from ptipc.children import Child, weakly
from ptipc.core.dialects import Stream
from ptipc.osdep import start_thread

__all__ = ["Process", "uninterrupted"]

CHUNK = 65536
"""How many octets are read at a time, before the event loop has its turn."""
LAST_WORDS = 1.0
"""How many seconds the outputs of a process that has ended are still read."""
UNKILLABLE = 10.0
"""How many seconds we wait for a process that was killed; one that hangs in the kernel is left."""


class Process:
    """A child, as long as it lives, and until everything that it wrote has been read.

    ``said`` is called with what it writes to one of its outputs, and with nothing at the end of
    that output; ``ended`` once, at the end of all.  Both are methods of whoever owns the process.
    """

    def __init__(
        self, child: Child, said: Callable[[Stream, bytes], object], ended: Callable[[], object]
    ) -> None:
        self.child = child
        self.exited = asyncio.Event()
        """Set when the process has ended and was heard to the end."""
        self._said = weakref.WeakMethod(said)
        self._ended = weakref.WeakMethod(ended)
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, Callable[[], object]] = {}
        """The descriptors that the event loop watches for us, and how each is closed."""
        self._open = dict(child.outputs)
        for stream, output in self._open.items():
            self._watch_output(stream, output)
        self._watch_exit()

    def __del__(self) -> None:
        # The child sees to the rest.
        for fd, close in self._watched.items():
            if not self._loop.is_closed():
                self._loop.remove_reader(fd)
            close()

    # --- watching

    def _watch(self, fd: int, ready: Callable[[], object], close: Callable[[], object]) -> bool:
        """Have the event loop watch a descriptor; whether it can."""
        try:
            self._loop.add_reader(fd, ready)
        except NotImplementedError:
            return False
        self._watched[fd] = close
        return True

    def _unwatch(self, fd: int) -> None:
        if (close := self._watched.pop(fd, None)) is not None:
            self._loop.remove_reader(fd)
            close()

    def _watch_output(self, stream: Stream, output: IO[bytes]) -> None:
        if self._watch(output.fileno(), weakly(self._read, stream), output.close):
            os.set_blocking(output.fileno(), False)
        else:
            # Only who reads it may close it: the child loses it.
            del self.child.outputs[stream]
            take = weakly(self._take, stream)
            start_thread(functools.partial(_pump, output, self._loop, take), "child's output")

    def _watch_exit(self) -> None:
        self._exit_fd = self.child.exit_descriptor()
        if self._exit_fd is not None:
            close = functools.partial(os.close, self._exit_fd)
            if self._watch(self._exit_fd, weakly(self._reap), close):
                return
            close()
            self._exit_fd = None
        wait, ended = self.child.waiter(), weakly(self._reap)
        start_thread(functools.partial(_wait, wait, self._loop, ended), "child's end")

    # --- what happens

    def _read(self, stream: Stream) -> None:
        if stream not in self._open:  # it was closed in the same round of the event loop
            return
        try:
            data = self._open[stream].read(CHUNK)
        except OSError:
            data = b""
        if data is not None:
            self._take(stream, data)

    def _take(self, stream: Stream, data: bytes) -> None:
        if stream not in self._open:
            return
        if not data:
            self._unwatch(self._open.pop(stream).fileno())
        if (said := self._said()) is not None:
            said(stream, data)
        if not self._open and self.child.returncode is not None:
            self._finish()

    def _reap(self) -> None:
        if self.child.returncode is not None:
            return
        if self._exit_fd is not None:
            self._unwatch(self._exit_fd)
        self.child.reap()
        if self._open:
            # What it had started was ended with it, but some of that may have gone its own way.
            self._loop.call_later(LAST_WORDS, weakly(self._finish))
        else:
            self._finish()

    def _finish(self) -> None:
        if self.exited.is_set():
            return
        while self._open:
            stream, output = self._open.popitem()
            self._unwatch(output.fileno())
            if (said := self._said()) is not None:
                said(stream, b"")
        self.child.close()
        self.exited.set()
        if (ended := self._ended()) is not None:
            ended()

    # --- its end

    async def stop(self, timeouts: Sequence[float]) -> None:
        """End the process: close its stdin, wait, SIGTERM, wait, SIGKILL (PT 1 section 3.4).

        ``timeouts`` are the seconds of the two waits; its end cuts them short, and so does a
        cancellation, which still does not return before the process has ended.
        """
        try:
            self.child.close_stdin()
            if not await self.wait(timeouts[0]):
                self.child.terminate()
                await self.wait(timeouts[1])
        finally:
            if not self.exited.is_set():
                self.child.kill()
                await uninterrupted(self.wait(UNKILLABLE))

    async def wait(self, timeout: float) -> bool:
        """Wait for its end, so many seconds at most; whether it has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.exited.wait()
        return self.exited.is_set()


async def uninterrupted(work: Awaitable[Any]) -> None:
    """Wait for something short, and be cancelled only after it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


# --- threads --------------------------------------------------------------------------------------


def _pump(
    output: IO[bytes], loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None]
) -> None:
    """Read an output in a thread; the event loop takes each piece before the next is read."""
    taken = threading.Semaphore(0)

    def hand_over(data: bytes) -> None:
        try:
            take(data)
        finally:
            taken.release()

    with output, contextlib.suppress(RuntimeError):  # the event loop has been closed
        while True:
            try:
                data = output.read(CHUNK)
            except OSError:
                data = b""
            loop.call_soon_threadsafe(hand_over, data)
            while not taken.acquire(timeout=1.0):
                if loop.is_closed():
                    return
            if not data:
                return


def _wait(
    wait: Callable[[], None], loop: asyncio.AbstractEventLoop, ended: Callable[[], None]
) -> None:
    wait()
    with contextlib.suppress(RuntimeError):  # the event loop has been closed
        loop.call_soon_threadsafe(ended)
