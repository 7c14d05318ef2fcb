"""UDP over a stream: how datagrams are told apart on it, and when streams are opened and closed.

``LengthFraming`` is for the mode transparent-UDP, ``StunFraming`` for the mode STUN; both ends must
be configured alike, for nothing on the wire tells which is used.  ``Pool`` decides which connection
carries which datagram.
Source: PT 2.0 section 3.3.5, PT 3.0 section 1.5.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Literal, TypeVar

from attrs import define, field, frozen

from ptipc.core.dialects import PT2_0, PT3_0, Dialect, Role, Row
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "TRANSITIONS",
    "Action",
    "Event",
    "Framing",
    "LengthFraming",
    "Pool",
    "State",
    "StunFraming",
    "Transition",
]

# --- framing (PT 3.0 section 1.5.4) ---------------------------------------------------------------


@frozen
class _Frame:
    """Where, counted from the start of a frame, its datagram is and the next frame begins."""

    start: int
    stop: int
    end: int


class Framing(ABC):
    """How datagrams are told apart on one stream, in both directions.

    A subclass says how many octets it has to see to know the size of a frame, and what that is.
    At most one incomplete frame is kept, which is at most 65555 octets.
    """

    _head: int

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._error: RemoteProtocolError | None = None

    @abstractmethod
    def serialize(self, datagram: bytes) -> bytes:
        """The octets that carry a datagram.

        Raises LocalProtocolError if the framing cannot carry it; drop the datagram then.
        """

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take octets from the stream, any number at a time; returns the datagrams they complete.

        Raises RemoteProtocolError if they are no frames, now and ever after, for then nobody knows
        where the next frame begins: close the connection.  Datagrams of the same piece are lost.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        try:
            return list(self._datagrams())
        except RemoteProtocolError as error:
            self._error = error
            self._buffer.clear()
            raise

    def receive_eof(self) -> None:
        """Take notice that the stream is over.

        Raises RemoteProtocolError if it ended within a frame.
        """
        if self._error is not None:
            raise self._error
        if self._buffer:
            self._error = RemoteProtocolError("the stream ended within a datagram")
            raise self._error

    def _datagrams(self) -> Iterator[bytes]:
        at = 0
        with memoryview(self._buffer) as view:
            while len(view) - at >= self._head:
                frame = self._frame(bytes(view[at : at + self._head]))
                if len(view) - at < frame.end:
                    break
                yield bytes(view[at + frame.start : at + frame.stop])
                at += frame.end
        del self._buffer[:at]  # once for all, so that many small datagrams stay cheap

    @abstractmethod
    def _frame(self, head: bytes) -> _Frame:
        """What the first octets say of their frame.  Raises RemoteProtocolError."""


class LengthFraming(Framing):
    """A length of two octets, then the datagram, which may be empty.

    The length is in network byte order; ``order`` is for peers that have it otherwise
    (``Dialect.datagram_length_order``, C59).
    """

    _head = 2

    def __init__(self, order: Literal["big", "little"] = "big") -> None:
        super().__init__()
        self._order: Final = order

    def serialize(self, datagram: bytes) -> bytes:
        if len(datagram) > 0xFFFF:
            raise LocalProtocolError(f"a datagram of {len(datagram)} octets; the most is 65535")
        return len(datagram).to_bytes(2, self._order) + datagram

    def _frame(self, head: bytes) -> _Frame:
        end = 2 + int.from_bytes(head, self._order)
        return _Frame(2, end, end)


class StunFraming(Framing):
    """STUN messages one after the other; their own header (RFC 5389 section 6) tells the length.

    With ``channel_data`` also TURN's ChannelData messages, which no PT document mentions; on a
    stream they are padded to a multiple of four octets (RFC 5766 section 11.5, C60).
    """

    _head = 4

    def __init__(self, *, channel_data: bool = False) -> None:
        super().__init__()
        self._channel_data: Final = channel_data

    def serialize(self, datagram: bytes) -> bytes:
        try:
            frame = self._frame(datagram[:4])
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        # Over UDP, ChannelData may be padded or not; a STUN message has a multiple of four octets.
        if frame.stop % 4 and frame.stop == frame.end:
            raise LocalProtocolError(f"a STUN message of {frame.stop} octets, not a multiple of 4")
        if not frame.stop <= len(datagram) <= frame.end:
            raise LocalProtocolError(
                f"a message of {frame.stop} octets in a datagram of {len(datagram)}"
            )
        return datagram[: frame.stop] + bytes(frame.end - frame.stop)

    def _frame(self, head: bytes) -> _Frame:
        length = int.from_bytes(head[2:4], "big")
        kind = head[0] >> 6 if head else None
        if kind == 0b00:
            return _Frame(0, 20 + length, 20 + length)
        if kind == 0b01 and self._channel_data:
            return _Frame(0, 4 + length, 4 + length + -length % 4)
        raise RemoteProtocolError(f"not the header of a STUN message: {head!r}")


# --- the pool of connections (PT 3.0 section 1.5.4 and 1.5.5) -------------------------------------


class State(enum.Enum):
    """What the pool knows of a connection."""

    ABSENT = "absent"
    """It is not in the pool."""

    WAITING = "waiting"
    """It is being made."""

    CONNECTED = "connected"


class Event(enum.Enum):
    """What can happen to a connection."""

    PACKET = "packet"
    """A UDP packet came from the application, to be sent on the connection."""

    CONNECTED = "connected"
    """The connection was made; at a server: a client has made it."""

    CLOSED = "closed"
    """The connection was closed by the peer or broke."""

    FAILED = "failed"
    """The connection could not be made."""

    WRITE_FAILED = "write-failed"
    """A packet could not be written to the connection."""

    TIMEOUT = "timeout"
    """No packet used the connection for too long."""


class Action(enum.Enum):
    """What is to be done about an event."""

    NONE = "none"

    OPEN = "open"
    """Drop the packet, and make a connection."""

    DROP = "drop"
    """Drop the packet."""

    SEND = "send"
    """Send the packet on the connection."""

    CLOSE = "close"
    """Close the connection, or give up making it."""


@frozen
class Transition(Row):
    """One row of the tables; ``role`` tells which of the two it is in, None: in both."""

    event: Event
    state: State
    new: State
    action: Action
    full: Action | None = None
    """The action instead of all that, if the row would add a connection to a pool that is full."""

    since: Dialect = field(default=PT2_0, kw_only=True)


_ABSENT, _WAITING, _CONNECTED = State.ABSENT, State.WAITING, State.CONNECTED

TRANSITIONS: Final = (
    # Table 1, the client's, and table 2, the server's, which has no Waiting.
    Transition(Event.PACKET, _ABSENT, _WAITING, Action.OPEN, Action.DROP, role=Role.CLIENT),
    Transition(Event.PACKET, _ABSENT, _ABSENT, Action.DROP, role=Role.SERVER),
    Transition(Event.PACKET, _WAITING, _WAITING, Action.DROP, role=Role.CLIENT),
    Transition(Event.PACKET, _CONNECTED, _CONNECTED, Action.SEND),
    Transition(Event.CONNECTED, _WAITING, _CONNECTED, Action.NONE, role=Role.CLIENT),
    Transition(Event.CLOSED, _CONNECTED, _ABSENT, Action.NONE),
    Transition(Event.FAILED, _WAITING, _ABSENT, Action.NONE, role=Role.CLIENT),
    Transition(Event.WRITE_FAILED, _CONNECTED, _ABSENT, Action.DROP),
    Transition(Event.TIMEOUT, _WAITING, _ABSENT, Action.CLOSE, role=Role.CLIENT),
    Transition(Event.TIMEOUT, _CONNECTED, _ABSENT, Action.CLOSE),
    # Not in table 2, whose connections are there from the start: a client connects.
    Transition(Event.CONNECTED, _ABSENT, _CONNECTED, Action.NONE, Action.CLOSE, role=Role.SERVER),
    # Not in the tables: late news of a connection that has left the pool.
    Transition(Event.CONNECTED, _ABSENT, _ABSENT, Action.CLOSE, role=Role.CLIENT),
    Transition(Event.CLOSED, _ABSENT, _ABSENT, Action.NONE),
    Transition(Event.FAILED, _ABSENT, _ABSENT, Action.NONE, role=Role.CLIENT),
    Transition(Event.WRITE_FAILED, _ABSENT, _ABSENT, Action.DROP),
)
"""What happens to a connection, as tables 1 and 2 of PT 3.0 section 1.5 have it."""

_ROWS: Final = {
    (role, row.event, row.state): row
    for role in Role
    for row in TRANSITIONS
    if row.applies(PT3_0, role)
}

K = TypeVar("K", bound=Hashable)


@define(eq=False)
class Pool(Generic[K]):
    """The connections that carry datagrams, one per key, and when each is opened and closed.

    At a client the key is the source address of the application's packets (C61); at a server it is
    whatever tells its connections apart.  ``idle_timeout`` is how long a connection may go unused,
    in the units of ``now``, which comes from a clock that does not go back.  ``limit`` is how many
    connections there may be: in a full pool a client drops the packets of newcomers, and a server
    closes their connections, so that a flood of forged addresses does not push out who is there.

    Every event returns what is to be done.  Raises LocalProtocolError for an event that cannot
    happen in the state that the connection is in.
    """

    role: Role
    idle_timeout: float = field(kw_only=True)
    limit: int = field(kw_only=True)
    _states: dict[K, State] = field(factory=dict, init=False, repr=False)
    _used: dict[K, float] = field(factory=dict, init=False, repr=False)
    """When the last packet was, the least recent first."""

    def __attrs_post_init__(self) -> None:
        if self.idle_timeout <= 0:
            raise LocalProtocolError(f"not a time without packets: {self.idle_timeout!r}")
        if self.limit < 1:
            raise LocalProtocolError(f"not a number of connections: {self.limit!r}")

    def __len__(self) -> int:
        return len(self._states)

    def state(self, key: K) -> State:
        """What the pool knows of a connection."""
        return self._states.get(key, State.ABSENT)

    @property
    def states(self) -> dict[K, State]:
        """All connections in the pool."""
        return dict(self._states)

    # --- events

    def packet(self, key: K, now: float) -> Action:
        """A packet of the application is to be sent: OPEN, DROP or SEND."""
        action = self._happens(Event.PACKET, key)
        self._use(key, now)
        return action

    def connected(self, key: K, now: float) -> Action:
        """A connection was made: NONE, or CLOSE if it is not wanted (any more)."""
        action = self._happens(Event.CONNECTED, key)
        if key not in self._used:  # at a client, a packet came before
            self._use(key, now)
        return action

    def closed(self, key: K) -> Action:
        """A connection was closed by the peer or broke."""
        return self._happens(Event.CLOSED, key)

    def failed(self, key: K) -> Action:
        """A connection could not be made."""
        return self._happens(Event.FAILED, key)

    def write_failed(self, key: K) -> Action:
        """A packet could not be written, and the connection is of no use any more: DROP."""
        return self._happens(Event.WRITE_FAILED, key)

    def touch(self, key: K, now: float) -> None:
        """A packet came out of the connection, which is a use of it like any other."""
        self._use(key, now)

    def expire(self, now: float) -> list[K]:
        """Take the connections out that were unused for too long; close those that are returned."""
        expired = []
        for key, used in self._used.items():
            if used + self.idle_timeout > now:
                break
            expired.append(key)
        for key in expired:
            self._happens(Event.TIMEOUT, key)
        return expired

    def next_expiry(self) -> float | None:
        """When to call ``expire`` next; None: there is no connection."""
        return next((used + self.idle_timeout for used in self._used.values()), None)

    # --- the engine

    def _happens(self, event: Event, key: K) -> Action:
        state = self.state(key)
        row = _ROWS.get((self.role, event, state))
        if row is None:
            raise LocalProtocolError(
                f"{event.value!r} cannot happen to a connection that is {state.value}"
            )
        if row.full is not None and len(self) >= self.limit:
            return row.full
        if row.new is not State.ABSENT:
            self._states[key] = row.new
        elif state is not State.ABSENT:
            del self._states[key], self._used[key]
        return row.action

    def _use(self, key: K, now: float) -> None:
        if key in self._states:
            self._used.pop(key, None)
            self._used[key] = now
