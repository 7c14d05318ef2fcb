"""Accepting connections, and the handshake of each, side by side and each within its time.

Each handshake has a thread of its own; accepting waits for none of them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from ptipc.blocking.network import SocketListener
from ptipc.blocking.streams import SocketStream, Stream, drive, see_off
from ptipc.core.errors import Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake
from ptipc.osdep import start_thread

__all__ = ["HALF_OPEN", "Guests", "Serving", "join", "serve_handshakes"]

log = logging.getLogger(__name__)

HALF_OPEN: Final = 512
"""How many handshakes may be under way at a time, unless the caller says otherwise."""

LAST_WORDS: Final = 1.0
"""How many seconds a thread has to end whose connection was closed."""

Make: TypeAlias = Callable[[], Handshake]
Ready: TypeAlias = Callable[[SocketStream, Handshake], object]


class Serving(Protocol):
    """Handshakes that are being served."""

    def close(self) -> None:
        """Accept no more and give up the handshakes under way; may be called again.

        What was ``ready`` goes on.
        """
        ...


def join(*threads: threading.Thread, timeout: float = LAST_WORDS) -> None:
    """Wait for threads to end, so many seconds in all; not for the one that we are in."""
    deadline = time.monotonic() + timeout
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


class Guests:
    """Connections whose handshake is under way, each in a thread; the oldest of too many has to go.

    ``work`` returns once its guest is ``done``, or has left.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._guests: dict[int, tuple[Stream, threading.Thread]] = {}
        """By the identity of the stream, in the order in which they came, and will have to go."""
        self._closed = False

    def welcome(self, stream: Stream, work: Callable[[], object]) -> None:
        """Do the work for a guest, in a thread of its own."""

        def run() -> None:
            try:
                work()
            finally:
                self.done(stream)

        with self._lock:
            too_many = max(0, len(self._guests) - self._limit + 1)
            leaving = [guest for guest, _ in self._guests.values()][:too_many]
            try:
                if self._closed:
                    leaving = [stream]
                else:
                    self._guests[id(stream)] = stream, start_thread(run, "guest")
            except RuntimeError as error:  # the operating system has no more of them
                log.warning("a connection is turned away: %s", error)
                leaving = [stream]
        for each in leaving:
            self.done(each)
            each.close()

    def done(self, stream: Stream) -> None:
        """Let a guest go on who has done its part; its thread is its own now."""
        with self._lock:
            self._guests.pop(id(stream), None)

    def close(self) -> None:
        """Send all guests away."""
        with self._lock:
            self._closed = True
            guests = list(self._guests.values())
        for stream, _ in guests:
            stream.close()
        join(*(thread for _, thread in guests))


def serve_handshakes(
    listener: socket.socket,
    make_machine: Make,
    ready: Ready,
    timeout: float | None,
    *,
    half_open: int = HALF_OPEN,
) -> Serving:
    """Accept connections and run a handshake on each; ``listener`` belongs to us from now on.

    ``ready`` is called with the stream and its machine once that is done or waits for a decision
    of its owner; octets that came behind a handshake that is done are on the stream already.  It
    may take its time: the thread is its own.
    A handshake that fails, or takes longer than ``timeout`` seconds (None: for ever), ends with the
    machine's goodbye.  When more than ``half_open`` are under way the oldest has to go.
    """
    return _ThreadServing(listener, make_machine, ready, timeout, half_open)


class _ThreadServing:
    """Runs each machine in a thread of its own."""

    def __init__(
        self,
        listener: socket.socket,
        make_machine: Make,
        ready: Ready,
        timeout: float | None,
        half_open: int,
    ) -> None:
        self._listener = SocketListener(listener)
        self._make_machine = make_machine
        self._ready = ready
        self._timeout = timeout
        self._guests = Guests(half_open)
        self._thread = start_thread(self._accept, "accepting")

    def close(self) -> None:
        self._listener.close()
        self._guests.close()
        join(self._thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                stream = self._listener.accept()
                self._guests.welcome(stream, functools.partial(self._serve, stream))

    def _serve(self, stream: SocketStream) -> None:
        try:
            machine = self._make_machine()
            drive(machine, stream, self._timeout)
        except Exception as error:
            _report(error)
            see_off(stream)
            stream.close()
            return
        self._guests.done(stream)
        try:
            self._ready(stream, machine)
        except Exception:
            log.exception("a connection that was ready could not be taken over")
            stream.close()


def _report(error: BaseException) -> None:
    if isinstance(error, (OSError, RemoteProtocolError, Refused)):
        log.debug("a handshake failed: %s", error)
    else:
        log.error("a handshake failed by our own fault", exc_info=error)
