"""Python's logging as LOG lines, without the addresses of clients.

The lines go to a function, so that a transport process can send them to its host; what a LOG line
looks like on the wire is the affair of ``ptipc.core.messages``.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Callable
from ipaddress import ip_address

from ptipc.core.codecs import LogLevel
from ptipc.core.messages import Log

__all__ = ["LogLineHandler", "elided", "one_line"]

LONGEST = 4000
"""How many characters of a record are said; nobody reads more of one."""

_MAYBE_ADDRESS = re.compile(
    r"""
    (?<![0-9.]) \d{1,3} (?:\.\d{1,3}){3} (?::\d{1,5})? (?!\d)        # IPv4, and a port
    | \[ [0-9A-Fa-f:.]* : [0-9A-Fa-f:.]* (?:%\w+)? \] (?::\d{1,5})?  # IPv6 in brackets, and a port
    | (?<![\w:.]) [0-9A-Fa-f]* : [0-9A-Fa-f:.]* (?:%\w+)? (?![\w:])  # IPv6, or a time, or ...
    """,
    re.VERBOSE,
)


def elided(text: str) -> str:
    """Text with every IP address, and the port behind it, replaced by ``[scrubbed]``.

    Loopback and unspecified addresses stay: they tell nothing about anybody.
    Source: PT 1 section 4.
    """
    return _MAYBE_ADDRESS.sub(_scrubbed, text)


def _scrubbed(match: re.Match[str]) -> str:
    found = match[0]
    whole = found.rstrip(":.")  # the end of a sentence, or of what comes before a colon
    rest = found[len(whole) :]
    if found.endswith("::"):
        whole, rest = found, ""
    if whole.startswith("["):
        candidates = [whole[1 : whole.index("]")]]
    else:
        # "192.0.2.1:80", and "2001:db8::1:443", as those write it who forget the brackets.
        candidates = [whole, whole.rpartition(":")[0]]
    for candidate in candidates:
        try:
            ip = ip_address(candidate)
        except ValueError:
            continue
        return found if ip.is_loopback or ip.is_unspecified else f"[scrubbed]{rest}"
    return found


def one_line(text: str) -> str:
    """Text without line breaks: what was on lines of its own has a bar in front."""
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())


def _level(number: int) -> LogLevel:
    """The most serious level that a record of Python's logging reaches."""
    reached = [level for level in LogLevel if level <= number and level is not LogLevel.NONE]
    return max(reached, default=LogLevel.DEBUG)


def _exception(error: BaseException) -> str:
    """An exception, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return repr(error)
    return f"{error!r} in {frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}"


class LogLineHandler(logging.Handler):
    """A handler that turns records into ``Log`` messages and hands them to ``say``.

    Each is one line, whatever was logged.  Addresses are elided unless ``unsafe`` is true.  ``say``
    may be called from any thread; what it logs itself is dropped.
    """

    def __init__(self, say: Callable[[Log], object], unsafe: bool = False) -> None:
        super().__init__()
        self._say = say
        self._unsafe = unsafe
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._say(Log(_level(record.levelno), self._text(record)))
        except Exception:
            self.handleError(record)
        finally:
            self._busy.now = False

    def _text(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {_exception(record.exc_info[1])}"
        text = one_line(text)
        if not self._unsafe:
            text = elided(text)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
