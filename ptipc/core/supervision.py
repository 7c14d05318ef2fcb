"""When a process that ended is started again, and what is told about it."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from ptipc.core.errors import LocalProtocolError, PtipcError
from ptipc.core.launch import Plan
from ptipc.core.session import Event

__all__ = ["Abandoned", "Backoff", "Down", "GaveUp", "Said", "SupervisorEvent", "Up"]


@frozen(kw_only=True)
class Backoff:
    """How long to wait before a process is started again, and when to give up.

    Times are in seconds.  tor waits one second, for ever (real-programs 42).
    """

    first: float = 0.5
    """The wait after the first failure."""
    factor: float = 2.0
    """How much longer each further one is."""
    cap: float = 60.0
    """The longest wait."""
    jitter: float = 0.5
    """How much of a wait may be left out by chance, so that many do not start at once: 0 to 1."""
    give_up: int | None = 10
    """After how many failures in a row there is no further try; None: never."""
    steady: float = 60.0
    """How long a process has to be ready for its end to count as the first failure again."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.jitter <= 1:
            raise LocalProtocolError(f"jitter: not between 0 and 1: {self.jitter!r}")

    def delay(self, failures: int, random: float) -> float | None:
        """The wait after so many failures in a row; None: give up.

        ``random`` is a number from 0 to 1.
        """
        if self.give_up is not None and failures >= self.give_up:
            return None
        longest = self.first
        for _ in range(failures - 1):
            longest *= self.factor
            if longest >= self.cap:
                break
        return min(longest, self.cap) * (1 - self.jitter * random)


@frozen(kw_only=True)
class Up:
    """A process is ready."""

    plan: Plan
    pid: int
    restarts: int
    """How many times it has been started again."""


@frozen(kw_only=True)
class Down:
    """A process has ended, or could not be started."""

    plan: Plan
    reason: str
    failures: int
    """How many times in a row."""
    retry: float
    """In how many seconds it is started again."""


@frozen(kw_only=True)
class Abandoned:
    """A process will not be started again."""

    plan: Plan
    reason: str


@frozen
class Said:
    """A process has said something."""

    plan: Plan
    event: Event


SupervisorEvent: TypeAlias = Up | Down | Abandoned | Said


class GaveUp(PtipcError, ConnectionError):
    """There is no connection through a process that is not started again any more."""
