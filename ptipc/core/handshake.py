"""Scripted exchanges of bytes: what every handshake has in common.

A handshake is a generator that reads through a ``Reader`` and sends through ``_send``; both ends of
a protocol stand in one file.  Whoever has the socket does, in any order and with any pieces::

    machine.receive_data(data)  # or receive_eof(), receive_timeout()
    write(machine.data_to_send())

until ``machine.done``; what the peer sent beyond the handshake is then in ``trailing_data``.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from ptipc.core.errors import LocalProtocolError, PtipcError, RemoteProtocolError

__all__ = ["Handshake", "HandshakeTimeout", "Reader", "Script", "Steps"]

T = TypeVar("T")
Steps: TypeAlias = Generator[int, None, T]
"""A part of a script that ends in a value; it yields how many more octets it has to have."""

Script: TypeAlias = Steps[None]
"""A whole script."""


class HandshakeTimeout(RemoteProtocolError):
    """The peer did not finish its part of the handshake in time."""


class Reader:
    """What the peer has sent and the script has not yet read."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add octets that came from the peer."""
        self._buffer += data

    def exactly(self, count: int) -> Steps[bytes]:
        """The next ``count`` octets."""
        while len(self._buffer) < count:
            yield count - len(self._buffer)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def until(self, end: bytes, limit: int) -> Steps[bytes]:
        """The octets before the next ``end``, which is read and left out.

        Raises RemoteProtocolError if it does not come within ``limit`` octets.
        """
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            if len(self._buffer) >= limit:
                raise RemoteProtocolError(f"no {end!r} within {limit} octets")
            searched = max(0, len(self._buffer) - len(end) + 1)
            yield 1
        if at + len(end) > limit:
            raise RemoteProtocolError(f"no {end!r} within {limit} octets")
        data = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return data

    def rest(self) -> bytes:
        """Everything that was not read."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


class Handshake:
    """One end of an exchange of bytes.

    A subclass sets its attributes, calls ``super().__init__()``, which runs the script up to its
    first wait, and writes the exchange down in ``_run``.  Errors latch: once an input has raised,
    every later one raises the same error.  What the script queued before it raised can still be
    had from ``data_to_send``, so that the peer hears a goodbye.
    """

    def __init__(self) -> None:
        self._reader = Reader()
        self._out = bytearray()
        self._error: PtipcError | None = None
        self._needed = 0
        self._trailing = b""
        self.done = False
        """Whether the exchange is complete; never true after an error."""
        self._script = self._run()
        self._advance()

    def _run(self) -> Script:
        raise NotImplementedError

    # --- what the script calls

    def _send(self, data: bytes) -> None:
        self._out += data

    # --- inputs

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer, any number at a time.

        Raises RemoteProtocolError or Refused if the peer's part of the exchange is wrong.
        """
        if self._error is not None:
            raise self._error
        if self.done:
            self._trailing += data
            return
        self._reader.feed(data)
        # A script that waits for our caller, or for more than this, need not run.
        if self._needed and len(data) >= self._needed:
            self._advance()
        elif self._needed:
            self._needed -= len(data)

    def receive_eof(self) -> None:
        """Take notice that the peer will send no more.

        Raises RemoteProtocolError if the exchange still needs octets.
        """
        if self._error is not None:
            raise self._error
        if self._needed:
            self._throw(RemoteProtocolError("the peer closed the connection during the handshake"))

    def receive_timeout(self) -> None:
        """Take notice that the time for the exchange is over.

        Raises HandshakeTimeout if the exchange was waiting for the peer.
        """
        if self._error is not None:
            raise self._error
        if not self.done:
            self._throw(HandshakeTimeout("the handshake took too long"))

    # --- outputs

    def data_to_send(self) -> bytes:
        """The octets to send to the peer now; each is given once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def bytes_needed(self) -> int:
        """How many octets have to come before anything can happen; 0: none, it is our turn."""
        return self._needed

    @property
    def trailing_data(self) -> bytes:
        """What the peer sent beyond the handshake; it belongs to whatever follows."""
        return self._trailing

    @property
    def error(self) -> PtipcError | None:
        """The error in which the exchange ended."""
        return self._error

    # --- the engine

    def _resume(self) -> None:
        """Go on after a decision of our caller that the script was waiting for."""
        if self._error is not None:
            raise self._error
        if self.done or self._needed:
            raise LocalProtocolError("the handshake is not waiting for a decision")
        self._advance()

    def _advance(self) -> None:
        try:
            self._needed = next(self._script)
        except StopIteration:
            self._finish()
        except PtipcError as error:
            self._fail(error)

    def _throw(self, error: PtipcError) -> None:
        try:
            self._needed = self._script.throw(error)
        except StopIteration:
            self._finish()
        except PtipcError as raised:
            self._fail(raised)

    def _finish(self) -> None:
        self.done = True
        self._needed = 0
        self._trailing = self._reader.rest()

    def _fail(self, error: PtipcError) -> None:
        self._error = error
        self._needed = 0
        raise error
