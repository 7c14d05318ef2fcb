"""Octets between two connections, moved whenever the kernel says that they can be.

A relay has two ends, and each end is in one of three states, which says what the direction that
begins there is waiting for.  What a direction does is tried, never predicted: the kernel is asked
to receive, to send, to splice, and answers how far it came.

A plain direction copies by way of the engine's buffer.  Once that was too small it lets the kernel
move the octets, through a pipe that is borrowed while there are some on their way.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from ptipc.aio.engine import BROKEN, ONLY_ONCE, READABLE, WRITABLE, Engine
from ptipc.pipes import CAPACITY, Pipe

__all__ = ["CHUNK", "Change", "Done", "End", "MappedEnd", "PlainEnd", "Relay", "changed"]

CHUNK: Final = 65536
"""How many octets are asked for at a time."""

LARGE_CHUNK: Final = 122880
"""How many octets are asked for when there are many, and the sink takes them as they come.

Each time the kernel is asked it wakes whoever sends, which costs more than the octets do.  But from
128 KiB on the C library maps and unmaps memory each time (mallopt(3)), which costs more than that.
"""

TURN: Final = 1 << 20
"""How many octets a direction moves before others have their turn."""

MANY: Final = 16384
"""How many octets have to come at once for the next ones to be spliced."""

Change: TypeAlias = Callable[[bytes], bytes]
Done: TypeAlias = Callable[[BaseException | None], object]
"""What is called once, when both directions have ended (None) or one of them failed."""

# What a direction waits for: octets from its source, room at its sink, or nothing any more.
_READING: Final = 0
_BLOCKED: Final = 1
_ENDED: Final = 2

_INTEREST: Final = (
    # by the state of the direction that begins at a connection and of the one that ends there
    (READABLE, READABLE | WRITABLE, READABLE),
    (ONLY_ONCE, WRITABLE, ONLY_ONCE),
    (ONLY_ONCE, WRITABLE, ONLY_ONCE),
)
"""What to watch a connection for.

The kernel reports a connection that broke in any case.  Where nothing else is waited for it shall
do so once: it is noted if it matters already, and met when the direction goes on if not.
"""

_NOTHING: Final = memoryview(b"")

_NO_SPLICE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""How a kernel, or whoever fences us in, says that these descriptors cannot be spliced."""


class Relay:
    """Two connections that are given each other's octets, until both have sent their last.

    Both are closed in the end, in any case; ``done`` is called after that.
    """

    __slots__ = ("_done", "_ends", "engine")

    def __init__(self, engine: Engine, one: End, other: End, done: Done) -> None:
        """Start.  Raises OSError if a connection cannot be watched."""
        self.engine = engine
        self._ends: tuple[End, ...] = (one, other)
        self._done = done
        one.join(self, other)
        other.join(self, one)
        one.start()
        try:
            other.start()
        except BaseException:
            one.leave()
            raise

    def cancel(self) -> None:
        """End at once; what was not sent yet is lost, and ``done`` is not called."""
        if self._ends:
            for end in self._ends:
                end.stop()
            # All know each other; the garbage collector shall have nothing to find.
            self._ends = ()
            del self._done

    def finish(self, error: Exception | None) -> None:
        """End, and say so."""
        if self._ends:
            done = self._done
            self.cancel()
            done(error)


class End:
    """One connection of a relay, and the direction that begins there."""

    __slots__ = ("_fd", "_interest", "_other", "_relay", "_socket", "_state", "_unsent")

    _other: End
    _relay: Relay

    def __init__(self, connection: socket.socket, received: bytes = b"") -> None:
        """``received`` has come from the connection already and is to be sent on as it is."""
        self._fd = connection.fileno()
        self._socket = connection
        self._unsent = memoryview(received) if received else _NOTHING
        self._state = _BLOCKED if received else _READING
        self._interest = 0

    def join(self, relay: Relay, other: End) -> None:
        """Take notice of what this is an end of."""
        self._relay = relay
        self._other = other

    def start(self) -> None:
        """Watch the connection."""
        self._interest = _INTEREST[self._state][self._other._state]
        self._relay.engine.add(self._fd, self._on_ready, self._interest)

    def leave(self) -> None:
        """Watch the connection no more."""
        self._relay.engine.remove(self._fd, self._on_ready)

    def stop(self) -> None:
        """Close the connection."""
        self.leave()
        self._socket.close()
        del self._other, self._relay

    def _on_ready(self, events: int) -> None:
        relay, other = self._relay, self._other
        try:
            if other._state == _BLOCKED and events & ~READABLE:
                other._resume()
            if self._state == _READING and events & ~WRITABLE:
                self._move()
            elif self._state == _ENDED and events & BROKEN:
                self._check()
            ended = self._state == other._state == _ENDED
            if not ended:
                self._watch()
                other._watch()
        except Exception as error:
            relay.finish(error)
        else:
            if ended:
                relay.finish(None)

    def _check(self) -> None:
        """Raise what the connection broke of."""
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))

    def _watch(self) -> None:
        interest = _INTEREST[self._state][self._other._state]
        if interest != self._interest:
            self._interest = interest
            self._relay.engine.modify(self._socket.fileno(), interest)

    # --- the direction that begins here; everything below may raise

    def _move(self) -> None:
        """Move what there is, until there is no more, no room for it, or it is others' turn."""
        raise NotImplementedError

    def _resume(self) -> None:
        """Go on after there was no room."""
        if self._sent(self._unsent):
            self._move()

    def _sent(self, data: memoryview) -> bool:
        """Send; if there is no room for all of it keep the rest, and say no."""
        try:
            count = self._other._socket.send(data) if data else 0
        except BlockingIOError:
            count = 0
        if count < len(data):
            self._unsent = data[count:]
            self._state = _BLOCKED
            return False
        self._unsent = _NOTHING
        self._state = _READING
        return True

    def _end(self) -> None:
        """The source has sent its last: hand that on."""
        self._state = _ENDED
        if self._other._state != _ENDED:  # or else both connections are closed right now
            self._other._socket.shutdown(socket.SHUT_WR)


