"""Accepting connections, and the handshake of each, side by side and each within its time.

``serve_handshakes`` is the one way in; below it are two that do the same.  Where there is an engine
a handshake costs no task and no future: the machine is run where the octets arrive.  Elsewhere
each has a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import define, field

from ptipc.aio.engine import READABLE, WRITABLE, Engine, running_engine
from ptipc.aio.streams import SocketStream, drive, see_off
from ptipc.core.errors import PtipcError, Refused, RemoteProtocolError
from ptipc.core.handshake import Handshake
from ptipc.sockets import PAUSE, concerns_one

__all__ = ["HALF_OPEN", "Serving", "serve_handshakes"]

log = logging.getLogger(__name__)

HALF_OPEN: Final = 4096
"""How many handshakes may be under way at a time, unless the caller says otherwise."""

FAREWELLS: Final = 256
"""How many may be reading why their handshake has failed; beyond, the first has to go."""

BATCH: Final = 64
"""How many connections are accepted at a time, before their octets have their turn."""

RECEIVE: Final = 4096

Make: TypeAlias = Callable[[], Handshake]
Ready: TypeAlias = Callable[[SocketStream, Handshake], object]


class Serving(Protocol):
    """Handshakes that are being served."""

    def close(self) -> None:
        """Accept no more and give up the handshakes under way; may be called again.

        What was ``ready`` goes on.
        """
        ...


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
    of its owner; octets that came behind a handshake that is done are on the stream already.
    A handshake that fails, or takes longer than ``timeout`` seconds (None: for ever), ends with the
    machine's goodbye.  When more than ``half_open`` are under way the oldest has to go.
    """
    listener.setblocking(False)
    if engine := running_engine():
        return _EngineServing(engine, listener, make_machine, ready, timeout, half_open)
    return _TaskServing(listener, make_machine, ready, timeout, half_open)


def _hand_over(stream: SocketStream, machine: Handshake, ready: Ready) -> None:
    try:
        ready(stream, machine)
    except Exception:
        log.exception("a connection that was ready could not be taken over")
        stream.network.close()


def _report(error: BaseException) -> None:
    if isinstance(error, (OSError, RemoteProtocolError, Refused)):
        log.debug("a handshake failed: %s", error)
    else:
        log.error("a handshake failed by our own fault", exc_info=error)


