"""An epoll of our own inside the event loop: who is ready, without tasks, futures or transports.

The event loop sees one descriptor, the epoll; behind it every connection has a handler, which is
called with the events that the kernel reported.  An engine belongs to one event loop, is made by
``running_engine`` when it is first asked for, and is gone when it watches nothing any more: nobody
has to own it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from ptipc.pipes import Pipes

__all__ = [
    "BROKEN",
    "ONLY_ONCE",
    "READABLE",
    "WRITABLE",
    "Engine",
    "Handler",
    "connect",
    "running_engine",
    "unless_broken",
]

# The kernel's own numbers (epoll_ctl(2)): `select` has the names only where there is an epoll.
READABLE: Final = 0x001
WRITABLE: Final = 0x004
BROKEN: Final = 0x008
"""Reported whether asked for or not, as is a hang-up."""
ONLY_ONCE: Final = 1 << 31
"""Report what is the case once, and again only when it has changed."""

BUFFER: Final = 65536
"""How many octets are received at a time where they are only passed on."""

EVENTS: Final = 64
"""How many events are taken at a time, before the event loop has its turn."""

_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN)

Handler: TypeAlias = Callable[[int], object]
"""What is called with the events of a descriptor.

It may be called for nothing, with the events of an earlier bearer of its descriptor's number: it
tries what it wants to do and takes BlockingIOError for an answer.
"""


class Engine:
    """Calls a handler for every descriptor that is ready."""

    __slots__ = ("_epoll", "_handlers", "_loop", "buffer", "pipes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handlers: dict[int, Handler] = {}
        self._epoll = select.epoll()
        self.buffer = memoryview(bytearray(BUFFER))
        """For one handler at a time, while it runs; a connection that is idle holds no buffer."""
        self.pipes = Pipes()
        try:
            loop.add_reader(self.fileno(), self._run)
        except BaseException:
            self._epoll.close()
            raise

    def add(self, fd: int, handler: Handler, events: int) -> None:
        """Watch a descriptor: report its events for as long as they last.  Raises OSError."""
        try:
            self._epoll.register(fd, events)
            self._handlers[fd] = handler
        finally:
            self.close_if_idle()

    def modify(self, fd: int, events: int) -> None:
        """Watch a descriptor for other events than before.  Raises OSError, ValueError."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int, handler: Handler) -> None:
        """Watch a descriptor no more; to be called before it is closed."""
        # If somebody else has closed it, the number may belong to another connection by now.
        if self._handlers.get(fd) == handler:
            del self._handlers[fd]
            # Closing alone would not do if there is a duplicate, in a child process perhaps.
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)
            self.close_if_idle()

    def fileno(self) -> int:
        """The descriptor that is readable while any of those watched is ready."""
        return self._epoll.fileno()

    def _run(self) -> None:
        handlers = self._handlers
        for fd, events in self._epoll.poll(0, EVENTS):
            # A handler that ran before this one may have closed the connection.
            if handler := handlers.get(fd):
                handler(events)

    def close_if_idle(self) -> None:
        """Be gone, unless there is something to watch."""
        if not self._handlers and not self._epoll.closed:
            self._loop.remove_reader(self.fileno())
            self._close()

    def close_if_its_loop_is(self) -> None:
        """Be gone, if the event loop was closed while there was something to watch."""
        if self._loop.is_closed():
            self._close()

    def _close(self) -> None:
        self._epoll.close()
        self.pipes.close()
        del _engines[self._loop]


_engines: dict[asyncio.AbstractEventLoop, Engine] = {}


def running_engine() -> Engine | None:
    """The engine of the running event loop; None where there can be none.

    The caller adds a descriptor to it at once, or else calls ``close_if_idle``.
    """
    loop = asyncio.get_running_loop()
    engine = _engines.get(loop)
    if engine is None and hasattr(select, "epoll") and hasattr(os, "splice"):
        for other in list(_engines.values()):
            other.close_if_its_loop_is()
        # Not every event loop can watch a descriptor.
        with contextlib.suppress(NotImplementedError):
            engine = _engines[loop] = Engine(loop)
    return engine


async def connect(connection: socket.socket, place: tuple[Any, ...]) -> None:
    """Connect a non-blocking socket to an IP address and port.  Raises OSError."""
    loop = asyncio.get_running_loop()
    engine = running_engine()
    if engine is None:
        await loop.sock_connect(connection, place)
        return
    connected = loop.create_future()

    def attempt(events: int) -> None:
        # Asked again while it is under way, the kernel says how it stands.
        code = connection.connect_ex(place)
        if code in _UNDER_WAY or connected.done():
            return
        if code:
            connected.set_exception(OSError(code, os.strerror(code)))
        else:
            connected.set_result(None)

    fd = connection.fileno()
    try:
        attempt(0)
        if not connected.done():
            attempt(0)  # on this machine it is there already, as the kernel says when asked again
        if not connected.done():
            engine.add(fd, attempt, WRITABLE)
        await connected
    finally:
        engine.remove(fd, attempt)
        engine.close_if_idle()


@contextlib.contextmanager
def unless_broken(connection: socket.socket, notice: Callable[[], object]) -> Iterator[None]:
    """Call a function if a connection breaks meanwhile, where there is an engine.

    Octets that come, and their end, are left alone: who has sent its last may still want an answer.
    """
    fd = connection.fileno()
    engine: Engine | None = None

    def check(events: int) -> None:
        if events & BROKEN and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            notice()

    def watch() -> None:
        nonlocal engine
        if engine := running_engine():
            engine.add(fd, check, ONLY_ONCE)

    # Not at once: what takes no time shall cost nothing.
    watching = asyncio.get_running_loop().call_soon(watch)
    try:
        yield
    finally:
        watching.cancel()
        if engine is not None:
            engine.remove(fd, check)
