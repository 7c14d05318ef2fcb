"""What a transport process says to its host: whole lines, one at a time, from any thread."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from ptipc.core.codecs import LogLevel
from ptipc.core.conversation import Phase
from ptipc.core.dialects import Stream
from ptipc.core.errors import ConfigError, LocalProtocolError
from ptipc.core.messages import EnvError, Log, Message, Version
from ptipc.core.session import TransportSession
from ptipc.core.transports import described

__all__ = ["EARLY", "Outlet", "Voice"]

EX_SOFTWARE = 70
"""The exit status for a fault of our own (sysexits.h)."""
EARLY = 100
"""How many LOG lines are kept for the time after ``VERSION``."""

Outlet: TypeAlias = Callable[[Stream, bytes], object]
"""What is called with each line, and where it belongs; from any thread, but one at a time.

It has to return soon.  False means that the line is lost.  ``HostSession.receive_data`` is one.
"""


class Voice:
    """Says a session's lines through an outlet."""

    def __init__(self, session: TransportSession, outlet: Outlet) -> None:
        self.session = session
        self._outlet = outlet
        # Signal handlers speak as well, in the middle of whatever the main thread does.
        self._speaking = threading.RLock()
        self._speaker: int | None = None
        """The thread that is saying something."""
        self._lost = 0
        self._early: deque[Log] = deque(maxlen=EARLY)

    def say(self, message: Message) -> None:
        """Say one line.  Raises LocalProtocolError if it cannot be said, or not now."""
        with self._speaking:
            self._speaker = threading.get_ident()
            try:
                self._say(message)
            finally:
                self._speaker = None

    def log(self, message: Log) -> None:
        """Say a LOG line if the host wants to hear it.

        Lines from before ``VERSION`` come behind it.  When too many are lost because nobody reads
        them, the next one is preceded by their number.
        """
        if self._speaker == threading.get_ident():
            return  # whoever carries our lines has something to log about that
        with contextlib.suppress(LocalProtocolError):
            self.say(message)

    def fail(self, error: ConfigError) -> None:
        """Say what is wrong with the configuration.

        Raises LocalProtocolError if it is too late for that.
        """
        with self._speaking:
            for stream, data in self.session.fail(error):
                self._outlet(stream, data)

    def give_up(self, error: Exception) -> None:
        """Say that something has failed by our own fault, as far as it is not too late.

        The session's ``exit_code`` is then what to exit with.
        """
        self.session.exit_code = self.session.exit_code or EX_SOFTWARE
        if self.session.phase is not Phase.READY:
            text = f"the transport process failed: {described(error)}"
            # Too late if one has been said already.
            with contextlib.suppress(LocalProtocolError):
                self.fail(ConfigError(EnvError(text), text, self.session.dialect))

    def _say(self, message: Message) -> None:
        if isinstance(message, Log):
            if self.session.phase is Phase.START:
                self._early.append(message)
                return
            if self._lost:
                lost = Log(LogLevel.WARNING, f"{self._lost} lines were lost, for nobody read them")
                if not self._write(lost):
                    self._lost += 1
                    return
                self._lost = 0
        if not self._write(message):
            self._lost += 1
        elif isinstance(message, Version):
            while self._early:
                self._write(self._early.popleft())

    def _write(self, message: Message) -> bool:
        return all(
            self._outlet(stream, data) is not False for stream, data in self.session.send(message)
        )
