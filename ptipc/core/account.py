"""What a host knows of a transport process that it started, and what it can say about its end.

An ``Account`` takes down what the process says; whoever starts, hears and ends the process has one
and asks it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from ptipc.core.bridgelines import BridgeLine
from ptipc.core.codecs import LogLevel, UpstreamProxy, shortened
from ptipc.core.config import Config
from ptipc.core.diagnosis import (
    Nature,
    absence,
    end_hint,
    is_final,
    passes,
    start_hint,
    still_missing,
)
from ptipc.core.dialects import Stream
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.launch import LaunchError, Plan, ProcessEnded, Recent, proxy_of, unmet
from ptipc.core.messages import CMethod, Log, Message, SMethod, Status, StatusVersion
from ptipc.core.ports import Port
from ptipc.core.session import Event, Heard, HostSession, Incomplete, StderrText
from ptipc.core.settings import usual_channel

__all__ = ["Account", "start_error"]


@define(eq=False)
class Account:
    """What a transport process was told, and what it has said since."""

    plan: Plan
    """What it was started with."""
    transcript: Recent[Event] = field(factory=Recent, init=False)
    """What the process said, the last megabyte of it."""
    implementation: StatusVersion | None = field(default=None, init=False)
    """What program it says it is."""
    session: HostSession = field(init=False)
    """The conversation with it."""
    _stderr: Recent[StderrText | Incomplete] = field(init=False)
    _lines: int = field(default=0, init=False)
    """How many lines it has said."""

    @session.default
    def _new_session(self) -> HostSession:
        return self.plan.session()

    @_stderr.default
    def _some_lines(self) -> Recent[StderrText | Incomplete]:
        return Recent(limit=100, size=1 << 16)

    # --- what it is

    @property
    def command(self) -> tuple[str, ...]:
        """What was started."""
        return self.plan.command

    @property
    def config(self) -> Config:
        """What it was told."""
        return self.plan.config

    @property
    def stderr(self) -> list[str]:
        """The last lines that it wrote to stderr."""
        return [event.line for event in self._stderr]

    @property
    def methods(self) -> Mapping[str, CMethod | SMethod]:
        """The transports that are up, under their names."""
        return self.session.methods

    @property
    def errors(self) -> Mapping[str, str]:
        """The transports that could not be started, and what the process said of each."""
        return self.session.errors

    def method(self, transport: str) -> CMethod | SMethod:
        """What a transport said when it came up.  Raises LookupError if it is not up."""
        try:
            return self.methods[transport]
        except KeyError:
            reason = absence(transport, self.session, self.transcript)
            raise LookupError(f"no transport {transport!r}: {reason}") from None

    def client_method(self, transport: str) -> CMethod:
        """``method`` of a client's transport.  Raises LookupError for a server's as well."""
        method = self.method(transport)
        if not isinstance(method, CMethod):
            raise LookupError(f"{transport!r} is a server's transport, which dials nobody")
        return method

    def bridge_line(self, transport: str, fingerprint: str | None = None) -> BridgeLine:
        """What a client needs to know of a server's transport.  Raises LookupError."""
        method = self.method(transport)
        args = method.args if isinstance(method, SMethod) else NO_ARGS
        return BridgeLine(
            transport=transport, address=method.address, fingerprint=fingerprint, args=args
        )

    def upstream_proxy(self, transport: str, args: Mapping[str, Any] = NO_ARGS) -> UpstreamProxy:
        """One of the transports as the upstream proxy of another process: ``launch(proxy=...)``.

        Raises LookupError if it is not up, LocalProtocolError if a proxy cannot be had of it.
        """
        return proxy_of(self.client_method(transport), Args(args))

    def port_of(self, transport: str, ended: Callable[[], Any], status: str | None) -> Port:
        """Where one of the transports is reached, unless the process has ended with a ``status``.

        Raises LookupError if it is not up, ProcessEnded if the process has ended.
        """
        method = self.client_method(transport)
        if status is not None:
            raise ProcessEnded(f"the process of {transport} has ended with {status}")
        return Port(
            transport=transport,
            protocol=method.protocol,
            address=method.address,
            dialect=self.session.dialect or self.config.dialect,
            ended=ended,
            said=functools.partial(self._said_since, self._lines),
        )

    def _said_since(self, count: int) -> list[str]:
        """What it said for people to read since it had said so many lines, the last of that."""
        new = self._lines - count
        return [
            event.line
            for event in tuple(self.transcript)[-new:]
            if new and isinstance(event, Heard) and _is_for_people(event.message)
        ][-3:]

    # --- what it says

    def note(self, event: Event) -> None:
        """Take down what it said."""
        self._lines += 1
        self.transcript.append(event)
        match event:
            case StderrText() | Incomplete(stream=Stream.STDERR):
                self._stderr.append(event)
            case Heard(message=StatusVersion() as message):
                self.implementation = message

    @property
    def is_settled(self) -> bool:
        """Whether it is known what becomes of the launch: it is ready, or will never be."""
        return self.session.done or self.session.failure is not None

    # --- what became of it

    @property
    def is_complete(self) -> bool:
        """Whether all that is required has come up."""
        return self.session.failure is None and self._unmet() is None

    @property
    def lateness(self) -> str:
        """What there is to say if it is not ready in time."""
        missing = still_missing(self.session)
        return f"not ready within {self.plan.timeout:g} seconds: still waiting for {missing}"

    def failing(self, status: str | None) -> str:
        """What there is to say if it is of no use, and has ended with a ``status`` if it has."""
        failure = self.session.failure
        missing = self._unmet()
        words = "" if status is None else f" with {status}"
        if failure is not None and failure.code != "eof":
            return f"{shortened(failure.text)} ({failure.code})"
        if failure is not None and status is None:
            return "it closed its outputs before it was ready"
        if failure is not None:
            return f"ended{words} before it was ready"
        if missing is not None:
            return missing + (f", and it ended{words}" if status else "")
        return f"ended{words} as soon as it was ready"

    def _unmet(self) -> str | None:
        return unmet(
            self.plan.require,
            self.session,
            lambda name: absence(name, self.session, self.transcript),
        )

    def error(self, text: str, returncode: int | None, status: str | None) -> LaunchError:
        """The error of a launch that failed, and of a process that has ended so, if it has."""
        hint = end_hint(
            self.session,
            self.transcript,
            status,
            proxy=self.config.proxy is not None,
            channel=self.plan.channel or usual_channel(self.config.dialect),
        )
        return LaunchError(
            text,
            program=self.plan.name,
            transcript=self.transcript,
            stderr=self.stderr,
            returncode=returncode,
            hint=hint,
            final=is_final(self.session),
        )


def _is_for_people(message: Message) -> bool:
    if isinstance(message, Log):
        return message.level is None or message.level >= LogLevel.NOTICE
    return isinstance(message, Status)


def start_error(
    error: OSError, program: str, nature: Nature, *, user: int | None = None
) -> LaunchError:
    """The error of a program that could not be started.

    ``nature`` is what stands where it was expected, ``user`` the number of who tried, if that
    matters.
    """
    hint = start_hint(error.errno, nature)
    text = f"cannot start {program!r}"
    if error.filename not in (None, program):
        text += f", for {error.filename!r} is not as it should be"
        hint = start_hint(error.errno, "nothing") if error.filename else hint
    text += f": {error.strerror} (error {error.errno}"
    text += ")" if user is None else f", as user {user})"
    return LaunchError(text, errno=error.errno, hint=hint, final=not passes(error.errno))
