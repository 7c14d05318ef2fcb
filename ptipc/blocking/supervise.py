"""Transport processes that are kept running, whatever happens to them.

::

    with supervise(plan(["obfs4proxy"], client=["obfs4"])) as supervisor:
        stream = supervisor.dial(bridge_line)
        supervisor.reconfigure(plan(["obfs4proxy"], client=["obfs4"], proxy=proxy))
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, evolve, field

from ptipc.blocking.accepting import join
from ptipc.blocking.dialing import DIAL_TIMEOUT, DialsByName, PortDialer
from ptipc.blocking.events import Events, Hearers
from ptipc.blocking.host import TransportProcess, prepared
from ptipc.blocking.process import UNKILLABLE
from ptipc.core.dialects import Role
from ptipc.core.escapes import NO_ARGS
from ptipc.core.launch import LaunchError, Plan, ProcessEnded, Recent
from ptipc.core.ports import Port
from ptipc.core.session import Event
from ptipc.core.supervision import Abandoned, Backoff, Down, GaveUp, Said, SupervisorEvent, Up
from ptipc.osdep import exit_words, glance, soonest, start_thread, wait_for

__all__ = ["GaveUp", "Supervisor", "supervise"]

log = logging.getLogger("ptipc.host")

RESTART_TIMEOUT = 30.0
"""How many seconds a connection waits for a process that is being started again."""


@define(eq=False, kw_only=True)
class Supervisor(DialsByName):
    """Transport processes that are started again when they end; ``supervise`` makes one.

    To connect raises GaveUp if the process is not started any more.
    """

    backoff: Backoff = field(factory=Backoff)
    patience: float = RESTART_TIMEOUT
    """How many seconds a connection waits for a process that is down; 0: it fails at once."""
    random: Callable[[], float] = random.random
    """Gives numbers from 0 to 1."""
    on_event: Callable[[SupervisorEvent], object] | None = None
    _keepers: list[_Keeper] = field(factory=list, init=False)
    _hearers: Hearers[SupervisorEvent] = field(init=False)
    _changing: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._hearers = Hearers(self.on_event)

    # --- what is kept running

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What is kept running, or was given up."""
        return tuple(keeper.plan for keeper in self._keepers)

    def process(self, transport: str) -> TransportProcess:
        """The process that offers a transport at the moment.

        Raises LookupError if there is no plan for it, GaveUp, and ProcessEnded if it is down.
        """
        return self._keeper(transport).current()

    def events(self, *, timeout: float | None = None) -> Events[SupervisorEvent]:
        """What happens to the processes from now on, and what they say, as an iterator.

        After ``timeout`` seconds without an event it raises TimeoutError.
        """
        return self._hearers.listen(self, (), Recent(_length), timeout)

    def reconfigure(self, *plans: Plan) -> None:
        """Have these kept running, and no others: what is not new goes on, connections and all.

        Raises LaunchError if one of the new ones cannot be started; it is then not kept, and the
        others are.
        """
        with self._changing:
            kept = [keeper for keeper in self._keepers if keeper.plan in plans]
            gone = [keeper for keeper in self._keepers if keeper not in kept]
            # What goes may hold the ports that what comes is to have.
            self._keepers = kept.copy()
            _end(gone)
            running = [keeper.plan for keeper in kept]
            new = [_Keeper(self, plan) for plan in plans if plan not in running]
            try:
                failures = [keeper.failed_to_start() for keeper in new]
            except BaseException:
                _end(new)
                raise
            self._keepers += [
                keeper for keeper, error in zip(new, failures, strict=True) if error is None
            ]
        for error in failures:
            if error is not None:
                raise error

    def close(self) -> None:
        """Stop all the processes."""
        keepers, self._keepers = self._keepers, []
        _end(keepers)
        self._hearers.end()

    # --- through them

    def dialer(
        self,
        transport: str,
        args: Mapping[str, Any] = NO_ARGS,
        *,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> PortDialer:
        """A dialer through a transport, by whichever process offers it at the time.

        Raises LookupError if there is no plan for it.
        """
        self._keeper(transport)

        def find(left: float | None) -> Port:
            patience = self.patience if left is None else min(left, self.patience)
            # By name, for a reconfiguration may have put another in its place.
            return self._keeper(transport).port(transport, patience)

        return PortDialer(args=args, timeout=timeout, find=find, patient=self.patience > 0)

    def _keeper(self, transport: str) -> _Keeper:
        found = [keeper for keeper in self._keepers if transport in keeper.plan.config.transports]
        if not found:
            raise LookupError(f"no plan for a transport {transport!r}")
        # A client and a server may have a transport in common; who dials means the client.
        return next((each for each in found if each.plan.config.role is Role.CLIENT), found[0])

    # --- what keepers say

    def tell(self, event: SupervisorEvent) -> None:
        """Hand an event to whoever listens."""
        match event:
            case Down():
                log.warning(
                    "%s: %s; next try in %.1f s", event.plan.name, event.reason, event.retry
                )
            case Abandoned():
                log.error("%s is given up: %s", event.plan.name, event.reason)
        self._hearers.tell(event)


def _length(event: SupervisorEvent) -> int:
    return len(event.event.line) if isinstance(event, Said) else 100


def _end(keepers: list[_Keeper]) -> None:
    """Have processes stopped side by side, and wait for that."""
    for keeper in keepers:
        keeper.give_notice()
    for keeper in keepers:
        keeper.wait()


class _Keeper:
    """Keeps the process of one plan running, in a thread of its own, which begins at once."""

    def __init__(self, supervisor: Supervisor, plan: Plan) -> None:
        self.plan = plan
        self._supervisor = supervisor
        self._process: TransportProcess | None = None
        """The process, from before its start to its end."""
        self._ready = False
        self._reason = "it is being started"
        self._given_up: str | None = None
        self._first_failure: Exception | None = None
        self._changed = threading.Condition()
        """For what is above."""
        self._settled = threading.Event()
        """Set when it is known what became of the first start."""
        self._ending = threading.Event()
        """Set once it is not to be kept any more."""
        self._helpers: list[threading.Thread] = []
        self._thread = start_thread(self._run, "keeper")

    # --- for those who want to connect

    def current(self) -> TransportProcess:
        """The process.  Raises GaveUp, and ProcessEnded if it is down."""
        with self._changed:
            if self._given_up is not None:
                raise GaveUp(f"{self.plan.name} is given up: {self._given_up}")
            if self._process is None or not self._is_up():
                raise ProcessEnded(f"{self.plan.name} is down: {self._reason}")
            return self._process

    def port(self, transport: str, patience: float) -> Port:
        """Where a transport of it is reached, now or once it is up again."""
        end = time.monotonic() + patience
        with self._changed:
            while self._given_up is None and not self._is_up():
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(soonest(left, glance()))
        return self.current().port(transport)

    def _is_up(self) -> bool:
        # It may have ended, and our thread does not know yet.
        return self._ready and self._process is not None and self._process.returncode is None

    # --- its life

    def failed_to_start(self) -> Exception | None:
        """Wait until the process was started for the first time; the error if it could not be."""
        wait_for(self._settled)  # for as long as a launch may take
        return self._first_failure

    def give_notice(self) -> None:
        """Have the process stopped, and start it no more."""
        self._ending.set()
        with self._changed:
            process = self._process
        if process is not None:
            self._helpers.append(start_thread(process.stop, "stop"))

    def wait(self) -> None:
        """Wait for the end of that."""
        join(self._thread, *self._helpers, timeout=sum(self.plan.stop_timeouts) + UNKILLABLE)

    def _run(self) -> None:
        try:
            self._keep()
        finally:
            self._settled.set()

    def _keep(self) -> None:
        backoff = self._supervisor.backoff
        failures = starts = 0
        while not self._ending.is_set():
            final = False
            ready_at = time.monotonic()
            try:
                with prepared(self._with_ears()) as process:
                    self._take_on(process)
                    process.start()
                    ready_at = time.monotonic()
                    self._come_up(process, starts)
                    starts += 1
                    process.exited.wait()  # whoever ends us stops it
                    reason = f"it ended with {exit_words(process.returncode)}"
            except Exception as error:
                if not self._settled.is_set():
                    self._first_failure = error
                    return
                reason = error.reason if isinstance(error, LaunchError) else str(error)
                final = isinstance(error, LaunchError) and error.final
            self._go_down(reason)
            if self._ending.is_set():
                return
            if time.monotonic() - ready_at >= backoff.steady:
                failures = 0
            failures += 1
            delay = None if final else backoff.delay(failures, self._supervisor.random())
            if delay is None:
                self._give_up(reason)
                return
            self._supervisor.tell(
                Down(plan=self.plan, reason=reason, failures=failures, retry=delay)
            )
            self._ending.wait(delay)

    def _with_ears(self) -> Plan:
        own = self.plan.on_event

        def hear(event: Event) -> None:
            if own is not None:
                own(event)
            self._supervisor.tell(Said(self.plan, event))

        return evolve(self.plan, on_event=hear)

    def _take_on(self, process: TransportProcess) -> None:
        with self._changed:
            self._process = process
        if self._ending.is_set():  # and whoever gave us notice has not seen it
            process.stop()

    def _come_up(self, process: TransportProcess, restarts: int) -> None:
        assert process.pid is not None
        with self._changed:
            self._ready = True
            self._changed.notify_all()
        self._settled.set()
        self._supervisor.tell(Up(plan=self.plan, pid=process.pid, restarts=restarts))

    def _go_down(self, reason: str) -> None:
        with self._changed:
            self._process = None
            self._ready = False
            self._reason = reason

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self._given_up = reason
            self._changed.notify_all()
        self._supervisor.tell(Abandoned(plan=self.plan, reason=reason))


@contextlib.contextmanager
def supervise(
    *plans: Plan,
    backoff: Backoff | None = None,
    patience: float = RESTART_TIMEOUT,
    random: Callable[[], float] = random.random,
    on_event: Callable[[SupervisorEvent], object] | None = None,
) -> Iterator[Supervisor]:
    """Keep transport processes running for as long as the ``with`` block lasts.

    Each plan (``ptipc.core.launch.plan``) has a process, which is started again when it ends, after
    a time that ``backoff`` says; ``patience`` is how many seconds a connection waits for that.
    Raises LaunchError if one cannot be started the first time.
    """
    supervisor = Supervisor(
        backoff=backoff or Backoff(), patience=patience, random=random, on_event=on_event
    )
    try:
        supervisor.reconfigure(*plans)
        yield supervisor
    finally:
        supervisor.close()
