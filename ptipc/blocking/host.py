"""The host's side: start a transport process, hear what it says, dial through it, and end it.

::

    with launch(["obfs4proxy"], client=["obfs4"]) as process:
        stream = process.dial("obfs4", Address("192.0.2.7", 443), {"cert": "..."})
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack

from attrs import define, evolve, field

from ptipc.blocking.dialing import DIAL_TIMEOUT, DialsByName, PortDialer
from ptipc.blocking.events import Events, Hearers
from ptipc.blocking.extorserver import ExtOrPortServer
from ptipc.blocking.process import Process
from ptipc.core.account import Account
from ptipc.core.diagnosis import log_level, log_text
from ptipc.core.dialects import Stream
from ptipc.core.errors import LocalProtocolError
from ptipc.core.escapes import NO_ARGS
from ptipc.core.launch import (
    LaunchError,
    LaunchSettings,
    Path,
    Plan,
    ProcessEnded,
    Recent,
    plan,
)
from ptipc.core.ports import Port
from ptipc.core.session import Event
from ptipc.launching import spawn, with_state
from ptipc.osdep import exit_words, wait_for

__all__ = ["LaunchError", "ProcessEnded", "TransportProcess", "launch", "launch_plan"]

GRACE = 0.25
"""How many seconds after a failure the process may take to end, so that we can say how it did."""


@define(eq=False)
class TransportProcess(DialsByName, Account):
    """A transport process that we started.

    ``launch`` makes one that is ready and stops it in the end; who makes one otherwise has to
    ``start`` and to ``stop`` it.
    """

    exited: threading.Event = field(factory=threading.Event, init=False)
    """Set once the process has ended and was heard to the end."""
    _settled: threading.Event = field(factory=threading.Event, init=False)
    _process: Process | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _starting: threading.Lock = field(factory=threading.Lock, init=False)
    _hearing: threading.RLock = field(factory=threading.RLock, init=False)
    _hearers: Hearers[Event] = field(init=False)
    _log: logging.Logger = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._hearers = Hearers(self.plan.on_event)
        # A dot would make it the child of another logger.
        self._log = logging.getLogger(f"ptipc.host.{self.plan.name.replace('.', '_')}")

    # --- what it is

    @property
    def pid(self) -> int | None:
        """The number of the process; None if it was never started."""
        return None if self._process is None else self._process.child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return None if self._process is None else self._process.child.returncode

    @property
    def _status(self) -> str | None:
        """The exit status in words."""
        return None if self.returncode is None else exit_words(self.returncode)

    def events(self, *, past: bool = True, timeout: float | None = None) -> Events[Event]:
        """What the process says, as an iterator that ends with it.

        With ``past`` it begins with what is in the transcript.  Any number may be had; one that is
        not read in time loses its oldest events.  After ``timeout`` seconds without an event it
        raises TimeoutError.
        """
        with self._hearing:
            past_events = self.transcript if past else ()
            return self._hearers.listen(self, past_events, Recent(), timeout)

    # --- through it

    def dialer(
        self,
        transport: str,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> PortDialer:
        """A dialer through one of the transports.

        Raises LookupError if it is not up, or a server's.
        """
        self.client_method(transport)

        def find(left: float | None) -> Port:
            return self.port(transport)

        return PortDialer(args=args, timeout=timeout, find=find)

    def port(self, transport: str) -> Port:
        """Where one of the transports is reached.

        Raises LookupError if it is not up, ProcessEnded if the process has ended.
        """
        return self.port_of(transport, self._has_ended, self._status)

    def _has_ended(self) -> str | None:
        assert self._process is not None
        if not self._process.wait(GRACE):
            return None
        return exit_words(self.returncode)

    # --- its life

    def start(self) -> None:
        """Start the process and wait until all its transports are up or have failed.

        Raises LaunchError if it cannot be started, refuses, ends or is not ready in time, or if
        what is required has not come up.
        """
        process = self._spawn()
        if not wait_for(self._settled, self.plan.timeout):
            raise self._error(self.lateness)
        if self.is_complete and not process.child.has_ended():
            return
        # It tells more if it has its exit status, and most processes then end by themselves.
        process.wait(GRACE)
        raise self._error(self.failing(self._status))

    def _spawn(self) -> Process:
        with self._starting:
            if self._process is not None:
                raise LocalProtocolError("a process is started once")
            if self._stopped:
                raise LaunchError("it was stopped before it was started", final=True)
            child = spawn(self.plan)
            self._log.debug("started as process %d: %r", child.pid, self.command)
            self._process = Process(child, self.receive, self.end)
            return self._process

    def _error(self, text: str) -> LaunchError:
        return self.error(text, self.returncode, self._status)

    def stop(self, timeouts: Sequence[float] | None = None) -> None:
        """End the process: close its stdin, wait, SIGTERM, wait, SIGKILL (PT 1 section 3.4).

        ``timeouts`` are the seconds of the two waits, if not those of the plan; an early end cuts
        them short.  May be called again, and from several threads.
        """
        with self._starting:
            self._stopped = True
        if self._process is not None:
            self._process.stop(self.plan.stop_timeouts if timeouts is None else timeouts)

    # --- what it says

    def receive(self, stream: Stream, data: bytes) -> None:
        """Take what the process wrote to one of its streams; nothing is the end of that."""
        with self._hearing:
            if data:
                self._take(self.session.receive_data(stream, data))
            else:
                self._take(self.session.receive_eof(stream))

    def end(self) -> None:
        """Take notice that the process has ended and that there is nothing more to hear."""
        self._log.debug("process %d ended with %s", self.pid, exit_words(self.returncode))
        self._settled.set()
        self.exited.set()
        self._hearers.end()

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.note(event)
            if self._log.isEnabledFor(level := log_level(event)):
                self._log.log(level, "%s", log_text(event))
            self._hearers.tell(event)
        if self.is_settled:
            self._settled.set()


@contextlib.contextmanager
def launch(
    command: Iterable[Path], **settings: Unpack[LaunchSettings]
) -> Iterator[TransportProcess]:
    """Start a transport process for as long as the ``with`` block lasts.

    Give either ``client=[names]``, or ``server={name: address}`` with a ``target`` or a
    ``handler``; see ``LaunchSettings`` for what else may be given.  Without ``state`` the process
    gets a directory that is removed afterwards.

    With a ``handler`` the server's clients come to this program, through an Extended ORPort of its
    own: ``handler(stream, client)`` is run for each, in a thread.

    Raises LaunchError, LocalProtocolError for settings that cannot be said.
    """
    with launch_plan(plan(command, **settings)) as process:
        yield process


@contextlib.contextmanager
def launch_plan(plan: Plan) -> Iterator[TransportProcess]:
    """``launch`` for a plan that was made before."""
    with prepared(plan) as process:
        process.start()
        yield process


@contextlib.contextmanager
def prepared(plan: Plan) -> Iterator[TransportProcess]:
    """A process that is to be started, with what it needs; it is stopped in the end."""
    with contextlib.ExitStack() as stack:
        config = stack.enter_context(with_state(plan.config))
        if plan.handler is not None:
            server = ExtOrPortServer(plan.handler, admit=plan.admit)
            stack.enter_context(server)
            config = evolve(config, extended_port=server.address, auth_cookie=server.cookie_file)
        process = TransportProcess(evolve(plan, config=config, handler=None))
        try:
            yield process
        finally:
            process.stop()
