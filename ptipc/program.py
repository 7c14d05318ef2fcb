"""The main program of a transport process, whichever layer serves the connections.

``main`` owns what a process has only one of: standard input and output, signals, the environment,
the command line and Python's logging (PT 1 section 3, PT 3.0 section 1).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from attrs import define, field

from ptipc import osdep
from ptipc.core.config import Config
from ptipc.core.dialects import Stream
from ptipc.core.errors import ConfigError
from ptipc.core.messages import EnvError, Log
from ptipc.core.parameters import is_ours
from ptipc.core.session import TransportSession
from ptipc.core.transports import described
from ptipc.logs import LogLineHandler
from ptipc.voice import EARLY, Outlet

__all__ = ["Duty", "Load", "MakeDuty", "main"]

log = logging.getLogger(__name__)

EX_USAGE = 64
"""The exit status for a transport that nobody has told anything (sysexits.h)."""

Load: TypeAlias = Callable[[], Sequence[Any]]
"""Gives the transports of a program; it may raise anything."""


class Duty(Protocol):
    """What serves: a ``Dispatcher`` of either layer."""

    @property
    def config(self) -> Config: ...

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        ...

    def log(self, message: Log) -> None:
        """Say a LOG line; from any thread."""
        ...

    def stop(self, *, now: bool = False) -> None:
        """Stop listening and drain, or end everything ``now``; from any thread, at any time."""
        ...


MakeDuty: TypeAlias = Callable[[Config, Sequence[Any], Outlet], Duty]
"""Makes what serves, of a configuration, the transports and where the lines go."""


def main(
    load: Load,
    names: Sequence[str],
    make_duty: MakeDuty,
    serve: Callable[[Any], int],
    *,
    command: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    argv: Sequence[str] | None = None,
    log_level: int = logging.INFO,
    unsafe_logging: bool = False,
) -> int:
    """Be a transport process; returns the exit status.

    ``serve`` serves with what ``make_duty`` has made, until the end, and returns the exit status.
    ``names`` are what a person is told that the transports are called, ``command`` how to start the
    program; ``environ`` and ``argv`` (without the program's name) are those of the process if not
    given.
    """
    environ = os.environ if environ is None else environ
    argv = sys.argv[1:] if argv is None else argv
    asked = any(word in ("-h", "-help", "--help") for word in argv)
    told = argv or any(text and is_ours(name) for name, text in environ.items())
    if asked or not told:
        return _explain(names, command or _command(), asked)
    return _Program(load, make_duty, serve, log_level, unsafe_logging).main(environ, argv)


# --- without a host -------------------------------------------------------------------------------


def _command() -> list[str]:
    """How this program was started."""
    script = os.path.abspath(sys.argv[0])
    return [script] if os.access(script, os.X_OK) else [sys.executable, script]


def _explain(names: Sequence[str], command: Sequence[str], asked: bool) -> int:
    """Tell a person what this is, and a host that has told us nothing that it should."""
    import shlex
    import textwrap

    name = names[0] if names else "NAME"
    shown = shlex.join(command)
    what = (
        f"the pluggable transport {name}"
        if len(names) == 1
        else (f"a program with the pluggable transports {', '.join(names)}")
    )
    text = textwrap.fill(
        f"This is {what}.  It disguises the traffic of another program, its host, which starts it "
        "and tells it what to do through TOR_PT_* variables or flags; nobody has.",
        80,
    )
    text += f"""

See it work, as server and as client:
    ptipc demo --transport {name} -- {shown}

Be its host:
    ptipc run client {name} -- {shown}

Let tor start it, by a line in torrc:
    ClientTransportPlugin {name} exec {shown}
    ServerTransportPlugin {name} exec {shown}
"""
    # Standard output is a host's, unless a person looks at it.
    person = sys.stdout is not None and sys.stdout.isatty()
    output = sys.stdout if person else sys.stderr
    if output is not None:
        output.write(text)
    if asked:
        return 0
    if not person:
        with contextlib.suppress(OSError):
            os.write(1, b"ENV-ERROR no TOR_PT_MANAGED_TRANSPORT_VER and no flags\n")
    return EX_USAGE


# --- with a host ----------------------------------------------------------------------------------


@define(eq=False)
class _Program:
    _load: Load
    _make_duty: MakeDuty
    _serve: Callable[[Any], int]
    _log_level: int
    _unsafe_logging: bool
    _duty: Duty | None = field(default=None, init=False)
    _early: deque[Log] = field(factory=lambda: deque(maxlen=EARLY), init=False)
    _stopped: str | None = field(default=None, init=False)
    _status: int | None = field(default=None, init=False)
    """The exit status, once there is nothing left to do but to exit."""

    def main(self, environ: Mapping[str, str], argv: Sequence[str]) -> int:
        status = self._converse(environ, argv)
        self._status = status
        return status

    def _converse(self, environ: Mapping[str, str], argv: Sequence[str]) -> int:
        osdep.raise_descriptor_limit()
        with osdep.LineWriter(lambda: self.stop("the host reads no more")) as writer:

            def write(stream: Stream, data: bytes) -> bool:
                return writer.write(stream, data, may_be_lost=data.startswith(b"LOG "))

            with self._logging(), osdep.StdoutGuard(logging.getLogger("stdout").info):
                try:
                    config = Config.from_process(environ, argv, read_file=_read_file)
                    transports = self._loaded(config)
                except ConfigError as error:
                    session = TransportSession.for_error(error)
                    for stream, data in session.fail(error):
                        write(stream, data)
                    return session.exit_code or EX_USAGE
                return self._serve_duty(self._make_duty(config, transports, write))

    def stop(self, reason: str, *, now: bool = False) -> None:
        """Ask what serves to end, once there is one; from any thread."""
        if self._stopped is None:
            self._stopped = reason
            log.info("ending: %s", reason)
        if self._duty is not None:
            self._duty.stop(now=now)

    def _loaded(self, config: Config) -> Sequence[Any]:
        try:
            return self._load()
        except Exception as error:
            log.debug("the transports cannot be loaded", exc_info=error)
            text = f"the transports cannot be loaded: {type(error).__name__}: {described(error)}"
        raise ConfigError(EnvError(text), text, config.dialect)

    def _serve_duty(self, duty: Duty) -> int:
        config = duty.config
        if config.dialect.log_threshold:
            logging.getLogger().setLevel(config.log_threshold)
        self._duty = duty
        for message in self._early:
            duty.log(message)
        if config.exit_on_stdin_close:
            osdep.watch_stdin(lambda: self.stop("the host has closed our stdin"))
        osdep.watch_parent(lambda: self.stop("the host has ended"))
        if threading.current_thread() is threading.main_thread():
            osdep.watch_signals(self._hear_signal)
        if self._stopped is not None:
            duty.stop()
        return self._serve(duty)

    def _log(self, message: Log) -> None:
        if self._duty is None:
            self._early.append(message)
        else:
            self._duty.log(message)

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        root = logging.getLogger()
        level = root.level
        handler = LogLineHandler(self._log, unsafe=self._unsafe_logging)
        root.addHandler(handler)
        root.setLevel(self._log_level)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)

    def _hear_signal(self, number: signal.Signals) -> None:
        """A signal lets connections finish, unless we are ending already: then it does not."""
        if self._status is not None:
            # Whatever it is that the rest of the program still does, or hangs in.
            os._exit(self._status)
        again = self._duty is not None and self._duty.stopping
        self.stop(f"signal {number.name}", now=again)


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
