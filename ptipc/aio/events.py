"""What processes say, handed to everybody who wants to hear it.

Hearers may be slow, fail, or be forgotten: none of that is the matter of the process or of the
others.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from attrs import define, field

from ptipc.core.launch import Recent

__all__ = ["Events", "Hearers"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@define(eq=False)
class Events(Generic[T]):
    """Events as an async iterator, which ends when there will be no more of them."""

    _owner: object
    """Held, for events cannot come from somebody who is gone."""
    _waiting: Recent[T]
    _ended: bool = field(default=False, init=False)
    _news: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __aiter__(self) -> Events[T]:
        return self

    async def __anext__(self) -> T:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.take()

    @property
    def lost(self) -> int:
        """How many had to go because nobody took them in time."""
        return self._waiting.lost

    def put(self, event: T) -> None:
        """Add an event."""
        self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._news.set()


@define(eq=False)
class Hearers(Generic[T]):
    """Who hears the events of one source: a function, and any number of iterators."""

    on_event: Callable[[T], object] | None = None
    _iterators: weakref.WeakSet[Events[T]] = field(factory=weakref.WeakSet, init=False)
    _ended: bool = field(default=False, init=False)

    def listen(self, owner: object, past: Iterable[T], waiting: Recent[T]) -> Events[T]:
        """An iterator over what comes from now on, behind what is ``past``."""
        events = Events(owner, waiting)
        for event in past:
            events.put(event)
        if self._ended:
            events.end()
        self._iterators.add(events)
        return events

    def tell(self, event: T) -> None:
        """Hand an event to all."""
        if self.on_event is not None:
            try:
                self.on_event(event)
            except Exception:
                log.exception("a function that was told of an event failed")
        if len(self._iterators):
            for events in list(self._iterators):
                events.put(event)

    def end(self) -> None:
        """There will be no more events."""
        self._ended = True
        for events in list(self._iterators):
            events.end()
