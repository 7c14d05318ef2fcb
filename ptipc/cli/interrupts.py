"""What Ctrl-C and SIGTERM ask of a command: the first to end in good order, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from typing import Any

from attrs import define, field

from ptipc.osdep import STOP_SIGNALS

__all__ = ["Interrupts", "first_of"]


@define(eq=False)
class Interrupts:
    """The requests to end, as events.  Use as a context manager, in the task to be ended.

    While ``starting``, when there is nothing to be ended in good order, the first request cancels
    that task.
    """

    asked: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set by the first request."""
    urgent: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set by the second."""
    starting: bool = field(default=True, init=False)
    _task: asyncio.Task[Any] | None = field(factory=asyncio.current_task, init=False)
    _before: dict[int, Any] = field(factory=dict, init=False)

    def __enter__(self) -> Interrupts:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            try:
                loop.add_signal_handler(number, self.ask)
            except NotImplementedError:  # Windows
                self._before[number] = signal.signal(
                    number, lambda *_: loop.call_soon_threadsafe(self.ask)
                )
        return self

    def __exit__(self, *exc: object) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            if number in self._before:
                signal.signal(number, self._before[number])
            else:
                loop.remove_signal_handler(number)

    def ask(self) -> None:
        """Take a request."""
        if self.starting and not self.asked.is_set() and self._task is not None:
            self._task.cancel()
        elif self.asked.is_set():
            self.urgent.set()
        self.asked.set()


async def first_of(*works: Awaitable[object], timeout: float | None = None) -> None:
    """Wait until one of several has happened, or for so many seconds; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