def changed(data: bytes, changes: Sequence[Change]) -> bytes:
    """What becomes of octets that pass through some functions; nothing is not passed on."""
    for change in changes:
        if not data:
            break
        data = change(data)
    return data


class MappedEnd(End):
    """An end whose octets pass through functions of a transport's author."""

    __slots__ = ("_asked", "_changes")

    def __init__(
        self, connection: socket.socket, changes: Sequence[Change], received: bytes = b""
    ) -> None:
        super().__init__(connection, received)
        self._changes = changes
        self._asked = CHUNK

    def _move(self) -> None:
        try:
            data = self._socket.recv(self._asked)
        except BlockingIOError:
            return
        if not data:
            self._end()
            return
        many = len(data) >= CHUNK
        kept_up = self._sent(memoryview(changed(data, self._changes)))
        self._asked = LARGE_CHUNK if many and kept_up else CHUNK


class PlainEnd(End):
    """An end whose octets are sent on as they are."""

    __slots__ = ("_held", "_many", "_pipe", "_splices")

    def __init__(self, connection: socket.socket, received: bytes = b"") -> None:
        super().__init__(connection, received)
        self._many = False
        """Whether so many octets came the last time that a pipe was worth it."""
        self._splices = True
        """Whether the kernel has not said yet that it cannot."""
        self._pipe: Pipe | None = None
        self._held = 0
        """How many octets are in the pipe."""

    def stop(self) -> None:
        self._return_pipe()
        super().stop()

    def _move(self) -> None:
        if self._many:
            self._splice()
        else:
            self._copy()

    def _resume(self) -> None:
        if self._pipe is None:
            super()._resume()
        elif self._emptied(self._pipe):
            self._splice()

    def _copy(self) -> None:
        buffer = self._relay.engine.buffer
        try:
            count = self._socket.recv_into(buffer)
        except BlockingIOError:
            return
        if not count:
            self._end()
        elif not self._sent(buffer[:count]):
            self._unsent = memoryview(bytes(self._unsent))  # the buffer is everybody's
        self._many = count == len(buffer) and self._splices

    def _splice(self) -> None:
        try:
            pipe = self._borrowed_pipe()
        except OSError:
            self._copy()
            return
        source = self._socket.fileno()
        moved = 0
        while moved < TURN:
            try:
                count = os.splice(source, pipe[1], CAPACITY, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                self._many = moved >= MANY
                break
            except OSError as error:
                self._give_up_splicing(error)
                return
            if not count:
                self._end()
                break
            self._held = count
            if not self._emptied(pipe):
                return
            moved += count
        self._return_pipe()

    def _emptied(self, pipe: Pipe) -> bool:
        """Empty the pipe; if there is no room for all of it keep the rest, and say no."""
        try:
            self._held -= os.splice(
                pipe[0], self._other._socket.fileno(), self._held, flags=os.SPLICE_F_NONBLOCK
            )
        except BlockingIOError:
            pass
        except OSError as error:
            self._give_up_splicing(error)
            return False
        self._state = _BLOCKED if self._held else _READING
        return not self._held

    def _give_up_splicing(self, error: OSError) -> None:
        """Copy from now on, if that is all that is wrong."""
        if error.errno not in _NO_SPLICE:
            raise error
        self._splices = self._many = False
        data = os.read(self._borrowed_pipe()[0], self._held) if self._held else b""
        self._held = 0
        self._return_pipe()
        self._sent(memoryview(data))

    def _borrowed_pipe(self) -> Pipe:
        if self._pipe is None:
            self._pipe = self._relay.engine.pipes.take()
        return self._pipe

    def _return_pipe(self) -> None:
        if self._pipe is not None:
            self._relay.engine.pipes.give_back(self._pipe, empty=not self._held)
            self._pipe = None
