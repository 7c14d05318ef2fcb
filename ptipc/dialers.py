"""Dialers that a transport has made, kept for as long as they are of use to others.

Nothing here waits, and nothing knows of event loops; it may be used from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from ptipc.core.escapes import Args

__all__ = ["Dialers"]


@define
class _Kept:
    dialer: object
    dialling: int = 0


@define(eq=False)
class Dialers:
    """The dialers of a transport, one for the same args, so that connections can share by it.

    Those by which nobody is dialling are kept for the next ones, up to a limit; of more, the least
    recently used are discarded.
    """

    _make: Callable[[Args], object]
    _discard: Callable[[object], object]
    _limit: int
    _kept: dict[Args, _Kept] = field(factory=dict, init=False, repr=False)
    """The least recently used come first."""
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @contextmanager
    def lent(self, args: Args) -> Iterator[Any]:
        """Have a dialer, which is not discarded meanwhile.  Raises whatever its making does."""
        with self._lock:
            kept = self._kept.pop(args, None) or _Kept(self._make(args))
            self._kept[args] = kept
            kept.dialling += 1
        try:
            yield kept.dialer
        finally:
            with self._lock:
                kept.dialling -= 1
                surplus = self._take_surplus()
            for dialer in surplus:
                self._discard(dialer)

    def take_all(self) -> list[object]:
        """Forget all of them, and return them."""
        with self._lock:
            kept = [each.dialer for each in self._kept.values()]
            self._kept.clear()
        return kept

    def _take_surplus(self) -> list[object]:
        if len(self._kept) <= self._limit:
            return []
        idle = [args for args, kept in self._kept.items() if not kept.dialling]
        return [self._kept.pop(args).dialer for args in idle[: len(self._kept) - self._limit]]
