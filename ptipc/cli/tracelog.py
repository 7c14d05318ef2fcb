"""What ``ptipc trace`` writes down: the conversation, annotated, with violations marked."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from ptipc.cli.masking import masked_line, masked_setting
from ptipc.cli.narration import Narrator, as_it_is
from ptipc.core.config import Config
from ptipc.core.dialects import Role, Stream, dialect_for
from ptipc.core.errors import ConfigError
from ptipc.core.parameters import PARAMETERS, is_ours
from ptipc.core.session import HostSession
from ptipc.core.settings import find_versions
from ptipc.osdep import exit_words

__all__ = ["Log", "session_of"]

_STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR}


@define(eq=False)
class Log:
    """A file with one or more conversations, each behind the one before."""

    _fd: int
    secrets: bool = field(kw_only=True)
    hurry: threading.Event = field(kw_only=True)
    """Set when the time for what the process wrote is over; how it ended is still written."""
    _text: list[str] = field(factory=list, init=False)
    _now: float = field(default=0.0, init=False)
    _tell: Narrator = field(init=False)
    _session: HostSession = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tell = Narrator(
            lambda text, tone: self._text.append(f"{text}\n"),
            margin=self._clock,
            shown=as_it_is if self.secrets else masked_line,
            masked=not self.secrets,
        )

    def write(self, entries: Iterable[tuple[float, str, tuple[Any, ...]]]) -> None:
        """Write down what happens, each thing as soon as it is known, until there is no more."""
        for self._now, kind, what in entries:
            getattr(self, kind)(*what)
            data = "".join(self._text).encode("utf-8", "surrogateescape")
            self._text.clear()
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                break  # a full disk, perhaps; what we copy goes on

    def _clock(self) -> str:
        seconds = time.strftime("%H:%M:%S", time.localtime(self._now))
        return f"{seconds}.{int(self._now % 1 * 1000):03} "

    # --- what can happen

    def start(
        self, command: Sequence[str], environ: Mapping[bytes, bytes], pid: int, host: int
    ) -> None:
        """The process was started, by us, in the place of the host."""
        settings = {os.fsdecode(name): os.fsdecode(text) for name, text in environ.items()}
        day = time.strftime("%Y-%m-%d", time.localtime(self._now))
        self._tell.head(f"--- {day}, process {pid}, of the host {_name_of(host)}")
        self._tell.line("host", f"starts {shlex.join(self._masked_words(command))}")
        self._tell.settings({name: text for name, text in settings.items() if is_ours(name)})
        others = sorted(name for name in settings if not is_ours(name))
        self._tell.line("host", f"hands on {', '.join(others) or 'no other variable'}")
        self._session, problems = session_of(settings, command[1:])
        for problem in problems:
            self._tell.wrong(problem)

    def output(self, fd: int, data: bytes) -> None:
        """The process wrote to one of its outputs; nothing is the end of that."""
        stream = _STREAMS[fd]
        if self.hurry.is_set():
            return
        take = self._session.receive_data
        events = take(stream, data) if data else self._session.receive_eof(stream)
        for event in events:
            self._tell.event("process", event)
            if self.hurry.is_set():
                self._tell.line("process", "has written more, which there is no time to tell")
                break

    def lost(self, count: int) -> None:
        """The process wrote faster than it could be written down."""
        self._tell.line("process", f"writes {count:,} octets more, too fast to be written down")

    def unread(self, fd: int) -> None:
        """What the process wrote could not be handed on."""
        self._tell.line("host", f"does not read {_STREAMS[fd].value} any more")

    def signal(self, name: str, from_terminal: bool) -> None:
        """A signal arrived."""
        self._tell.line("host", f"sends {name}" + (", from the terminal" if from_terminal else ""))

    def stdin_ended(self) -> None:
        """The host closed the standard input."""
        self._tell.line("host", "closes stdin, which asks the process to end")

    def host_gone(self) -> None:
        """The host has ended, and we are about to."""
        self._tell.line("host", "is gone; what the process does from now on is not seen")

    def end(self, status: int) -> None:
        """The process has ended."""
        self._tell.line("process", f"ends with {exit_words(status)}")
        if self._session.failure is not None:
            self._tell.wrong(str(self._session.failure))

    # --- how it is shown

    def _masked_words(self, words: Sequence[str]) -> list[str]:
        if self.secrets:
            return list(words)
        before = ["", *words[:-1]]
        return [
            masked_setting(flag.replace("--", "-", 1), word)
            for flag, word in zip(before, words, strict=True)
        ]


def _name_of(pid: int) -> str:
    try:
        return f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return str(pid)


# --- what the host asked for ----------------------------------------------------------------------


def session_of(
    environ: Mapping[str, str], arguments: Sequence[str]
) -> tuple[HostSession, list[str]]:
    """The host's end of a conversation that it began so, and what is wrong with how it did."""
    flags = _flags(arguments)
    versions = find_versions(environ, flags)
    offered = None
    if versions is not None:
        tokens = [token for token in versions.text.split(",") if token]
        offered = [dialect for token in tokens if (dialect := dialect_for(token))]
    try:
        config = Config.from_process(environ, flags)
    except ConfigError as error:
        problems = [f"against the rules: {error}"]
        role, names = _guess(environ)
        return HostSession(offered or None, role, names, proxy="TOR_PT_PROXY" in environ), problems
    proxy = config.proxy is not None
    session = HostSession(offered, config.role, config.transports, proxy=proxy)
    return session, [f"a careful host would not do this: {each}" for each in config.warnings]


def _flags(arguments: Sequence[str]) -> list[str]:
    """The flags of the protocol, which stand behind the program's own arguments."""
    known = {row.flag for row in PARAMETERS if row.flag is not None}
    for place, word in enumerate(arguments):
        flag = word.partition("=")[0]
        if flag in known or flag[1:] in known:
            return list(arguments[place:])
    return []


def _guess(environ: Mapping[str, str]) -> tuple[Role, list[str]]:
    for role in Role:
        names = environ.get(f"TOR_PT_{role.name}_TRANSPORTS")
        if names is not None:
            return role, names.split(",")
    return Role.CLIENT, []
