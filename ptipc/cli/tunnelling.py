"""A tunnel while it runs: what is common to both of its ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from attrs import define, field

from ptipc.aio.datagrams import Datagrams
from ptipc.aio.network import SystemNetwork
from ptipc.aio.streams import Stream
from ptipc.aio.supervise import Supervisor, supervise
from ptipc.cli.carrying import Carrier, reason
from ptipc.cli.interrupts import Interrupts, first_of
from ptipc.cli.narration import Narrator, wrapped
from ptipc.cli.parsing import DONE, FAILED, INTERRUPTED, NOT_STARTED
from ptipc.cli.screen import Screen, Tone
from ptipc.core.codecs import Address, LogLevel
from ptipc.core.launch import LaunchError, Plan
from ptipc.core.messages import Log
from ptipc.core.session import Heard, Violation
from ptipc.core.supervision import Abandoned, Down, Said, SupervisorEvent, Up
from ptipc.osdep import raise_descriptor_limit

__all__ = ["Tunnel"]

REFRESH = 0.5
"""How many seconds are between two looks at the counts."""


@define(eq=False, kw_only=True)
class Tunnel:
    """One end of a tunnel: a front where we listen, a transport process, and what connects them."""

    screen: Screen
    front: Address
    """Where we listen."""
    udp: bool
    drain: float | None
    """How many seconds connections may go on once the end is asked for."""
    applications: bool
    """Whether it is applications that come to the front, or a process with what came to it."""
    quiet: bool
    verbose: bool
    draining: bool = field(default=False, init=False)
    carrier: Carrier = field(init=False)
    _narrator: Narrator = field(init=False)
    _listener: Any = field(default=None, init=False)
    _accepting: asyncio.Task[None] | None = field(default=None, init=False)
    _given_up: asyncio.Event = field(factory=asyncio.Event, init=False)
    _supervisor: Supervisor = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._narrator = Narrator(self.screen.line)
        self.carrier = Carrier(
            dial=lambda: self.dial(self._supervisor),
            dial_datagrams=lambda: self.dial_datagrams(self._supervisor),
            tell=self._tell,
            named=self.applications,
        )

    # --- what the two ends do differently

    def plan(self, front: Address) -> Plan:
        """The process to be kept running, now that we listen at ``front``."""
        raise NotImplementedError

    async def dial(self, supervisor: Supervisor) -> Stream:
        """Where a connection goes."""
        raise NotImplementedError

    async def dial_datagrams(self, supervisor: Supervisor) -> Datagrams:
        """Where a conversation in datagrams goes."""
        raise NotImplementedError

    def announce(self, supervisor: Supervisor, front: Address) -> None:
        """Tell that the tunnel is open, and how it is used."""
        raise NotImplementedError

    # --- its life

    async def run(self) -> int:
        """Run until it is asked to end, or cannot go on, and return the exit status."""
        raise_descriptor_limit()
        with Interrupts() as interrupts:
            try:
                await self._listen()
            except OSError as error:
                self.paragraph(
                    f"Nobody can listen at {self.front}: {reason(error)}.  With --listen it may be "
                    "another place.",
                    "bad",
                )
                return FAILED
            try:
                return await self._run(interrupts)
            except LaunchError as error:
                text = f"{error}" if error.errno else f"the process did not start: {error}"
                self.paragraph(f"{text[0].upper()}{text[1:]}.", "bad")
                return NOT_STARTED
            finally:
                await self._close()
                if not interrupts.starting:
                    self.screen.status("")
                    self._say(f"the end: {self.carrier.summary}")

    async def _listen(self) -> None:
        network = SystemNetwork()
        listen = network.listen_datagrams if self.udp else network.listen
        self._listener = await listen(self.front)

    async def _run(self, interrupts: Interrupts) -> int:
        front: Address = self._listener.address
        async with supervise(self.plan(front), on_event=self._event) as self._supervisor:
            interrupts.starting = False
            accept = self.carrier.accept_datagrams_from if self.udp else self.carrier.accept_from
            self._accepting = asyncio.create_task(accept(self._listener))
            self.announce(self._supervisor, front)
            showing = asyncio.create_task(self._show_status())
            try:
                await first_of(interrupts.asked.wait(), self._given_up.wait())
                return await self._end(interrupts)
            finally:
                showing.cancel()

    async def _end(self, interrupts: Interrupts) -> int:
        if self._given_up.is_set():
            return FAILED
        self.draining = True
        await self._listener.aclose()
        if not self.udp and (still := len(self.carrier.open)):
            are = "connection is" if still == 1 else "connections are"
            self._say(f"{still} {are} still open; Ctrl-C again ends what is")
        await first_of(
            self.carrier.idle(), interrupts.urgent.wait(), self._given_up.wait(), timeout=self.drain
        )
        cut_off = len(self.carrier.open)
        await self.carrier.aclose()
        return INTERRUPTED if cut_off else DONE

    async def _close(self) -> None:
        await self._listener.aclose()
        if self._accepting is not None:
            await self._accepting
        await self.carrier.aclose()

    # --- what is told

    def paragraph(self, text: str, tone: Tone = "plain") -> None:
        """Tell something at length."""
        for line in wrapped(text, ""):
            self.screen.line(line, tone)

    def _event(self, event: SupervisorEvent) -> None:
        name = event.plan.name
        match event:
            case Said(event=said) if self.verbose:
                self._narrator.event("process", said)
            case Said(event=Heard(message=Log(level=level, text=text))):
                if level is not None and level >= LogLevel.WARNING:
                    self._tell(f"{name} says: {text}", "bad")
            case Said(event=Violation(text=text)):
                self._tell(f"{name} does not keep to the rules: {text}", "bad")
            case Up(restarts=restarts) if restarts:
                self._tell(f"{name} is up again", "good")
            case Down(reason=why, retry=retry):
                self._tell(f"{name} is down: {why}; next try in {retry:.1f} s", "bad")
            case Abandoned(reason=why):
                self._tell(f"{name} is given up: {why}", "bad")
                self._given_up.set()

    def _tell(self, text: str, tone: Tone) -> None:
        """Tell what happens; on a terminal a connection that is well only shows in the counts."""
        if tone == "bad" or not (self.quiet or (self.screen.live and tone == "faint")):
            self.screen.line(f"{time.strftime('%H:%M:%S')} {text}", tone)

    def _say(self, text: str) -> None:
        self._tell(text, "plain")

    async def _show_status(self) -> None:
        while self.screen.live:
            self.screen.status(self.carrier.summary)
            await asyncio.sleep(REFRESH)
