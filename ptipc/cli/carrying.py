"""The connections of a tunnel: each is led onward, counted, and told of.

"Up" is from the client's end of a tunnel to the server's, at both ends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from ptipc.aio.datagrams import DatagramListener, Datagrams
from ptipc.aio.network import StreamListener
from ptipc.aio.streams import Stream, map_stream, relay
from ptipc.cli.screen import Tone
from ptipc.core.codecs import Address
from ptipc.core.errors import PtipcError

__all__ = ["TROUBLE", "Carrier", "octets", "reason"]

TROUBLE = (OSError, PtipcError, LookupError, ValueError)
"""What may be wrong with one connection, and with no other."""


@define(eq=False)
class Carried:
    """One connection, or one conversation in datagrams."""

    number: int
    origin: Address | None
    since: float = field(factory=time.monotonic)
    up: int = 0
    down: int = 0
    connected: bool = False

    def __str__(self) -> str:
        return f"#{self.number}" + (f" from {self.origin}" if self.origin else "")

    @property
    def counts(self) -> str:
        """What it carried, and how long it lasted."""
        lasted = time.monotonic() - self.since
        return f"{octets(self.up)} up, {octets(self.down)} down in {lasted:.1f} s"


@define(eq=False, kw_only=True)
class Carrier:
    """Leads connections onward, until they end or are ended.

    ``dial`` and ``dial_datagrams`` give what each is connected to; ``tell`` is called with a line
    about what happens to one, of the given importance.
    """

    dial: Callable[[], Awaitable[Stream]]
    dial_datagrams: Callable[[], Awaitable[Datagrams]] | None = None
    tell: Callable[[str, Tone], object]
    named: bool = True
    """Whether it means something to a person where a connection to our own listener comes from."""
    served: int = field(default=0, init=False)
    """How many have been connected."""
    failed: int = field(default=0, init=False)
    """How many could not be."""
    open: set[Carried] = field(factory=set, init=False)
    _up: int = field(default=0, init=False)
    _down: int = field(default=0, init=False)
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._idle.set()

    # --- what is counted

    @property
    def up(self) -> int:
        """The octets on their way up, of all connections there were."""
        return self._up + sum(each.up for each in self.open)

    @property
    def down(self) -> int:
        """The octets on their way down."""
        return self._down + sum(each.down for each in self.open)

    @property
    def summary(self) -> str:
        """All of it in one line."""
        failed = f", {self.failed} failed" if self.failed else ""
        counts = f"{octets(self.up)} up, {octets(self.down)} down"
        return f"{len(self.open)} open, {self.served} so far{failed}  |  {counts}"

    # --- connections

    async def accept_from(self, listener: StreamListener) -> None:
        """Carry whatever arrives at a listener, until that is closed."""
        while (stream := await _next(listener)) is not None:
            self._start(self.carry(stream, stream.peer if self.named else None))

    async def accept_datagrams_from(self, listener: DatagramListener) -> None:
        """Carry the conversations of a listener, until that is closed."""
        while (conversation := await _next(listener)) is not None:
            self._start(self.carry_datagrams(conversation))

    async def carry(self, near: Stream, origin: Address | None) -> None:
        """Carry one connection, which is closed in the end."""
        with self._told(origin) as carried:
            try:
                far = await self.dial()
            except BaseException:
                await near.aclose()
                raise
            self._connected(carried)
            await relay(_counted(near, carried), far)

    async def carry_datagrams(self, near: Datagrams) -> None:
        """Carry one conversation in datagrams, which is ended in the end."""
        assert self.dial_datagrams is not None
        with self._told(near.peer if self.named else None) as carried:
            try:
                far = await self.dial_datagrams()
                self._connected(carried)
                await _exchange(near, far, carried)
            finally:
                await near.aclose()

    # --- their end

    async def idle(self) -> None:
        """Wait until there is nothing to carry."""
        await self._idle.wait()

    async def aclose(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connected(self, carried: Carried) -> None:
        carried.connected = True
        self.served += 1
        self.tell(f"{carried} is connected", "faint")

    @contextmanager
    def _told(self, origin: Address | None) -> Iterator[Carried]:
        """Have a connection counted, and its end told of, whatever that is."""
        carried = Carried(next(self._numbers), origin)
        self.open.add(carried)
        self._idle.clear()
        try:
            yield carried
        except TROUBLE as error:
            if carried.connected:
                self.tell(f"{carried} broke: {reason(error)}; {carried.counts}", "bad")
            else:
                self.failed += 1
                self.tell(f"{carried}: {reason(error)}", "bad")
        except asyncio.CancelledError:
            self.tell(f"{carried} is ended; {carried.counts}", "bad")
            raise
        else:
            self.tell(f"{carried} is closed; {carried.counts}", "faint")
        finally:
            self.open.discard(carried)
            self._up += carried.up
            self._down += carried.down
            if not self.open:
                self._idle.set()


def _counted(stream: Stream, carried: Carried) -> Stream:
    """The near end of a connection, which counts its octets."""

    def up(data: bytes) -> bytes:
        carried.up += len(data)
        return data

    def down(data: bytes) -> bytes:
        carried.down += len(data)
        return data

    return map_stream(stream, encode=down, decode=up)


async def _exchange(near: Datagrams, far: Datagrams, carried: Carried) -> None:
    """Give two conversations each other's datagrams, until one of them ends."""

    async def upward() -> None:
        while (data := await near.receive()) is not None:
            carried.up += len(data)
            await far.send(data)

    async def downward() -> None:
        while (data := await far.receive()) is not None:
            carried.down += len(data)
            await near.send(data)

    tasks = [asyncio.create_task(upward()), asyncio.create_task(downward())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await far.aclose()


async def _next(listener: Any) -> Any:
    """What arrives next; None once the listener is closed."""
    try:
        return await listener.accept()
    except OSError:
        return None


def octets(count: int) -> str:
    """A number of octets in few characters."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95 or unit == "TB":
            return f"{size:.1f} {unit}"
    raise AssertionError


def reason(error: BaseException) -> str:
    """Why something went wrong, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