@define(eq=False)
class _Leaving:
    """Those whose handshake has failed, while they read why."""

    _tasks: dict[asyncio.Task[None], None] = field(factory=dict, init=False)

    def see_off(self, stream: SocketStream) -> None:
        if len(self._tasks) >= FAREWELLS:
            first = next(iter(self._tasks))
            del self._tasks[first]
            first.cancel()
        task = asyncio.create_task(see_off(stream))
        self._tasks[task] = None
        task.add_done_callback(functools.partial(self._gone, stream))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _gone(self, stream: SocketStream, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        stream.network.close()


# --- with an engine -------------------------------------------------------------------------------


class _EngineServing:
    """Runs the machines where their octets arrive."""

    __slots__ = (
        "_guests",
        "_half_open",
        "_leaving",
        "_listener",
        "_loop",
        "_make_machine",
        "_ready",
        "_resumption",
        "_timeout",
        "_timer",
        "engine",
    )

    def __init__(
        self,
        engine: Engine,
        listener: socket.socket,
        make_machine: Make,
        ready: Ready,
        timeout: float | None,
        half_open: int,
    ) -> None:
        self.engine = engine
        self._listener = listener
        self._make_machine = make_machine
        self._ready = ready
        self._timeout = timeout
        self._half_open = half_open
        self._loop = asyncio.get_running_loop()
        self._guests: dict[_Guest, None] = {}
        """Whose handshake is under way, in the order in which they came and will have to go."""
        self._leaving = _Leaving()
        self._timer: asyncio.TimerHandle | None = None
        """For the first of the guests; the time is the same for all."""
        self._resumption: asyncio.TimerHandle | None = None
        engine.add(listener.fileno(), self._accept, READABLE)

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        for guest in list(self._guests):
            self._forget(guest)
            guest.stream.network.close()
        self._leaving.close()
        for timer in (self._timer, self._resumption):
            if timer is not None:
                timer.cancel()
        self.engine.remove(self._listener.fileno(), self._accept)
        self._listener.close()

    # --- accepting

    def _accept(self, events: int) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if not concerns_one(error):
                    self._pause(error)
                    return
            else:
                self._welcome(connection)

    def _pause(self, error: OSError) -> None:
        """Let some of the others finish: most likely there are no descriptors left."""
        if self._listener.fileno() < 0:  # somebody who was ready has closed us
            return
        log.warning("cannot accept connections for the moment: %s", error)
        self.engine.modify(self._listener.fileno(), 0)
        self._resumption = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._resumption = None
        self.engine.modify(self._listener.fileno(), READABLE)

    def _welcome(self, connection: socket.socket) -> None:
        try:
            guest = _Guest(self, SocketStream(connection), self._make_machine())
            self.engine.add(connection.fileno(), guest.on_ready, READABLE)
        except Exception as error:
            _report(error)
            connection.close()
            return
        if len(self._guests) >= self._half_open:
            self._give_up(next(iter(self._guests)))
        self._guests[guest] = None
        if self._timeout is not None:
            guest.deadline = self._loop.time() + self._timeout
            if self._timer is None:
                self._timer = self._loop.call_at(guest.deadline, self._expire)
        guest.go_on()

    # --- the end of a handshake

    def hand_over(self, guest: _Guest) -> None:
        """The guest has done its part."""
        self._forget(guest)
        if guest.machine.done:
            guest.stream.unreceive(guest.machine.trailing_data)
        _hand_over(guest.stream, guest.machine, self._ready)

    def fail(self, guest: _Guest, error: Exception) -> None:
        """The guest's handshake has failed: let it know."""
        _report(error)
        self._forget(guest)
        with contextlib.suppress(OSError):
            guest.say_goodbye()
        self._leaving.see_off(guest.stream)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for guest in list(self._guests):
            if guest.deadline > now:
                self._timer = self._loop.call_at(guest.deadline, self._expire)
                break
            self._give_up(guest)

    def _give_up(self, guest: _Guest) -> None:
        error: Exception = TimeoutError("the peer did not take our octets")
        try:
            guest.machine.receive_timeout()
        except PtipcError as raised:
            error = raised
        self.fail(guest, error)

    def _forget(self, guest: _Guest) -> None:
        self.engine.remove(guest.stream.network.fileno(), guest.on_ready)
        del self._guests[guest]


class _Guest:
    """A connection whose handshake is under way."""

    __slots__ = ("_serving", "_unsent", "deadline", "machine", "stream")

    def __init__(self, serving: _EngineServing, stream: SocketStream, machine: Handshake) -> None:
        self._serving = serving
        self._unsent = b""
        self.stream = stream
        self.machine = machine
        self.deadline = 0.0

    def on_ready(self, events: int) -> None:
        try:
            # Who does not take our octets is not given the chance to make us say more.
            if not self._unsent:
                if data := self.stream.network.recv(RECEIVE):
                    self.machine.receive_data(data)
                else:
                    self.machine.receive_eof()
        except BlockingIOError:
            return
        except Exception as error:
            self._serving.fail(self, error)
            return
        self.go_on()

    def go_on(self) -> None:
        """Send what there is to send; then the guest is ready, or it is its turn."""
        if data := self._unsent + self.machine.data_to_send():
            try:
                sent = self.stream.network.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._serving.fail(self, error)
                return
            self._wait_for_room(data[sent:])
        if not self._unsent and (self.machine.done or not self.machine.bytes_needed):
            self._serving.hand_over(self)

    def say_goodbye(self) -> None:
        """Send what a handshake that failed has queued, as far as there is room for it."""
        if data := self._unsent + self.machine.data_to_send():
            self.stream.network.send(data)

    def _wait_for_room(self, unsent: bytes) -> None:
        if bool(unsent) != bool(self._unsent):
            events = WRITABLE if unsent else READABLE
            self._serving.engine.modify(self.stream.network.fileno(), events)
        self._unsent = unsent


# --- with tasks -----------------------------------------------------------------------------------


@define(eq=False)
class _TaskServing:
    """Runs each machine in a task of its own."""

    _listener: socket.socket
    _make_machine: Make
    _ready: Ready
    _timeout: float | None
    _half_open: int
    _accepting: asyncio.Task[None] = field(init=False)
    _guests: dict[asyncio.Task[None], None] = field(factory=dict, init=False)
    _leaving: _Leaving = field(factory=_Leaving, init=False)

    def __attrs_post_init__(self) -> None:
        self._accepting = asyncio.create_task(self._accept())
        # A task that is cancelled before its first step has no finally.
        self._accepting.add_done_callback(lambda task: self._listener.close())

    def close(self) -> None:
        for task in (self._accepting, *self._guests):
            task.cancel()
        self._leaving.close()

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            except OSError as error:
                if not concerns_one(error):
                    log.warning("cannot accept connections for the moment: %s", error)
                    await asyncio.sleep(PAUSE)
            else:
                self._welcome(connection)
                await asyncio.sleep(0)  # there may always be one more; let others have their turn

    def _welcome(self, connection: socket.socket) -> None:
        try:
            stream, machine = SocketStream(connection), self._make_machine()
        except Exception as error:
            _report(error)
            connection.close()
            return
        if len(self._guests) >= self._half_open:
            oldest = next(iter(self._guests))
            del self._guests[oldest]
            oldest.cancel()
        task = asyncio.create_task(drive(machine, stream, self._timeout))
        self._guests[task] = None
        task.add_done_callback(functools.partial(self._driven, stream, machine))

    def _driven(self, stream: SocketStream, machine: Handshake, task: asyncio.Task[None]) -> None:
        self._guests.pop(task, None)
        if task.cancelled():
            stream.network.close()
        elif error := task.exception():
            _report(error)
            self._leaving.see_off(stream)
        else:
            _hand_over(stream, machine, self._ready)
