"""Transport processes that are kept running, whatever happens to them.

::

    async with supervise(plan(["obfs4proxy"], client=["obfs4"])) as supervisor:
        stream = await supervisor.dial(bridge_line)
        await supervisor.reconfigure(plan(["obfs4proxy"], client=["obfs4"], proxy=proxy))
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from attrs import define, evolve, field

from ptipc.aio.dialing import DIAL_TIMEOUT, DialsByName, PortDialer
from ptipc.aio.events import Events, Hearers
from ptipc.aio.host import TransportProcess, launch_plan
from ptipc.aio.process import uninterrupted
from ptipc.core.dialects import Role
from ptipc.core.escapes import NO_ARGS
from ptipc.core.launch import LaunchError, Plan, ProcessEnded, Recent
from ptipc.core.ports import Port
from ptipc.core.session import Event
from ptipc.core.supervision import Abandoned, Backoff, Down, GaveUp, Said, SupervisorEvent, Up
from ptipc.osdep import exit_words

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
    _changing: asyncio.Lock = field(factory=asyncio.Lock, init=False)

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

    def events(self) -> Events[SupervisorEvent]:
        """What happens to the processes from now on, and what they say, as an async iterator."""
        return self._hearers.listen(self, (), Recent(_length))

    async def reconfigure(self, *plans: Plan) -> None:
        """Have these kept running, and no others: what is not new goes on, connections and all.

        Raises LaunchError if one of the new ones cannot be started; it is then not kept, and the
        others are.
        """
        async with self._changing:
            kept = [keeper for keeper in self._keepers if keeper.plan in plans]
            gone = [keeper for keeper in self._keepers if keeper not in kept]
            # What goes may hold the ports that what comes is to have.
            self._keepers = kept.copy()
            await self._end(gone)
            running = [keeper.plan for keeper in kept]
            new = [_Keeper(self, plan) for plan in plans if plan not in running]
            try:
                outcomes = await asyncio.gather(
                    *(keeper.start() for keeper in new), return_exceptions=True
                )
            except BaseException:
                await self._end(new)
                raise
            failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            self._keepers += [
                keeper
                for keeper, outcome in zip(new, outcomes, strict=True)
                if not isinstance(outcome, BaseException)
            ]
        if failures:
            raise failures[0]

    async def aclose(self) -> None:
        """Stop all the processes."""
        keepers, self._keepers = self._keepers, []
        await self._end(keepers)
        self._hearers.end()

    async def _end(self, keepers: list[_Keeper]) -> None:
        await uninterrupted(asyncio.gather(*(keeper.end() for keeper in keepers)))

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

        async def find() -> Port:
            # By name, for a reconfiguration may have put another in its place.
            return await self._keeper(transport).port(transport, self.patience)

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


class _Keeper:
    """Keeps the process of one plan running, in a task of its own."""

    def __init__(self, supervisor: Supervisor, plan: Plan) -> None:
        self.plan = plan
        self._supervisor = supervisor
        self._process: TransportProcess | None = None
        self._reason = "it is being started"
        self._given_up: str | None = None
        self._news = asyncio.Event()
        """Set while there is no use in waiting: the process is up, or will never be again."""
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # If nobody waits for it any more nobody wants to hear of its error either.
        self._first.add_done_callback(lambda first: first.cancelled() or first.exception())
        self._task: asyncio.Task[None] | None = None

    # --- for those who want to connect

    def current(self) -> TransportProcess:
        """The process.  Raises GaveUp, and ProcessEnded if it is down."""
        if self._given_up is not None:
            raise GaveUp(f"{self.plan.name} is given up: {self._given_up}")
        if self._process is None or self._process.returncode is not None:
            raise ProcessEnded(f"{self.plan.name} is down: {self._reason}")
        return self._process

    async def port(self, transport: str, patience: float) -> Port:
        """Where a transport of it is reached, now or once it is up again."""
        if self._process is not None and self._process.returncode is not None:
            self._news.clear()  # it has ended, and our task does not know yet
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._news.wait()
        return self.current().port(transport)

    # --- its life

    async def start(self) -> None:
        """Start the process for the first time.  Raises LaunchError."""
        self._task = asyncio.create_task(self._keep())
        try:
            await asyncio.shield(self._first)
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        """Stop the process, and start it no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        backoff = self._supervisor.backoff
        loop = asyncio.get_running_loop()
        failures = starts = 0
        while True:
            final = False
            ready_at = loop.time()
            try:
                async with launch_plan(self._with_ears()) as process:
                    ready_at = loop.time()
                    self._come_up(process, starts)
                    starts += 1
                    await process.exited.wait()
                    reason = f"it ended with {exit_words(process.returncode)}"
            except Exception as error:
                if not self._first.done():
                    self._first.set_exception(error)
                    return
                reason = error.reason if isinstance(error, LaunchError) else str(error)
                final = isinstance(error, LaunchError) and error.final
            self._go_down(reason)
            if loop.time() - ready_at >= backoff.steady:
                failures = 0
            failures += 1
            delay = None if final else backoff.delay(failures, self._supervisor.random())
            if delay is None:
                self._give_up(reason)
                return
            self._supervisor.tell(
                Down(plan=self.plan, reason=reason, failures=failures, retry=delay)
            )
            await asyncio.sleep(delay)

    def _with_ears(self) -> Plan:
        own = self.plan.on_event

        def hear(event: Event) -> None:
            if own is not None:
                own(event)
            self._supervisor.tell(Said(self.plan, event))

        return evolve(self.plan, on_event=hear)

    def _come_up(self, process: TransportProcess, restarts: int) -> None:
        assert process.pid is not None
        self._process = process
        self._news.set()
        if not self._first.done():
            self._first.set_result(None)
        self._supervisor.tell(Up(plan=self.plan, pid=process.pid, restarts=restarts))

    def _go_down(self, reason: str) -> None:
        self._process = None
        self._reason = reason
        self._news.clear()

    def _give_up(self, reason: str) -> None:
        self._given_up = reason
        self._news.set()
        self._supervisor.tell(Abandoned(plan=self.plan, reason=reason))


@contextlib.asynccontextmanager
async def supervise(
    *plans: Plan,
    backoff: Backoff | None = None,
    patience: float = RESTART_TIMEOUT,
    random: Callable[[], float] = random.random,
    on_event: Callable[[SupervisorEvent], object] | None = None,
) -> AsyncIterator[Supervisor]:
    """Keep transport processes running for as long as the ``async with`` block lasts.

    Each plan (``ptipc.core.launch.plan``) has a process, which is started again when it ends, after
    a time that ``backoff`` says; ``patience`` is how many seconds a connection waits for that.
    Raises LaunchError if one cannot be started the first time.
    """
    supervisor = Supervisor(
        backoff=backoff or Backoff(), patience=patience, random=random, on_event=on_event
    )
    try:
        await supervisor.reconfigure(*plans)
        yield supervisor
    finally:
        await supervisor.aclose()
