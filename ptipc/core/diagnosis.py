"""What may be wrong with a transport process, in words for the person who has to mend it.

Guesses, made of what real programs do (``lab/real-programs.md`` section 5); nothing is decided by
them.  The same events as entries of a log are here, too.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Literal, TypeAlias

from ptipc.core.codecs import LogLevel, shortened, visible
from ptipc.core.conversation import Phase
from ptipc.core.messages import (
    Log,
    Status,
    StatusVersion,
    Unknown,
    Version,
)
from ptipc.core.session import Event, Heard, HostSession, Incomplete, StderrText, Violation
from ptipc.core.settings import Channel

__all__ = [
    "Nature",
    "absence",
    "end_hint",
    "is_final",
    "log_level",
    "log_text",
    "passes",
    "start_hint",
    "still_missing",
]

Nature: TypeAlias = Literal["nothing", "directory", "file", "program"]
"""What stands where a program was expected: a ``file`` is one that must not be executed."""

_START_HINTS: dict[tuple[int, Nature], str] = {
    (errno.ENOENT, "nothing"): "is it installed? A name without a slash is looked for on PATH only",
    (errno.ENOENT, "program"): (
        "the file is there, but not what runs it: the program behind its #!, or a loader for "
        "another system"
    ),
    (errno.EACCES, "directory"): "it is a directory",
    (errno.EACCES, "file"): "the file is not marked as a program: chmod +x",
    (errno.EACCES, "program"): (
        "the file may be executed, but the system forbids it: a mount with noexec, AppArmor or "
        "SELinux"
    ),
}

_START_HINTS_BY_NUMBER = {
    errno.ENOENT: "a file that it needs is missing",
    errno.EACCES: "we have no right to look there",
    errno.EPERM: (
        "the system forbids it: AppArmor, NoNewPrivileges of a systemd unit, or the quarantine of "
        "macOS"
    ),
    errno.ENOEXEC: "it is a program for another kind of machine, or a script without #!",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.E2BIG: "the settings are too long for a command line or an environment",
    errno.EMFILE: "we have too many files open: see ulimit -n",
    errno.ENFILE: "the system has too many files open",
    errno.EAGAIN: "there are too many processes: see ulimit -u",
    errno.ENOMEM: "there is not enough memory",
    errno.ETXTBSY: "somebody is writing the file at the moment",
}

_PASSING = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY}
"""Why a program cannot be started at the moment, and may be later."""


def passes(number: int | None) -> bool:
    """Whether a program that could not be started, by the number of the error, may be later."""
    return number in _PASSING


def start_hint(number: int | None, nature: Nature) -> str | None:
    """What may help if a program could not be started, by the number of the error."""
    if number is None:
        return None
    return _START_HINTS.get((number, nature)) or _START_HINTS_BY_NUMBER.get(number)


_FAILURE_HINTS = {
    "VERSION-ERROR": "it speaks none of the editions offered: try another dialect",
    "C2": "it answers in an edition that was not offered: try that as the dialect",
    "C44": "it works without the upstream proxy, so its traffic would have gone around it",
    "C67": "shapeshifter-dispatcher never says VERSION: give lax=True for it",
}

_REFUSAL_HINTS = {"C28": "allow_remote=True takes a port that is not on loopback"}

_CRASHED = "it crashed: by a bug of its own, or because its file is damaged"

_STATUS_HINTS = {
    "exit 126": "it is a shell that may not execute what it was to start",
    "exit 127": "it is a shell that does not find what it was to start",
    "signal SIGBUS": _CRASHED,
    "signal SIGILL": "it is built for another processor",
    "signal SIGKILL": "somebody killed it, or there was no memory left",
    "signal SIGSEGV": _CRASHED,
    "signal SIGSYS": "a system call is forbidden to it: a seccomp filter of a sandbox",
}

_NOT_MANAGED = "not a managed transport?"


def end_hint(
    session: HostSession,
    events: Iterable[Event],
    status: str | None,
    *,
    proxy: bool,
    channel: Channel,
) -> str | None:
    """What may help if a process ended, failed, or was not ready in time.

    ``status`` is its exit status in words, None if it had to be ended; ``proxy`` is whether it was
    given an upstream proxy, ``channel`` how it was configured.
    """
    if is_final(session) and session.failure is not None:
        return _FAILURE_HINTS.get(session.failure.code)
    events = list(events)
    heard = [event.message for event in events if isinstance(event, Heard)]
    spoken = [message for message in heard if not isinstance(message, Log | Unknown)]
    if any(isinstance(event, StderrText) and "panic:" in event.line for event in events):
        return "a Go program's panic: see stderr"
    if status in _STATUS_HINTS:
        return _STATUS_HINTS[status]
    if session.done:
        refused = {event.rule for event in events if isinstance(event, Violation)}
        return next((_REFUSAL_HINTS[rule] for rule in refused if rule in _REFUSAL_HINTS), None)
    if not spoken:
        return _silence_hint(events, status, channel)
    if proxy and status is not None and all(isinstance(each, Version) for each in spoken):
        # goptlib says no more if it cannot read TOR_PT_PROXY.
        return "programs made with goptlib end so if they cannot use the upstream proxy's URI"
    return None


def _silence_hint(events: list[Event], status: str | None, channel: Channel) -> str:
    """What may help with a process that said nothing that we understand."""
    if not events and status is None:
        return f"{_NOT_MANAGED} Or it does not flush its lines, which then come when it ends"
    told = "flags" if channel == "flags" else "variables"
    return f"{_NOT_MANAGED} Or one that does not take its settings from {told}"


def absence(name: str, session: HostSession, events: Iterable[Event]) -> str:
    """Why a transport of that name is not up."""
    if name in session.errors:
        return shortened(session.errors[name])
    for event in events:
        if isinstance(event, Violation) and name in event.line.split():
            return f"its line was not taken: {shortened(event.text)}"
    return "the process did not offer it"


def is_final(session: HostSession) -> bool:
    """Whether a process that failed would only say the same again."""
    return session.failure is not None and session.failure.code != "eof"


def still_missing(session: HostSession) -> str:
    """What a process that is not ready in time has yet to say."""
    if session.phase is Phase.START:
        return "VERSION"
    missing = [
        name
        for name in session.transports
        if name not in session.methods and name not in session.errors
    ]
    return ", ".join(missing) or "the line that says it is done"


# --- the same for a log ---------------------------------------------------------------------------


def log_level(event: Event) -> int:
    """How serious an event is, as a level of Python's ``logging``."""
    match event:
        case Heard(message=Log(level=level)) if level is not None:
            # "notice" is what Python has no name for.
            return int(LogLevel.INFO if level is LogLevel.NOTICE else level)
        case Heard(message=Log() | Status() | StatusVersion() | Unknown()) | StderrText():
            return int(LogLevel.INFO)
        case Heard():
            return int(LogLevel.DEBUG)
    return int(LogLevel.WARNING)


def log_text(event: Event) -> str:
    """An event as one line for a log; control characters, which a terminal obeys, are escaped."""
    match event:
        case Heard(message=Log(level=level, text=text)) if level is not None:
            shown = text
        case Violation():
            shown = f"against the rules: {event.text}: {event.line}"
        case StderrText():
            shown = f"stderr: {event.line}"
        case Incomplete():
            cut = "a line that is too long" if event.truncated else "a line without an end"
            shown = f"{cut}: {event.line[:200]}"
        case _:
            shown = event.line
    return visible(shown, "utf-8")
