"""What processes say, handed to everybody who wants to hear it.

Hearers may be slow, fail, or be forgotten: none of that is the matter of the process or of the
others.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from attrs import define, field

from ptipc.core.launch import Recent
from ptipc.osdep import glance, soonest

__all__ = ["Events", "Hearers"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@define(eq=False)
class Events(Generic[T]):
    """Events as an iterator, which ends when there will be no more of them.

    Raises TimeoutError if there is none for ``timeout`` seconds; None: it waits for ever.
    """

    _owner: object
    """Held, for events cannot come from somebody who is gone."""
    _waiting: Recent[T]
    timeout: float | None = None
    _ended: bool = field(default=False, init=False)
    _news: threading.Condition = field(factory=threading.Condition, init=False)

    def __iter__(self) -> Events[T]:
        return self

    def __next__(self) -> T:
        end = None if self.timeout is None else time.monotonic() + self.timeout
        with self._news:
            while not self._waiting:
                if self._ended:
                    raise StopIteration
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("there was no event")
                self._news.wait(soonest(left, glance()))
            return self._waiting.take()

    @property
    def lost(self) -> int:
        """How many had to go because nobody took them in time."""
        return self._waiting.lost

    def put(self, event: T) -> None:
        """Add an event."""
        with self._news:
            self._waiting.append(event)
            self._news.notify()

    def end(self) -> None:
        """There will be no more."""
        with self._news:
            self._ended = True
            self._news.notify_all()


@define(eq=False)
class Hearers(Generic[T]):
    """Who hears the events of one source: a function, and any number of iterators."""

    on_event: Callable[[T], object] | None = None
    _iterators: weakref.WeakSet[Events[T]] = field(factory=weakref.WeakSet, init=False)
    _ended: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def listen(
        self,
        owner: object,
        past: Iterable[T],
        waiting: Recent[T],
        timeout: float | None = None,
    ) -> Events[T]:
        """An iterator over what comes from now on, behind what is ``past``."""
        events = Events(owner, waiting, timeout)
        for event in past:
            events.put(event)
        with self._lock:
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
        for events in self._all():
            events.put(event)

    def end(self) -> None:
        """There will be no more events."""
        self._ended = True
        for events in self._all():
            events.end()

    def _all(self) -> list[Events[T]]:
        with self._lock:
            return list(self._iterators)
